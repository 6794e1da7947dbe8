"""Searches whose optimizer proposes pipelines or finds that no step fits: folder, resuming, reports."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import objectives
from qtt.errors import ConfigError
from qtt.optimizers.random import EpochwiseRandomOptimizer
from qtt.runs.folder import RunFolder
from qtt.search.tuner import QuickTuner
from qtt.support.clock import Clock, SimulatedClock
from qtt.testing import SyntheticSpace
from qtt.tracking.base import Summary
from qtt.tracking.console import ConsoleTracker
from qtt.tracking.csv import CsvTracker
from qtt.types import Candidates, Config, Result, TaskInfo, Trial

TASK = TaskInfo(path=Path("digits"), class_names=("a", "b"))
SPACE = SyntheticSpace()


class Proposing(EpochwiseRandomOptimizer):
    """Proposes a neighbour of the incumbent after every result; `salt` stands for another artifact."""

    proposals = 1
    salt = 0

    def _propose(self) -> list[Config]:
        best = self.history.incumbent
        assert best is not None
        config = self.candidates.configs[best.config_id]
        return SPACE.neighbours(config, 3, self.salt + len(self.history))


class Hasty(Proposing):
    """Takes every step for one of 30 s."""

    def _step_seconds(self, live: list[int]) -> list[float]:
        return [30.0] * len(live)


def knowing_models(trial: Trial, task: TaskInfo) -> dict[str, Any]:
    """Fails where the task lacks the card of the pipeline's model."""
    assert task.card(trial.config["model"]).name == trial.config["model"]
    return objectives.good(trial, task)


def _tuner(
    path: Path | None,
    kind: type[Proposing] = Proposing,
    n: int = 2,
    trackers: Any = (),
    clock: Clock | None = None,
    **attributes: Any,
) -> QuickTuner:
    optimizer = kind(SPACE, seed=1, max_fidelity=2)
    for name, value in attributes.items():
        setattr(optimizer, name, value)
    optimizer.setup(n)
    return QuickTuner(optimizer, knowing_models, path, trackers=trackers, isolation="inline", clock=clock)


def _steps(summary: Summary) -> list[tuple[int, int]]:
    return [(result.config_id, result.fidelity) for result in summary.history]


def _recorded(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((path / "candidates.json").read_text())
    return data


def test_a_search_in_pieces_proposes_what_an_undisturbed_one_does(tmp_path: Path) -> None:
    once = _tuner(tmp_path / "once").run(TASK, evaluations=15)
    assert not once.history.failed, "every proposal's model has its card"
    assert max(config_id for config_id, _ in _steps(once)) > 4, "proposals are trained"
    for evaluations in (1, 4, 5, 11, 15):
        pieces = _tuner(tmp_path / "pieces").run(TASK, evaluations=evaluations)
        assert len(pieces.candidates) == 2 + evaluations
    assert _steps(pieces) == _steps(once)
    assert pieces.candidates == once.candidates
    assert _recorded(tmp_path / "pieces") == _recorded(tmp_path / "once")


def test_one_tuner_may_run_twice_in_its_default_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tuner = _tuner(None)
    first = tuner.run(TASK, evaluations=5)
    second = tuner.run(TASK, evaluations=12)
    assert second.run_dir == first.run_dir
    assert _steps(second) == _steps(_tuner(tmp_path / "once").run(TASK, evaluations=12))


def test_the_folder_knows_all_pipelines_and_which_were_proposed(tmp_path: Path) -> None:
    summary = _tuner(tmp_path).run(TASK, evaluations=9)
    candidates = RunFolder(tmp_path).candidates()
    assert candidates == summary.candidates
    assert len(candidates.initial) == 2 and candidates.proposed == 9
    incumbent = json.loads((tmp_path / "incumbent" / "model.json").read_text())
    assert incumbent["config"] == candidates.configs[incumbent["config_id"]]
    assert incumbent["card"]["name"] == incumbent["config"]["model"]


def test_a_proposal_that_was_not_written_down_before_a_crash_is_made_again(tmp_path: Path) -> None:
    _tuner(tmp_path).run(TASK, evaluations=6)
    whole = _recorded(tmp_path)
    cut = whole | {"proposed": 5, "configs": whole["configs"][:-1]}
    (tmp_path / "candidates.json").write_text(json.dumps(cut))
    _tuner(tmp_path).run(TASK, evaluations=6)
    assert _recorded(tmp_path) == whole


def test_a_folder_of_before_there_were_proposals_is_continued(tmp_path: Path) -> None:
    _tuner(tmp_path, proposals=0).run(TASK, evaluations=3)
    old = _recorded(tmp_path)
    del old["proposed"]
    (tmp_path / "candidates.json").write_text(json.dumps(old))
    assert _tuner(tmp_path, proposals=0).run(TASK, evaluations=4).history.evaluations == 4
    summary = _tuner(tmp_path).run(TASK, evaluations=8)
    assert summary.history.evaluations == 8
    assert RunFolder(tmp_path).candidates().proposed == 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"salt": 1}, r"candidates: configs\[2\]"),
        ({"n": 3}, r"candidates: configs has 2 entries there and 3 here"),
        ({"proposals": 0}, r"journal.*Repeat the settings"),
    ],
)
def test_a_search_that_proposed_otherwise_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    _tuner(tmp_path).run(TASK, evaluations=8)
    before = (tmp_path / "candidates.json").read_bytes()
    with pytest.raises(ConfigError, match=message):
        _tuner(tmp_path, **change).run(TASK, evaluations=9)
    assert (tmp_path / "candidates.json").read_bytes() == before


@pytest.mark.parametrize("text", ["", "[]", '{"format": 9}', '{"format": 1, "configs": [3], "models": []}'])
def test_damaged_candidates_are_named(tmp_path: Path, text: str) -> None:
    _tuner(tmp_path).run(TASK, evaluations=2)
    (tmp_path / "candidates.json").write_text(text)
    with pytest.raises(ConfigError, match=r"candidates\.json cannot be read"):
        _tuner(tmp_path).run(TASK, evaluations=3)


def test_trackers_know_the_models_of_proposals(tmp_path: Path) -> None:
    out = io.StringIO()
    for evaluations in (7, 14):
        console = ConsoleTracker(Console(file=out, width=120, highlight=False))
        summary = _tuner(tmp_path, trackers=[console, CsvTracker()]).run(TASK, evaluations=evaluations)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "trajectory.csv").read_text())))
    assert len(rows) == 14
    assert any(int(row["config_id"]) > 8 for row in rows), "one that was proposed in the second part is seen"
    for row in rows:
        assert row["model"] == summary.candidates.configs[int(row["config_id"])]["model"]
    best = summary.incumbent
    assert best is not None
    model = summary.candidates.configs[best.config_id]["model"]
    assert f"#{best.config_id} {model}, epoch {best.fidelity}" in out.getvalue()


def test_a_search_ends_when_no_step_fits_and_says_so(tmp_path: Path) -> None:
    clock = SimulatedClock()
    summary = _tuner(tmp_path, Hasty, clock=clock).run(TASK, time_budget=20)
    assert summary.history.evaluations == 1, "before a first epoch, predicted costs are not trusted"
    assert summary.reason == "No step fits into the remaining 20 s; the shortest would take about 30 s."
    again = _tuner(tmp_path, Hasty, clock=clock).run(TASK, time_budget=20)
    assert again.history.evaluations == 1 and "No step fits" in again.reason
    longer = _tuner(tmp_path, Hasty, clock=clock).run(TASK, time_budget=60, evaluations=3)
    assert longer.history.evaluations == 3


def test_without_a_bound_on_time_every_step_fits(tmp_path: Path) -> None:
    assert _tuner(tmp_path, Hasty).run(TASK, evaluations=2).history.evaluations == 2


def test_candidates_survive_json() -> None:
    grown = Candidates(({"betas": (0.9, 0.99)},)).grown([{"model": "large", "x": None}], SPACE.hub)
    assert grown.models == (SPACE.hub["large"],)
    assert Candidates.from_dict(json.loads(json.dumps(grown.to_dict()))) == grown


def test_a_result_of_a_pipeline_beyond_all_proposals_is_refused(tmp_path: Path) -> None:
    _tuner(tmp_path).run(TASK, evaluations=3)
    RunFolder(tmp_path).journal.append(Result(5, 1, 0.5, 1.0), 99.0)
    with pytest.raises(ConfigError, match="result of pipeline 5, but there are only 5 candidates"):
        _tuner(tmp_path).run(TASK, evaluations=9)
