"""A search with several workers: nothing lost, nothing doubled, budgets kept, any number of them later."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import objectives
from qtt.evaluation import preflight
from qtt.evaluation.inline import InlineEvaluator
from qtt.optimizers.base import CandidateOptimizer
from qtt.optimizers.random import EpochwiseRandomOptimizer
from qtt.runs.journal import Entry, Journal
from qtt.search.tuner import QuickTuner
from qtt.search.watchdog import Pace
from qtt.tasks import load_task
from qtt.tasks.preflight import Needs
from qtt.tracking.base import SearchInfo, Summary
from qtt.types import Candidates, Objective, Result, Status, TaskInfo, Trial

TASK = TaskInfo(path=Path("data"))
EPOCHS, PIPELINES = 3, 6


def optimizer(step: int = 1) -> CandidateOptimizer:
    made = EpochwiseRandomOptimizer(seed=0, max_fidelity=EPOCHS, epochs_per_step=step)
    made.setup(Candidates(tuple({"lr": 0.1 * i} for i in range(PIPELINES))))
    return made


def search(
    path: Path,
    objective: Objective = objectives.continuing,
    *,
    workers: int = 2,
    settings: Mapping[str, Any] | None = None,
    evaluations: int = EPOCHS * PIPELINES,
    **more: Any,
) -> Summary:
    tuner = QuickTuner(
        optimizer(more.pop("step", 1)),
        objective,
        path,
        isolation="process",
        workers=workers,
        **({"trackers": ()} | more),
    )
    return tuner.run(replace(TASK, settings=settings or {}), evaluations=evaluations)


def entries(path: Path) -> list[Entry]:
    return Journal(path / "journal.jsonl").read()


def finished(path: Path) -> list[tuple[int, int]]:
    return [(e.result.config_id, e.result.fidelity) for e in entries(path) if e.result.succeeded]


def trained(path: Path) -> list[str]:
    return (path / "pipelines" / "epochs.log").read_text().splitlines()


EVERYTHING = [(i, epoch) for i in range(PIPELINES) for epoch in range(1, EPOCHS + 1)]


class Watcher:
    """A tracker that can be told to do something."""

    def start(self, search: SearchInfo) -> None: ...

    def asked(self, trial: Trial, elapsed: float) -> None: ...

    def told(self, result: Result, history: object, elapsed: float) -> None: ...

    def finish(self, summary: Summary) -> None: ...


def test_everything_is_trained_once_and_says_where(tmp_path: Path) -> None:
    summary = search(tmp_path, workers=3)
    assert sorted(finished(tmp_path)) == EVERYTHING
    assert len(trained(tmp_path)) == len(EVERYTHING)
    assert {entry.result.info["worker"] for entry in entries(tmp_path)} <= {0, 1, 2}
    elapsed = [entry.elapsed for entry in entries(tmp_path)]
    assert elapsed == sorted(elapsed)
    assert summary.incumbent is not None
    assert (summary.incumbent.config_id, summary.incumbent.fidelity) == (PIPELINES - 1, EPOCHS)
    kept = (tmp_path / "incumbent").rglob("*.safetensors")
    assert [file.read_text() for file in kept] == [f"{PIPELINES - 1} {EPOCHS}"]


def test_all_workers_work(tmp_path: Path) -> None:
    """Both pipelines of a pair wait for each other, so that one worker would wait for ever."""
    made = EpochwiseRandomOptimizer(seed=0, max_fidelity=1)
    files = [str(tmp_path / f"{i}") for i in range(2)]
    made.setup(Candidates(tuple({"own": files[i], "other": files[1 - i]} for i in range(2))))
    tuner = QuickTuner(
        made, objectives.meeting, tmp_path / "run", trackers=(), isolation="process", workers=2
    )
    summary = tuner.run(TASK, evaluations=2)
    assert {result.info["worker"] for result in summary.history} == {0, 1}


class Attendant(Watcher):
    """Notes who begins and ends what, and whose results come."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, str, int | None]] = []

    def start(self, search: SearchInfo) -> None:
        self.places = search.places

    def begun(self, worker: int, trial: Trial, elapsed: float) -> None:
        self.heard.append((worker, "begun", trial.config_id))

    def ended(self, worker: int, elapsed: float) -> None:
        self.heard.append((worker, "ended", None))

    def told(self, result: Result, history: object, elapsed: float) -> None:
        self.heard.append((result.info["worker"], "told", result.config_id))


def test_trackers_hear_what_each_worker_is_at(tmp_path: Path) -> None:
    attendant = Attendant()
    search(tmp_path, evaluations=8, step=2, trackers=[attendant])
    assert [place["worker"] for place in attendant.places] == [0, 1]
    for worker in (0, 1):
        own = [heard[1:] for heard in attendant.heard if heard[0] == worker]
        while own:
            step, own = own[: own.index(("ended", None)) + 1], own[own.index(("ended", None)) + 1 :]
            what, pipelines = [heard[0] for heard in step], {heard[1] for heard in step[:-1]}
            assert what[0] == "begun"
            assert set(what[1:-1]) == {"told"}
            assert len(pipelines) == 1


def test_one_worker_says_nothing_of_workers(tmp_path: Path) -> None:
    search(tmp_path, workers=1, evaluations=3)
    assert not any("worker" in entry.result.info for entry in entries(tmp_path))


@pytest.mark.parametrize("step", [1, 2])
def test_an_evaluation_budget_is_kept_exactly_and_the_number_of_workers_may_change(
    tmp_path: Path, step: int
) -> None:
    for workers, budget in [(2, 3), (1, 4), (3, 9), (2, 18)]:
        summary = search(tmp_path, workers=workers, evaluations=budget, step=step)
        assert summary.history.evaluations == budget == len(finished(tmp_path))
    assert sorted(finished(tmp_path)) == EVERYTHING
    assert len(trained(tmp_path)) == len(EVERYTHING), "an epoch was trained again on another worker"


def test_a_worker_that_dies_costs_its_pipeline_and_no_other(tmp_path: Path) -> None:
    summary = search(tmp_path, objectives.dying)
    assert set(summary.history.failed) == {1, 3, 5}
    assert sorted(finished(tmp_path)) == [pair for pair in EVERYTHING if pair[0] % 2 == 0]


def test_a_fault_of_the_world_that_all_workers_meet_leaves_no_trace(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    waited: list[str] = []

    class Opens(Watcher):
        def waiting(self, reason: str, seconds: float) -> None:
            waited.append(reason)
            gate.touch()

    search(
        tmp_path / "run", objectives.gated, settings={"gate": str(gate)}, trackers=[Opens()], patience=600.0
    )
    assert waited == ["the data are away"]
    assert sorted(finished(tmp_path / "run")) == EVERYTHING
    assert {entry.result.status for entry in entries(tmp_path / "run")} == {Status.SUCCESS}


def test_a_fault_that_stays_ends_the_search(tmp_path: Path) -> None:
    summary = search(
        tmp_path / "run", objectives.gated, settings={"gate": str(tmp_path / "never")}, patience=0.0
    )
    assert summary.fault == "the data are away"
    assert entries(tmp_path / "run") == []


def test_an_interrupt_leaves_word_of_all_steps_and_the_search_goes_on(tmp_path: Path) -> None:
    class Interrupts(Watcher):
        heard = 0

        def told(self, result: Result, history: object, elapsed: float) -> None:
            self.heard += 1
            if self.heard == 1:
                raise KeyboardInterrupt

    summary = search(tmp_path, trackers=[Interrupts()], settings={"seconds": 0.3}, workers=3)
    assert summary.interrupted
    cut_off = [entry.result for entry in entries(tmp_path) if entry.result.status is Status.TIMEOUT]
    assert 1 <= len(cut_off) <= 3
    assert len({result.config_id for result in cut_off}) == len(cut_off)
    search(tmp_path, settings={"seconds": 0.3}, workers=2)
    assert sorted(finished(tmp_path)) == EVERYTHING


def test_the_pace_of_each_worker_is_its_own() -> None:
    pace = Pace(())
    for worker, elapsed in [(0, 10.0), (1, 11.0), (0, 20.0), (1, 21.0)]:
        pace.add(Result(0, 1, 0.5, 5.0, info={"worker": worker}), elapsed)
    assert pace.scale == pytest.approx(2.0)


def test_each_worker_needs_its_own_memory_and_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(preflight, "check_memory", asked.append)
    monkeypatch.setattr(preflight, "check_room", lambda folder, needed: asked.append(needed) or 10**9)
    task = load_task("image_classification")
    monkeypatch.setattr(type(task), "needs", lambda *_: Needs(memory=100, disk=10))
    monkeypatch.setattr(type(task), "rehearsal", None)
    info = replace(TASK, workers=3)
    preflight.Preflight(task, optimizer().candidates, info, tmp_path).run(
        InlineEvaluator(objectives.good), lambda what: None
    )
    assert asked == [30, 300]
