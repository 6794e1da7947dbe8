"""The command: composing, refusing, recording, continuing, and the table that it leaves."""

import os
import random
import signal
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from rich.console import Console

from collecting_objectives import score
from images import CLASSES, write_image_folder
from qtt.cli.configuration import config_directory
from qtt.collect import collect
from qtt.curves.table import CurveTable
from qtt.errors import ConfigError, EnvironmentFault
from qtt.evaluation import Evaluator
from qtt.evaluation.preflight import Preflight
from qtt.support.files import read_json, write_json
from qtt.types import MetaFeatures
from waiting import LIMIT, wait_until

FAST = (
    "objective.function=collecting_objectives.recording",
    "+objective.settings.seconds=0.0",
    "search_space=quickstart",
)


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("datasets")
    for seed, name in enumerate(("beans", "peas")):
        write_image_folder(root / name, {"train": 6, "val": 3}, seed=seed)
    write_json(root / "peas" / "subset.json", {"set": "set1", "domain": "plants"})
    return root


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def _config(datasets: Path, out: Path, *overrides: str, fast: bool = True) -> DictConfig:
    paths = ",".join(str(datasets / name) for name in ("beans", "peas"))
    chosen = [f"datasets=[{paths}]", f"out={out}", *(FAST if fast else ()), *overrides]
    with initialize_config_dir(config_directory(), version_base="1.3"):
        return compose("collect", overrides=chosen)


def _collect(datasets: Path, out: Path, *overrides: str) -> None:
    assert collect(_config(datasets, out, *overrides), Console(quiet=True))


def test_records_a_table_and_continues(datasets: Path, tmp_path: Path) -> None:
    _collect(datasets, tmp_path / "grown", "runs_per_dataset=2", "epochs=3")
    _collect(datasets, tmp_path / "grown", "runs_per_dataset=3", "epochs=3", "workers=2")
    _collect(datasets, tmp_path / "once", "runs_per_dataset=3", "epochs=3")
    grown, once = (read_table(tmp_path / name / "table") for name in ("grown", "once"))
    assert grown == once
    assert len(once) == 6
    assert all(
        run[2:] == ("finished", [score(i % 3, e) for e in (1, 2, 3)]) for i, run in enumerate(once.values())
    )
    table = CurveTable.load(tmp_path / "once" / "table")
    assert table.metafeatures("peas") == MetaFeatures(18, 3, 32, 3)
    described = table.read("datasets").set_index("dataset")
    assert described.loc["peas", ["set", "domain"]].tolist() == ["set1", "plants"]
    assert described.loc["beans", ["set", "domain"]].isna().all()
    assert (table.read("runs").max_memory == 13e6).all()
    curves = table.read("curves")
    assert curves.seconds.tolist() == pytest.approx([0.01, 0.02, 0.03] * 6)
    assert curves.loss.tolist() == [0.5, 1.0, 1.5] * 6
    plan = read_json(tmp_path / "once" / "plans" / "beans.json")
    assert plan["class_names"] == list(CLASSES)
    assert plan["metafeatures"] == {"train_images": 18, "num_classes": 3, "image_size": 32, "channels": 3}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=1", "seed is 0 there and 1 here"),
        ("time_cap=5", "time_cap is None there and 5 here"),
        ("model_hub.models=[edgenext_xx_small]", "space"),
        ("objective.settings.seconds=1.0", "settings.seconds is 0.0 there and 1.0 here"),
    ],
)
def test_another_collection_in_the_same_folder_is_refused(
    datasets: Path, tmp_path_factory: pytest.TempPathFactory, override: str, message: str
) -> None:
    out = tmp_path_factory.getbasetemp() / "one_collection"
    if not out.exists():
        _collect(datasets, out, "runs_per_dataset=1", "epochs=1")
    before = (out / "config.yaml").read_text()
    with pytest.raises(ConfigError, match=message):
        _collect(datasets, out, "runs_per_dataset=1", "epochs=1", override)
    assert (out / "config.yaml").read_text() == before


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("workers=0", "workers must be at least 1"),
        ("epochs=51", "epochs=51 lies beyond horizon=50"),
        ("epochs=0", "epochs must be at least 1"),
        ("time_cap=0", "time_cap must be positive"),
        ("runs_per_dataset=0", "runs_per_dataset must be at least 1"),
        ("datasets=[]", "datasets must be a list"),
        ("datasets=beans", "datasets must be a list"),
        ("datasets=[a/beans,b/beans]", "have the same name"),
        ("datasets=[nowhere/*]", "No folder matches"),
    ],
)
def test_impossible_settings_are_refused(datasets: Path, tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _collect(datasets, tmp_path, override)


def test_a_star_stands_for_all_folders(datasets: Path, tmp_path: Path) -> None:
    _collect(datasets, tmp_path, "runs_per_dataset=1", "epochs=1", f"datasets=[{datasets}/*s]")
    assert CurveTable.load(tmp_path / "table").datasets == ("beans", "peas")


def test_threads_are_shared_by_the_workers(
    datasets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr("qtt.collect.available_cores", lambda: 8)
    for number, (overrides, expected) in enumerate(
        {("workers=3",): "2", ("workers=9",): "1", ("threads=5",): "5"}.items()
    ):
        monkeypatch.setenv("OMP_NUM_THREADS", "7")
        if "threads=5" not in overrides:
            monkeypatch.delenv("OMP_NUM_THREADS")
        out = tmp_path / str(number)
        _collect(datasets, out, "runs_per_dataset=1", "epochs=1", *overrides)
        assert f'"threads": "{expected}"' in (out / "journals" / "beans.jsonl").read_text()


def _command(datasets: Path, out: Path, *overrides: str) -> list[str]:
    paths = ",".join(str(datasets / name) for name in ("beans", "peas"))
    return [sys.executable, "-m", "qtt.collect", f"datasets=[{paths}]", f"out={out}", *overrides]


def test_the_command_can_be_stopped_and_repeated(datasets: Path, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    out = tmp_path / "out"
    held = tmp_path / "held"
    held.touch()
    command = _command(
        datasets, out, *FAST, "runs_per_dataset=1", "epochs=9", f"+objective.settings.held={held}"
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    with subprocess.Popen(command, **pipes) as first:
        journal = out / "journals" / "beans.jsonl"
        wait_until(lambda: journal.exists() and journal.read_text().count("\n") > 1, first)
        first.send_signal(signal.SIGTERM)
        told, errors = first.communicate(timeout=LIMIT)
    assert (first.returncode, errors) == (130, "")
    assert told.splitlines()[-1].startswith("Interrupted; everything finished is kept. To go on: ")
    assert read_table(out / "table") == {}
    held.unlink()
    second = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=LIMIT)
    assert (second.returncode, second.stderr) == (0, "")
    assert "best score" in second.stdout
    assert second.stdout.splitlines()[-1].endswith(f"-m qtt.benchmark table={out / 'table'}")
    assert [run[2:] for run in read_table(out / "table").values()] == [
        ("finished", [score(0, epoch) for epoch in range(1, 10)])
    ] * 2


def test_a_fault_that_stays_has_a_status_of_its_own(datasets: Path, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    gone, out = tmp_path / "gone", tmp_path / "out"
    gone.touch()
    settings = ("runs_per_dataset=1", "epochs=2", "patience_s=0", f"+objective.settings.gone={gone}")
    command = _command(datasets, out, *FAST, *settings)
    stopped = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=LIMIT)
    assert stopped.returncode == 3
    assert stopped.stderr.startswith("Error: The dataset is gone. Everything finished is kept")
    assert "Traceback" not in stopped.stderr
    *_, table, again = stopped.stdout.splitlines()
    assert table == f"Learning curves are in {out / 'table'}"
    assert again.startswith("To go on: ")
    gone.unlink()
    _collect(datasets, out, *settings[:3], f"+objective.settings.gone={gone}")
    assert [run[2] for run in read_table(out / "table").values()] == ["finished"] * 2


def test_a_preflight_comes_before_the_first_run(
    datasets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def run(self: Preflight, evaluator: Evaluator, say: Any) -> tuple[str, ...]:
        asked.append((self.info.path.name, None if self.task is None else self.task.name))
        if len(asked) > 2:
            raise EnvironmentFault("No weights.")
        return "device cpu", f"{len(asked)} images", "40 GB free"

    monkeypatch.setattr(Preflight, "run", run)
    console = Console(record=True, file=StringIO(), width=120)
    assert collect(_config(datasets, tmp_path, "runs_per_dataset=1", "epochs=1"), console)
    assert "Checked: 2 datasets, device cpu, 40 GB free" in console.export_text()
    with pytest.raises(EnvironmentFault, match="No weights"):
        collect(_config(datasets, tmp_path, "runs_per_dataset=2", "epochs=1"), console)
    assert asked == [("beans", None), ("peas", None), ("beans", None)]
    assert len(read_table(tmp_path / "table")) == 2


REAL = (
    "runs_per_dataset=4",
    "epochs=8",
    "workers=2",
    "trainer=cpu",
    "model_hub.models=[test_vit,test_resnet]",
    "search_space.narrow={batch_size: [16], amp: [false]}",
    "objective.settings.image_size=32",
)


@pytest.mark.slow
def test_real_runs_killed_twenty_times_give_the_same_table(datasets: Path, tmp_path: Path) -> None:
    """`kill -9`: half of them at any moment from the first import, half soon after an epoch."""
    whole, out, rng, kills = tmp_path / "whole", tmp_path / "killed", random.Random(0), 0
    subprocess.run(_command(datasets, whole, *REAL), check=True, stdout=subprocess.PIPE)
    while kills < 20:
        target = _epochs(out) + rng.randint(1, 5)
        killed = subprocess.Popen(
            _command(datasets, out, *REAL), stdout=subprocess.DEVNULL, start_new_session=True
        )
        if kills % 2:
            wait_until(
                lambda killed=killed, target=target: killed.poll() is not None or _epochs(out) >= target
            )
        time.sleep(rng.uniform(0, 0.2 if kills % 2 else 10))
        if killed.poll() is None:
            os.killpg(killed.pid, signal.SIGKILL) if rng.random() < 0.5 else killed.kill()
            kills += 1
        elif killed.returncode == 0:  # complete before it could be killed: once more from the start
            assert read_table(out / "table") == read_table(whole / "table")
            out.rename(tmp_path / f"complete-{kills}")
        killed.wait()
        assert killed.returncode in (0, -signal.SIGKILL)
    subprocess.run(_command(datasets, out, *REAL), check=True, stdout=subprocess.PIPE)
    assert read_table(out / "table") == read_table(whole / "table")
    assert len(read_table(whole / "table")) == 8
    assert not [path for path in (out / "pipelines").rglob("*") if path.is_file()]


def _epochs(out: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in (out / "journals").glob("*.jsonl"))


def read_table(folder: Path) -> dict[str, Any]:
    """Runs by name: dataset, configuration, status and scores, without seconds."""
    table = CurveTable.load(folder)
    return {
        run_id: (name, curves.configs[i], curves.statuses[i], curves.scores[i, : curves.lengths[i]].tolist())
        for name in table.datasets
        for curves in [table.curves(name)]
        for i, run_id in enumerate(curves.run_ids)
    }
