"""Steps that end before their epoch: tried again, then failed, and never a false reason or a silent stop."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qtt.evaluation.step import GAVE_UP, failure, timeout
from qtt.optimizers.random import EpochwiseRandomOptimizer
from qtt.search.misses import MISSED, TRIES, ended_early, missed
from qtt.search.tuner import QuickTuner
from qtt.tracking.base import Summary
from qtt.types import Candidates, Objective, Result, Status, TaskInfo, Trial

TASK = TaskInfo(path=Path("digits"))
EVER = 200
"""Steps after which a search of a few pipelines would never end."""


def _search(path: Path, objective: Objective, n: int = 3, evaluations: int = 1000) -> Summary:
    calls = itertools.count()

    def counted(trial: Trial, task: TaskInfo) -> Any:
        if next(calls) > EVER:
            raise KeyboardInterrupt
        return objective(trial, task)

    optimizer = EpochwiseRandomOptimizer(seed=1, max_fidelity=6, epochs_per_step=3)
    optimizer.setup(Candidates(tuple({"lr": 0.1 * i} for i in range(n))))
    tuner = QuickTuner(optimizer, counted, path, isolation="inline", trackers=())
    summary = tuner.run(TASK, evaluations=evaluations)
    assert not summary.interrupted, "it went on for ever"
    return summary


def _one_short(trial: Trial, task: TaskInfo) -> Iterator[Result]:
    """From the first epoch on, all but the last."""
    for epoch in range(1, trial.fidelity):
        yield Result(trial.config_id, epoch, 0.5, 0.1)


def _never(trial: Trial, task: TaskInfo) -> Result:
    return Result(trial.config_id, trial.fidelity, float("nan"), 0.1, Status.TIMEOUT)


@pytest.mark.parametrize(
    ("objective", "reached", "words"),
    [(_one_short, 2, "stopped at epoch 2 of 3"), (_never, 0, "stopped at epoch 0 of 3")],
)
def test_a_pipeline_that_gets_no_further_fails_and_the_search_says_so(
    tmp_path: Path, objective: Objective, reached: int, words: str
) -> None:
    summary = _search(tmp_path, objective)
    assert [summary.history.fidelity(i) for i in range(3)] == [reached] * 3
    assert summary.reason.startswith("Every pipeline failed; 3 of 3 because:")
    assert words in summary.reason
    steps = [result for result in summary.history if not result.succeeded]
    assert len(steps) <= 3 * (TRIES + 1), "the first step of those that got somewhere is no try"
    assert {result.status for result in steps[-3:]} >= {Status.FAILED}


def test_one_that_gets_further_in_every_step_has_no_bound_of_tries(tmp_path: Path) -> None:
    done: dict[int, int] = {}

    def slow(trial: Trial, task: TaskInfo) -> Result:
        done[trial.config_id] = done.get(trial.config_id, 0) + 1
        return Result(trial.config_id, done[trial.config_id], 0.5, 0.1)

    summary = _search(tmp_path, slow)
    assert summary.history.failed == {}
    assert summary.history.evaluations == 3 * 6
    assert "trained to its end" in summary.reason


def test_tries_are_counted_from_the_journal(tmp_path: Path) -> None:
    calls = itertools.count(1)

    def interrupted(trial: Trial, task: TaskInfo) -> Result:
        if next(calls) % 2 == 0:
            raise KeyboardInterrupt
        return _never(trial, task)

    for _ in range(TRIES):
        optimizer = EpochwiseRandomOptimizer(max_fidelity=6)
        optimizer.setup(Candidates(({"lr": 0.1},)))
        tuner = QuickTuner(optimizer, interrupted, tmp_path, isolation="inline", trackers=())
        summary = tuner.run(TASK, evaluations=5)
    assert [result.info.get(MISSED, 0) for result in summary.history] == [1, 0, 2, 0, 0]
    assert list(summary.history.failed) == [0]


def test_a_step_that_was_forgiven_begins_anew() -> None:
    trial = Trial(0, {}, 3)
    told = [missed(trial, (), 1.0)]
    while told[-1].status is Status.TIMEOUT:
        told.append(missed(trial, told, 1.0))
    assert len(told) == TRIES
    assert missed(trial, [timeout(trial, 1.0, {"forgiven": "why"})], 1.0).info[MISSED] == 1
    assert missed(trial, [*told[:1], timeout(trial, 1.0)], 1.0).info[MISSED] == 2, "cut off by others"


@pytest.mark.parametrize(
    ("last", "early"),
    [
        (None, True),
        (Result(0, 2, 0.5, 1.0), True),
        (Result(0, 3, 0.5, 1.0), False),
        (timeout(Trial(0, {}, 3), 1.0), False),
        (timeout(Trial(0, {}, 3), 1.0, {GAVE_UP: True}), True),
        (failure(Trial(0, {}, 3), "why", 1.0), False),
    ],
)
def test_what_ends_early(last: Result | None, early: bool) -> None:
    assert ended_early(last, Trial(0, {}, 3)) is early


def test_an_optimizer_that_asks_for_nothing_more_is_the_reason(tmp_path: Path) -> None:
    class Content(EpochwiseRandomOptimizer):
        def ask(self) -> Trial | None:
            return None if len(self.history) == 2 else super().ask()

    optimizer = Content(max_fidelity=6)
    optimizer.setup(Candidates(({"lr": 0.1}, {"lr": 0.2})))
    good: Objective = lambda trial, task: Result(trial.config_id, trial.fidelity, 0.5, 0.1)  # noqa: E731
    tuner = QuickTuner(optimizer, good, tmp_path, isolation="inline", trackers=())
    assert tuner.run(TASK, evaluations=5).reason == (
        "The optimizer asks for nothing more, with 2 of 2 pipelines not at their ends."
    )
