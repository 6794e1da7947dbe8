"""The disk quota: room is made before a step writes, and what went is said."""

import io
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from qtt.optimizers.random import EpochwiseRandomOptimizer
from qtt.runs.folder import RunFolder
from qtt.runs.history import History
from qtt.search.quota import DiskQuota
from qtt.search.tuner import QuickTuner
from qtt.tasks import load_task
from qtt.tracking.console import ConsoleTracker
from qtt.types import Candidates, ModelCard, Result, TaskInfo, Trial

TASK = TaskInfo(path=Path("digits"))
CHECKPOINT = 30_000_000
QUOTA = 200_000_000


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def writing(trial: Trial, task: TaskInfo) -> Iterator[Result]:
    """A checkpoint in a folder of its own, written beside the old one; `info` says what all take at most."""
    folder = task.pipeline_dir(trial.config_id)
    assert folder is not None
    (folder / "states").mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "states" / "last.bin"
    with checkpoint.with_suffix(".tmp").open("wb") as file:
        file.truncate(CHECKPOINT)
    most = _bytes(folder.parent)
    checkpoint.with_suffix(".tmp").replace(checkpoint)
    yield Result(trial.config_id, trial.fidelity, (trial.config_id + 1) / 200, 0.1, info={"most": most})


def test_a_hundred_pipelines_keep_to_the_quota_while_they_write_and_the_end_says_what_went(
    tmp_path: Path,
) -> None:
    optimizer = EpochwiseRandomOptimizer(seed=1, max_fidelity=3)
    optimizer.setup(Candidates(tuple({"lr": 0.1 * i} for i in range(100))))
    said = io.StringIO()
    tuner = QuickTuner(
        optimizer,
        writing,
        tmp_path,
        isolation="inline",
        trackers=[ConsoleTracker(Console(file=said, width=200))],
        disk_quota_gb=QUOTA / 1e9,
    )
    summary = tuner.run(TASK, evaluations=150)
    assert summary.history.evaluations == 150
    assert max(result.info["most"] for result in summary.history) <= QUOTA
    assert len(summary.evicted) > 50
    assert f"Disk quota: {len(summary.evicted)} checkpoints removed, of #" in said.getvalue()
    assert "Disk quota: removed the checkpoints of pipelines" in (tmp_path / "search.log").read_text()


def test_a_task_that_knows_says_what_a_new_pipeline_will_take(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    task = TaskInfo(path=Path("digits"), work_dir=folder.pipelines)
    card = ModelCard("m", "m", "m", params=1.0, input_size=32)
    candidates = Candidates(({"model": "m"}, {"model": "m"}), (card,))
    for config_id in (0, 7):
        (folder.pipelines / f"{config_id:04d}").mkdir(parents=True)
        (folder.pipelines / f"{config_id:04d}" / "last.ckpt").write_bytes(b"0" * 1000)
    kind = load_task("image_classification")
    needed = kind.needs(candidates, task).disk
    quota = DiskQuota(needed + 1500, folder, kind)
    history = History([Result(0, 1, 0.5, 1.0)])
    quota.before(Trial(1, candidates.configs[1], 1), history, candidates, task)
    assert quota.evicted == [7], "which was cut off before its first epoch ended"
    quota.after(1, history, task)
    DiskQuota(None, folder, kind).before(Trial(1, candidates.configs[1], 1), history, candidates, task)
    assert (folder.pipelines / "0000").exists()
    DiskQuota(needed, folder, kind).before(Trial(1, candidates.configs[1], 1), history, candidates, task)
    assert not (folder.pipelines / "0000").exists()
