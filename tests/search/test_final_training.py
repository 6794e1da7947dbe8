"""After the search: loading a run, its statistics, and training the best pipelines to their ends."""

import json
import os
import signal
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import objectives
from clocks import HOURS, movable_clock
from qtt.errors import ConfigError
from qtt.evaluation import inline
from qtt.finetune.__main__ import main as finetune
from qtt.optimizers.random import EpochwiseRandomOptimizer
from qtt.report import main as report
from qtt.runs.folder import RunFolder
from qtt.runs.journal import Journal
from qtt.runs.kept_models import KeptModel, kept_models
from qtt.runs.record import RunRecord
from qtt.search.tuner import QuickTuner
from qtt.support.files import write_json
from qtt.types import Candidates, Objective, TaskInfo
from waiting import wait_until

EPOCHS = 6


def _searched(path: Path, objective: Objective = objectives.continuing, evaluations: int = 9) -> QuickTuner:
    """A search that ended before most of its pipelines did."""
    optimizer = EpochwiseRandomOptimizer(seed=1, max_fidelity=EPOCHS)
    optimizer.setup(Candidates(tuple({"lr": 0.1 * i} for i in range(5))))
    tuner = QuickTuner(optimizer, objective, path, trackers=(), isolation="inline")
    task = TaskInfo(path=Path("digits"), class_names=("a", "b"))
    tuner.run(task, evaluations=evaluations)
    return tuner


def _trained(path: Path) -> list[tuple[int, int]]:
    lines = (path / "pipelines" / "epochs.log").read_text().splitlines()
    return [(int(line.split()[0]), int(line.split()[1])) for line in lines]


def _weights(model: KeptModel) -> tuple[int, int]:
    config_id, epoch = model.weights.read_text().split()
    return int(config_id), int(epoch)


def test_the_best_pipelines_go_on_from_their_checkpoints_and_are_kept(tmp_path: Path) -> None:
    tuner = _searched(tmp_path)
    before = RunRecord.load(tmp_path)
    best = before.history.ranking()[:2]
    begun = len(_trained(tmp_path))
    table = tuner.finetune(k=2)
    expected = [(i, e) for i in best for e in range(before.history.fidelity(i) + 1, EPOCHS + 1)]
    assert _trained(tmp_path)[begun:] == expected
    kept = [model for model in kept_models(tmp_path) if model.name != "incumbent"]
    assert {model.config_id for model in kept} == set(best)
    for model in kept:
        assert _weights(model) == (model.config_id, model.fidelity) == (model.config_id, EPOCHS)
        assert model.score == objectives.score(model.config_id, EPOCHS)
        assert not (tmp_path / "pipelines" / f"{model.config_id:04d}").exists()
    assert list(table["score"]) == sorted(table["score"], reverse=True)
    assert table["config_id"][0] == max(best)
    assert table["searched"][0] == before.history.best(max(best)).score


def test_the_search_itself_stays_as_it_was(tmp_path: Path) -> None:
    tuner = _searched(tmp_path)
    journal, incumbent = (tmp_path / "journal.jsonl").read_bytes(), KeptModel.read(tmp_path / "incumbent")
    statistics = tuner.statistics()
    tuner.finetune(k=3)
    assert (tmp_path / "journal.jsonl").read_bytes() == journal
    assert KeptModel.read(tmp_path / "incumbent") == incumbent
    assert tuner.statistics().equals(statistics)


def test_a_finished_call_has_nothing_left_to_do(tmp_path: Path) -> None:
    tuner = _searched(tmp_path)
    first = tuner.finetune(k=2)
    trained = _trained(tmp_path)
    assert tuner.finetune(k=2).equals(first)
    assert _trained(tmp_path) == trained


def test_any_pipelines_may_be_chosen(tmp_path: Path) -> None:
    tuner = _searched(tmp_path)
    worst = RunRecord.load(tmp_path).history.ranking()[-1]
    table = tuner.finetune(pipelines=[worst])
    assert f"finetuned/{worst:04d}" in set(table["name"])
    with pytest.raises(ConfigError, match=r"no pipelines \[17, -1\]"):
        tuner.finetune(pipelines=[17, 0, -1])


def test_a_budget_is_kept_and_the_next_call_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _searched(tmp_path)
    record = RunRecord.load(tmp_path)
    write_json(
        tmp_path / "task.json",
        json.loads((tmp_path / "task.json").read_text()) | {"settings": {"seconds": HOURS}},
    )
    clock = movable_clock(monkeypatch, inline, objectives)
    slow = QuickTuner.load(tmp_path, objectives.continuing, clock=clock)
    output = StringIO()
    slow.finetune(k=2, time_budget=2.5 * HOURS, console=Console(file=output, width=200))
    assert "Out of time before the last epoch of #" in output.getvalue()
    done = RunRecord.load(tmp_path).finetuning
    assert sum(entry.result.succeeded for entry in done) == 2, (
        "the one that ends beyond the budget does not count"
    )
    slow.finetune(k=2)
    best = record.history.ranking()[:2]
    finished = {
        (e.result.config_id, e.result.fidelity)
        for e in RunRecord.load(tmp_path).finetuning
        if e.result.succeeded
    }
    assert finished == {(i, e) for i in best for e in range(record.history.fidelity(i) + 1, EPOCHS + 1)}
    assert len(_trained(tmp_path)) == len(set(_trained(tmp_path)))


@pytest.mark.parametrize("stage", ["append", "keep", "discard"])
def test_a_crash_after_the_journal_loses_no_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    tuner = _searched(tmp_path)
    best = RunRecord.load(tmp_path).history.ranking()[0]

    class Crash(BaseException):
        pass

    usual = {"append": Journal.append, "keep": RunFolder.keep, "discard": RunFolder.discard}[stage]

    def crash(self: Any, *arguments: Any) -> None:
        last = isinstance(arguments[0], int) or arguments[0].fidelity == EPOCHS
        if last and stage != "append":
            raise Crash
        usual(self, *arguments)
        if last:
            raise Crash

    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(Journal if stage == "append" else RunFolder, stage, crash)
        tuner.finetune(k=1)
    trained = _trained(tmp_path)
    tuner.finetune(k=1)
    (kept,) = [model for model in kept_models(tmp_path) if model.name == f"finetuned/{best:04d}"]
    assert _weights(kept) == (best, kept.fidelity) == (best, EPOCHS)
    assert _trained(tmp_path) == trained
    assert not (tmp_path / "pipelines" / f"{best:04d}").exists()


def test_a_failure_is_written_down_and_the_others_go_on(tmp_path: Path) -> None:
    _searched(tmp_path)
    best, second = RunRecord.load(tmp_path).history.ranking()[:2]

    def broken(trial: Any, task: TaskInfo) -> Any:
        if trial.config_id == best:
            raise RuntimeError("the disk is full")
        return objectives.continuing(trial, task)

    table = QuickTuner.load(tmp_path, broken, isolation="inline").finetune(k=2)
    assert f"finetuned/{second:04d}" in set(table["name"])
    (failed,) = [e.result for e in RunRecord.load(tmp_path).finetuning if not e.result.succeeded]
    assert (failed.config_id, failed.info["reason"]) == (best, "RuntimeError: the disk is full")


def test_a_loaded_run_says_what_the_search_said(tmp_path: Path) -> None:
    tuner = _searched(tmp_path)
    loaded = QuickTuner.load(tmp_path, objectives.continuing)
    assert loaded.statistics().equals(tuner.statistics())
    assert loaded.finetune(k=1).equals(tuner.finetune(k=1))
    with pytest.raises(ConfigError, match=r"loaded without an optimizer.*repeat the command"):
        loaded.run(TaskInfo(path=Path("digits")), time_budget=1.0)


def test_statistics_know_what_differs(tmp_path: Path) -> None:
    table = _searched(tmp_path).statistics()
    assert list(table.columns) == ["config_id", "score", "epoch", "epochs", "seconds", "lr"]
    np.testing.assert_allclose(table["lr"], 0.1 * table["config_id"])


def test_what_only_a_folder_names_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _searched(tmp_path / "shared")
    (tmp_path / "shared/evil.py").write_text("import pathlib\npathlib.Path('ran').touch()\ndef f(): ...\n")
    settings = json.loads((tmp_path / "shared/search.json").read_text())
    write_json(tmp_path / "shared/search.json", settings | {"objective": "shared.evil:f"})
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    tuner = QuickTuner.load("shared")
    assert len(tuner.statistics()) > 1
    with pytest.raises(ConfigError, match=r"nothing is imported .* with --objective shared\.evil:f"):
        tuner.finetune(k=1)
    with pytest.raises(SystemExit):
        finetune(["shared", "--k", "1"])
    assert report(["shared"]) == 0
    assert not (tmp_path / "ran").exists()


def test_an_objective_of_ones_own_is_given_again(tmp_path: Path) -> None:
    _searched(tmp_path)
    assert len(QuickTuner.load(tmp_path, objectives.continuing).finetune(k=1)) >= 1
    assert finetune([str(tmp_path), "--k", "2", "--objective", "objectives:continuing"]) == 0


def test_before_a_search_there_is_nothing_to_look_at(tmp_path: Path) -> None:
    tuner = QuickTuner(EpochwiseRandomOptimizer(seed=0), objectives.continuing, tmp_path)
    for call in (tuner.statistics, tuner.finetune):
        with pytest.raises(ConfigError, match=r"before a search\. Call run\(\) first"):
            call()


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_a_folder_that_is_no_run_is_described(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"candidates\.json   the pipelines"):
        QuickTuner.load(tmp_path / name)


KILLED = """
import sys, pathlib
sys.path[:0] = [{tests!r}, {tests!r} + "/search"]
import test_final_training as t
tuner = t._searched(pathlib.Path({path!r}))
from qtt.support.files import write_json
from qtt.runs.journal import Journal
import json
file = pathlib.Path({path!r}) / "task.json"
write_json(file, json.loads(file.read_text()) | {{"settings": {{"seconds": 0.3}}}})
print("ready", flush=True)
t.QuickTuner.load({path!r}, t.objectives.continuing).finetune(k=2)
"""


def test_killed_in_the_middle_it_goes_on_without_loss(tmp_path: Path) -> None:
    code = KILLED.format(tests=str(Path(__file__).parents[1]), path=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
        wait_until(lambda: len(RunRecord.load(tmp_path).finetuning) >= 2, process)
        os.kill(process.pid, signal.SIGKILL)
    known = RunRecord.load(tmp_path).finetuning
    QuickTuner.load(tmp_path, objectives.continuing).finetune(k=2)
    record = RunRecord.load(tmp_path)
    assert record.finetuning[: len(known)] == known
    for config_id in record.history.ranking()[:2]:
        (kept,) = [model for model in kept_models(tmp_path) if model.name == f"finetuned/{config_id:04d}"]
        assert _weights(kept) == (config_id, kept.fidelity) == (config_id, EPOCHS)
