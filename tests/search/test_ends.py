"""How a search ended is known from its folder, and what its end says."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

import objectives
from qtt.optimizers.random import RandomOptimizer
from qtt.reporting.run_view import RunView
from qtt.run import show
from qtt.runs.record import RunRecord
from qtt.search.tuner import QuickTuner
from qtt.testing import METAFEATURES, SyntheticSpace
from qtt.types import TaskInfo


def _searched(folder: Path, **budget: Any) -> RunRecord:
    optimizer = RandomOptimizer(SyntheticSpace(), seed=0)
    optimizer.setup(4, METAFEATURES)
    QuickTuner(optimizer, objectives.good, folder, isolation="inline").run(TaskInfo(Path()), **budget)
    return RunRecord.load(folder)


def test_a_search_that_came_to_its_end_is_finished_however_much_is_left(tmp_path: Path) -> None:
    record = _searched(tmp_path / "run", time_budget=3600, evaluations=3)
    assert record.end["whole"] is True
    assert record.end["results"] == len(record.entries) == 3
    assert RunView.load(tmp_path / "run").finished is True
    view = RunView.load(tmp_path / "run")
    short = replace(record, entries=record.entries[:2])
    assert replace(view, record=short).finished is False, "that end is of three results, and there are two"
    assert replace(view, record=replace(record, end=record.end | {"whole": False})).finished is False
    assert replace(view, record=replace(record, end={})).finished is True, "as its budget tells"


@pytest.mark.parametrize("best", [True, False])
def test_warnings_of_the_dataset_and_the_reason_for_nothing_are_said_at_the_end(
    tmp_path: Path, best: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    _searched(tmp_path / "run", evaluations=1)
    (tmp_path / "run" / "dataset.json").write_text(
        json.dumps({"warnings": ["Validation lacks 1 of 4 classes."]})
    )
    view = RunView.load(tmp_path / "run")
    assert view.warnings == ("Validation lacks 1 of 4 classes.",)
    history = view.history if best else SimpleNamespace(incumbent=None, failed={})
    summary: Any = SimpleNamespace(
        run_dir=tmp_path / "run",
        incumbent=view.best if best else None,
        history=history,
        candidates=view.record.candidates,
        interrupted=False,
        fault=None,
    )
    show(summary, {}, OmegaConf.create({"metric": "accuracy", "budget": {"evaluations": 1}}))
    said = capsys.readouterr().out
    assert "Mind: Validation lacks 1 of 4 classes." in said
    assert ("An epoch of the first one takes longer than the budget" in said) is not best
