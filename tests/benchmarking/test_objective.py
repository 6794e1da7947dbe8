"""The table objective: what it yields, what time passes, and the same search by the ordinary tuner."""

import math
from pathlib import Path

import numpy as np
import pytest

from qtt.benchmarking.replay import replay
from qtt.curves.objective import TableObjective
from qtt.errors import ConfigError
from qtt.optimizers import ASHAOptimizer, EpochwiseRandomOptimizer, RandomOptimizer
from qtt.search.tuner import QuickTuner
from qtt.support.clock import SimulatedClock
from qtt.types import Candidates, Status, TaskInfo, Trial
from recorded import recorded

TASK = TaskInfo(path=Path("A"))


def _trial(config_id, fidelity):
    return Trial(config_id, {}, fidelity)


def test_a_clock_advances_and_never_goes_back():
    clock = SimulatedClock()
    clock.advance(2.5)
    clock.advance(0.0)
    assert clock.now() == 2.5
    for seconds in (-1.0, math.nan, math.inf):
        with pytest.raises(ConfigError, match="clock"):
            clock.advance(seconds)


def test_epochs_come_in_order_each_after_its_seconds():
    curves, clock = recorded(), SimulatedClock()
    objective = TableObjective(curves, clock)
    passed = 0.0
    for fidelity in (2, 3, 7):
        for result in objective(_trial(1, fidelity), TASK):
            passed += curves.seconds[1, result.fidelity - 1]
            assert clock.now() == pytest.approx(passed)
            assert result.score == curves.scores[1, result.fidelity - 1]
            assert result.cost == curves.seconds[1, result.fidelity - 1]
        assert result.fidelity == fidelity
    assert passed == pytest.approx(curves.seconds[1, :7].sum())


def test_the_end_of_a_curve_is_a_failure_that_takes_no_time():
    curves, clock = recorded(), SimulatedClock()
    assert curves.lengths[5] == 6
    *epochs, last = TableObjective(curves, clock)(_trial(5, 9), TASK)
    assert [result.fidelity for result in epochs] == [1, 2, 3, 4, 5, 6]
    assert last.status is Status.FAILED
    assert last.info == {"reason": "the recorded curve ends at epoch 6"}
    assert clock.now() == pytest.approx(np.nansum(curves.seconds[5]))


def test_with_a_work_folder_another_process_goes_on_where_this_one_stopped(tmp_path):
    curves, clock = recorded(), SimulatedClock()
    task = TaskInfo(path=Path("A"), work_dir=tmp_path)
    list(TableObjective(curves, clock)(_trial(1, 4), task))
    later = SimulatedClock()
    (again,) = TableObjective(curves, later)(_trial(1, 4), task)  # its result never reached the journal
    assert (again.fidelity, later.now()) == (4, 0.0)
    (fifth,) = TableObjective(curves, later)(_trial(1, 5), task)
    assert (fifth.fidelity, later.now()) == (5, curves.seconds[1, 4])


@pytest.mark.parametrize("make", [RandomOptimizer, EpochwiseRandomOptimizer, ASHAOptimizer])
def test_the_ordinary_tuner_replays_the_same_search(tmp_path, make):
    curves, limit = recorded(), 3000.0
    lean = make(seed=3, max_fidelity=12)
    lean.setup(Candidates(curves.configs))
    expected = replay(lean, curves, limit)
    optimizer, clock = make(seed=3, max_fidelity=12), SimulatedClock()
    optimizer.setup(Candidates(curves.configs))
    tuner = QuickTuner(optimizer, TableObjective(curves, clock), tmp_path, trackers=(), clock=clock)
    for budget in (200.0, limit):  # the second goes on in the folder of the first
        summary = tuner.run(TASK, time_budget=budget)
    results = [result for result in summary.history if result.succeeded]
    ends = np.cumsum([result.cost for result in results])
    inside = len(expected.scores)
    assert 50 < inside < curves.lengths.sum()
    assert [result.score for result in results[:inside]] == expected.scores.tolist()
    np.testing.assert_allclose(ends[:inside], expected.seconds)
    assert (ends[inside:] > limit).all()  # the tuner's last step may end after the budget
    assert len(results) <= inside + 1
    assert summary.elapsed == pytest.approx(ends[-1], abs=0.01)  # the journal keeps milliseconds
