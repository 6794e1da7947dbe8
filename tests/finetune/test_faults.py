"""Real processes that are killed, and a real disk that is full."""

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines import PLAIN, Late, checkpoint, forget, learned, run
from qtt.evaluation.process import ProcessEvaluator
from qtt.finetune.cv.classification import finetune_script, writer
from qtt.finetune.cv.classification.writer import CheckpointError
from qtt.optimizers.random import EpochwiseRandomOptimizer
from qtt.runs.journal import Entry, Journal
from qtt.search.tuner import QuickTuner
from qtt.types import Candidates, TaskInfo

MakeTask = Callable[..., TaskInfo]
KILLS = 50
EPOCHS = 5


class Killer(threading.Thread):
    """Kills every training process some time after its first result, so many times."""

    def __init__(self, pids: list[int], journal: Path) -> None:
        super().__init__(daemon=True)
        self.pids = pids
        self.journal = journal
        self.kills = 0

    def run(self) -> None:
        rng = random.Random(0)
        while self.kills < KILLS:
            while len(self.pids) == self.kills:
                time.sleep(0.01)
            pid, lines = self.pids[-1], self._lines()
            while self._lines() == lines:
                time.sleep(0.002)
            time.sleep(rng.random() * 0.4)
            os.kill(pid, signal.SIGKILL)
            self.kills += 1

    def _lines(self) -> int:
        return self.journal.read_bytes().count(b"\n") if self.journal.exists() else 0


@pytest.fixture
def pids(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of the training processes, in the order of their starts."""
    found: list[int] = []
    running = ProcessEvaluator._running

    def watched(self: ProcessEvaluator) -> subprocess.Popen[bytes]:
        process = running(self)
        if process.pid not in found:
            found.append(process.pid)
        return process

    monkeypatch.setattr(ProcessEvaluator, "_running", watched)
    return found


def _search(task: TaskInfo, folder: Path, pipelines: int) -> QuickTuner:
    optimizer = EpochwiseRandomOptimizer(seed=1, max_fidelity=EPOCHS)
    configs = tuple(PLAIN | {"lr": 1e-3 * (1 + i % 7)} for i in range(pipelines))
    optimizer.setup(Candidates(configs, task.models))
    return QuickTuner(optimizer, finetune_script, folder, trackers=(), isolation="process")


@pytest.mark.slow
def test_fifty_kills_lose_and_repeat_nothing(make_task: MakeTask, tmp_path: Path, pids: list[int]) -> None:
    task, pipelines = make_task(), 2 * KILLS
    _search(task, tmp_path / "whole", pipelines).run(task, evaluations=99_999)
    whole = _results(tmp_path / "whole")
    assert len(whole) == EPOCHS * pipelines
    pids.clear()
    killer = Killer(pids, tmp_path / "killed" / "journal.jsonl")
    killer.start()
    _search(task, tmp_path / "killed", pipelines).run(task, evaluations=99_999)
    killed = _results(tmp_path / "killed")
    finished = {key: learned for key, learned in killed if learned is not None}
    entries = _entries(tmp_path / "killed")
    reasons = [entry.result.info["reason"] for entry in entries if not entry.result.succeeded]
    assert killer.kills == KILLS
    assert KILLS // 2 < len(reasons) <= KILLS  # between two steps a kill costs nothing
    assert all("was killed by SIGKILL" in reason for reason in reasons)
    assert len(finished) == len(killed) - len(reasons)  # none twice
    assert finished.items() <= dict(whole).items()
    assert len(finished) >= EPOCHS * (pipelines - KILLS)  # a kill costs one pipeline, not more
    assert max(len(entry.result.info.get("details", "")) for entry in entries) < 2_000
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def _entries(folder: Path) -> list[Entry]:
    return Journal(folder / "journal.jsonl").read()


def _results(folder: Path) -> list[tuple[tuple[int, int], tuple[float, Any] | None]]:
    """Pipeline and epoch of every line, with score and losses where it succeeded."""
    results = [entry.result for entry in _entries(folder)]
    return [((r.config_id, r.fidelity), (r.score, dict(r.info)) if r.succeeded else None) for r in results]


def test_a_disk_that_is_really_full(
    make_task: MakeTask, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "Thread", Late)  # else the step may hear of it before it ends
    forget()
    expected = learned(run(make_task(work_dir=None), PLAIN, 4))
    forget()
    task = make_task(work_dir=small_disk / "pipelines", best_score=1.0)
    assert learned(run(task, PLAIN, 1)) == expected[:1]
    size = sum(file.stat().st_size for file in small_disk.rglob("*") if file.is_file())
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    filler = small_disk / "filler"
    filler.write_bytes(b"0" * max(free - size // 2, 0))
    assert learned(run(task, PLAIN, 2)) == expected[1:2]
    with pytest.raises(CheckpointError, match=r"epoch 2 could not be written \(.*No space left on device"):
        run(task, PLAIN, 3)
    assert len(checkpoint(task)["progress"]["records"]) == 1
    assert [file.name for file in task.pipeline_dir(0).glob(".*")] == []
    filler.unlink()
    assert learned(run(task, PLAIN, 3)) == expected[2:3]
    forget()
    assert learned(run(task, PLAIN, 4)) == expected[3:]
    forget()  # and with it the last checkpoint's thread
