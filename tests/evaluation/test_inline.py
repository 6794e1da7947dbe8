"""What an objective in this very process can do about the end of its time, and what it cannot."""

import itertools
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clocks import HOURS, movable_clock
from qtt.evaluation import inline
from qtt.evaluation.inline import InlineEvaluator
from qtt.optimizers.random import EpochwiseRandomOptimizer
from qtt.search.tuner import QuickTuner
from qtt.types import Candidates, Result, Status, TaskInfo, Trial
from waiting import LIMIT

TASK = TaskInfo(path=Path(), settings={"images": [1]})
SHORT = 0.2
"""Seconds of a step."""


def _result(trial: Trial) -> Result:
    return Result(trial.config_id, trial.fidelity, 0.5, 0.1)


def catches_all(trial: Trial, task: TaskInfo) -> Result:
    """As some training loops do with a bad batch."""
    try:
        time.sleep(LIMIT)
    except:  # noqa: E722
        return _result(trial)
    return _result(trial)


def catches_each(trial: Trial, task: TaskInfo) -> Result:
    """The same in every batch."""
    for _ in range(40):
        try:
            time.sleep(LIMIT)
        except BaseException:
            continue
    return _result(trial)


def explains(trial: Trial, task: TaskInfo) -> Result:
    """Makes an error of its own of it."""
    try:
        time.sleep(LIMIT)
    except BaseException as error:
        raise RuntimeError("a bad batch") from error
    return _result(trial)


def cleans_up_slowly(trial: Trial, task: TaskInfo) -> Result:
    """Twice."""
    try:
        try:
            time.sleep(LIMIT)
        finally:
            time.sleep(LIMIT)
    finally:
        time.sleep(LIMIT)
    return _result(trial)


def goes_on_yielding(trial: Trial, task: TaskInfo) -> Iterator[Result]:
    """Even when it is closed."""
    while True:
        try:
            time.sleep(LIMIT)
            yield _result(trial)
        except BaseException:
            yield _result(trial)


@pytest.mark.parametrize(
    "objective", [catches_all, catches_each, explains, cleans_up_slowly, goes_on_yielding]
)
def test_whoever_catches_the_interrupt_is_interrupted_again_and_what_it_says_does_not_count(
    objective: Callable[[Trial, TaskInfo], Any],
) -> None:
    before = signal.getsignal(signal.SIGALRM)
    begin = time.monotonic()
    (cut_off,) = InlineEvaluator(objective).evaluate(Trial(0, {}, 1), TASK, SHORT)
    assert cut_off.status is Status.TIMEOUT
    assert time.monotonic() - begin < LIMIT / 2
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_result_that_comes_late_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = movable_clock(monkeypatch, inline)

    def late(trial: Trial, task: TaskInfo) -> Iterator[Result]:
        yield Result(trial.config_id, 1, 0.5, 0.1)
        clock.sleep(2 * HOURS)
        yield Result(trial.config_id, 2, 0.5, 0.1)

    first, cut_off = InlineEvaluator(late).evaluate(Trial(0, {}, 2), TASK, HOURS)
    assert first.succeeded
    assert cut_off.status is Status.TIMEOUT


def test_a_step_that_is_at_its_end_before_its_time_is_over_is_no_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = movable_clock(monkeypatch, inline)

    def tidies(trial: Trial, task: TaskInfo) -> Iterator[Result]:
        yield _result(trial)
        clock.sleep(2 * HOURS)

    assert [r.succeeded for r in InlineEvaluator(tidies).evaluate(Trial(0, {}, 2), TASK, HOURS)] == [True]


def test_what_an_objective_does_to_its_trial_and_task_changes_no_candidate_and_no_later_step(
    tmp_path: Path,
) -> None:
    seen = []

    def spoils(trial: Trial, task: TaskInfo) -> Result:
        seen.append((dict(trial.config), list(task.settings["images"])))
        trial.config["lr"] = 1000.0  # type: ignore[index]
        trial.config["betas"].append(0)
        task.settings["images"].append(2)
        task.settings["more"] = True  # type: ignore[index]
        return _result(trial)

    config = {"lr": 0.1, "betas": [0.9]}
    optimizer = EpochwiseRandomOptimizer(max_fidelity=3)
    optimizer.setup(Candidates((config,)))
    summary = QuickTuner(optimizer, spoils, tmp_path, isolation="inline", trackers=()).run(
        TASK, evaluations=3
    )
    assert optimizer.candidates.configs == summary.candidates.configs == ({"lr": 0.1, "betas": [0.9]},)
    assert all(images == [1] and config["lr"] == 0.1 for config, images in seen)
    assert len(seen) == 3


def test_nothing_is_asked_after_a_failure_and_an_objective_may_clean_up(tmp_path: Path) -> None:
    ended = []

    def goes_on(trial: Trial, task: TaskInfo) -> Iterator[Result]:
        try:
            for epoch in itertools.count(1):
                status = Status.FAILED if epoch == 2 else Status.SUCCESS
                yield Result(trial.config_id, epoch, float("nan") if epoch == 2 else 0.5, 0.1, status)
        finally:
            ended.append(True)

    results = list(InlineEvaluator(goes_on).evaluate(Trial(0, {}, 9), TASK, None))
    assert [result.status for result in results] == [Status.SUCCESS, Status.FAILED]
    assert ended == [True]
