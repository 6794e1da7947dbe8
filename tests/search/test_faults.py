"""Faults of the world during a search: waited for, never recorded, and a way to go on."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import objectives
from qtt.errors import DatasetError, EnvironmentFault
from qtt.optimizers.random import EpochwiseRandomOptimizer, RandomOptimizer
from qtt.runs.journal import Journal
from qtt.search.faults import SUSPICIOUS, Patience, Suspicion, patiently
from qtt.search.tuner import QuickTuner
from qtt.support.clock import SimulatedClock
from qtt.tracking.base import SearchInfo, Summary
from qtt.types import Candidates, Objective, Result, Status, TaskInfo, Trial

TASK = TaskInfo(path=Path("data"))


class Waits:
    """A tracker that remembers what it heard of waiting."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def start(self, search: SearchInfo) -> None: ...

    def asked(self, trial: Trial, elapsed: float) -> None: ...

    def told(self, result: Result, history: object, elapsed: float) -> None: ...

    def waiting(self, reason: str, seconds: float) -> None:
        self.seconds.append(seconds)

    def finish(self, summary: Summary) -> None: ...


def away(times: int, error: Exception) -> Objective:
    """Trains well, but for so many calls after the first five, in which it raises."""
    calls = itertools.count()

    def objective(trial: Trial, task: TaskInfo) -> Iterator[Result]:
        if 5 <= next(calls) < 5 + times:
            raise error
        yield from objectives.continuing(trial, task)

    return objective


def _search(
    path: Path, objective: Objective, *, patience: float = 100.0, n: int = 12, **budget: float
) -> QuickTuner:
    optimizer = EpochwiseRandomOptimizer(seed=0, max_fidelity=3)
    optimizer.setup(Candidates(tuple({"lr": 0.1 * i} for i in range(n))))
    waits = Waits()
    tuner = QuickTuner(
        optimizer,
        objective,
        path,
        trackers=[waits],
        isolation="inline",
        patience=patience,
        clock=SimulatedClock(),
    )
    tuner.waits = waits.seconds  # type: ignore[attr-defined]
    tuner.run(TASK, **({"evaluations": 20} | budget))  # type: ignore[arg-type]
    return tuner


def _journal(path: Path) -> list[tuple[int, int, float]]:
    return [
        (e.result.config_id, e.result.fidelity, e.result.score)
        for e in Journal(path / "journal.jsonl").read()
    ]


def test_a_fault_that_mends_leaves_no_trace(tmp_path: Path) -> None:
    undisturbed = _search(tmp_path / "a", away(0, DatasetError("gone")))
    disturbed = _search(tmp_path / "b", away(4, DatasetError("gone")))
    assert disturbed.waits == [1, 2, 4, 8]  # type: ignore[attr-defined]
    assert _journal(tmp_path / "b") == _journal(tmp_path / "a")
    assert undisturbed.summary is not None and undisturbed.summary.fault is None
    assert disturbed.summary is not None and disturbed.summary.fault is None


def test_a_fault_that_stays_stops_the_search_which_goes_on_later(tmp_path: Path) -> None:
    stopped = _search(tmp_path / "a", away(10_000, OSError(28, "No space left on device")), patience=10)
    assert stopped.summary is not None
    assert "No space left" in str(stopped.summary.fault)
    assert stopped.summary.reason.startswith("Stopped, for this did not mend")
    assert stopped.waits == [1, 2, 4, 3]  # type: ignore[attr-defined]
    assert len(_journal(tmp_path / "a")) == 5
    assert not stopped.summary.history.failed
    resumed = _search(tmp_path / "a", objectives.continuing)
    assert resumed.summary is not None and resumed.summary.fault is None
    _search(tmp_path / "b", objectives.continuing)
    assert _journal(tmp_path / "a") == _journal(tmp_path / "b")


def test_waiting_counts_against_the_budget_and_ends_with_it(tmp_path: Path) -> None:
    tuner = _search(tmp_path, away(10_000, DatasetError("gone")), time_budget=6.5, evaluations=1000)
    assert tuner.waits == [1, 2, 3.5]  # type: ignore[attr-defined]
    assert tuner.summary is not None
    assert tuner.summary.reason == "The budget of 6.5 s is spent. It ended waiting: gone"
    assert tuner.summary.elapsed == 6.5


def test_many_equal_failures_in_a_row_are_suspected_to_be_the_worlds(tmp_path: Path) -> None:
    def objective(trial: Trial, task: TaskInfo) -> Result:
        raise ValueError(f"library {trial.config_id} is broken")

    tuner = _search(tmp_path, objective, patience=5, n=40)
    assert tuner.summary is not None
    assert len(tuner.summary.history.failed) == SUSPICIOUS
    assert f"{SUSPICIOUS} pipelines before this one failed in the same way" in str(tuner.summary.fault)


def test_failed_pipelines_are_asked_again_on_demand(tmp_path: Path) -> None:
    optimizer = RandomOptimizer(seed=0, max_fidelity=2)
    optimizer.setup(Candidates(tuple({"lr": 0.1 * i} for i in range(4))))
    first = QuickTuner(optimizer, objectives.failing, tmp_path, trackers=(), isolation="inline")
    first.run(TASK, evaluations=10)
    assert first.summary is not None and len(first.summary.history.failed) == 4
    again = RandomOptimizer(seed=0, max_fidelity=2)
    again.setup(Candidates(tuple({"lr": 0.1 * i} for i in range(4))))
    mended = QuickTuner(again, objectives.continuing, tmp_path, trackers=(), isolation="inline")
    assert mended.run(TASK, evaluations=10).history.failed  # they stay failed
    again.setup(Candidates(tuple({"lr": 0.1 * i} for i in range(4))))
    summary = mended.run(TASK, evaluations=10, retry_failed=True)
    assert not summary.history.failed
    assert summary.history.evaluations == 8
    assert (tmp_path / "journal.jsonl.before-retry").is_file()


def test_finetuning_waits_as_well(tmp_path: Path) -> None:
    tuner = _search(tmp_path, objectives.continuing, evaluations=9)
    again = QuickTuner.load(
        tmp_path, away(10_000, DatasetError("gone")), clock=SimulatedClock(), isolation="inline", patience=4
    )
    for _ in range(5):
        list(again.objective(Trial(0, {}, 1), TaskInfo(TASK.path, work_dir=tmp_path / "x")))  # type: ignore
    with pytest.raises(EnvironmentFault, match=r"gone Everything finished is kept"):
        again.finetune(k=1)
    assert not (tmp_path / "finetuning.jsonl").exists() or not Journal(tmp_path / "finetuning.jsonl").read()
    assert tuner.summary is not None


def _failed(config_id: int, reason: str, **info: bool) -> Result:
    return Result(config_id, 1, float("nan"), 1.0, Status.FAILED, {"reason": reason, **info})


def _faults(results: list[Result]) -> list[bool]:
    suspicion = Suspicion()
    return [suspicion.fault(result) is not None for result in results]


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([_failed(i, "diverged", explained=True) for i in range(20)], [False] * 20),
        ([_failed(0, "same pipeline") for _ in range(20)], [False] * 20),
        ([_failed(i, "ab"[i % 2]) for i in range(20)], [False] * 20),
        ([_failed(i, f"took {i}.5 s") for i in range(10)], [False] * 8 + [True] * 2),
        ([*(_failed(i, "x") for i in range(8)), Result(9, 1, 0.5, 1.0), _failed(10, "x")], [False] * 10),
        ([_failed(0, "gone", environment=True)], [True]),
    ],
)
def test_what_is_suspected(results: list[Result], expected: list[bool]) -> None:
    assert _faults(results) == expected


def test_pauses_grow_to_a_bound_and_take_no_longer_than_patience() -> None:
    patience, pauses = Patience(300), []
    while (pause := patience.pause()) is not None:
        pauses.append(pause)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60, 57]


def test_without_patience_there_is_one_try() -> None:
    attempts: list[int] = []

    def attempt() -> str:
        attempts.append(1)
        return "fault"

    wait: Callable[[str, float], bool] = lambda fault, pause: pytest.fail("it waits")  # noqa: E731
    assert patiently(attempt, 0, wait) == "fault"
    assert len(attempts) == 1
