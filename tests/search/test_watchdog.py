"""Hung steps: what counts as one, and that a search goes on without its pipeline."""

from pathlib import Path
from typing import Any

import pytest

import objectives
from clocks import HOURS, MovableClock, movable_clock
from qtt.errors import ConfigError
from qtt.evaluation import inline, process
from qtt.optimizers.base import Outlook
from qtt.optimizers.random import RandomOptimizer
from qtt.runs.history import History
from qtt.runs.journal import Entry
from qtt.search.tuner import QuickTuner
from qtt.search.watchdog import Pace, Watchdog
from qtt.tracking.csv import CsvTracker
from qtt.types import Candidates, Result, Status, TaskInfo, Trial

TASK = TaskInfo(path=Path("digits"))
SEED = 1
"""Of an order that begins with the first of two pipelines."""

DOG = Watchdog(factor=10.0, floor=5.0)


def _history(*costs: float, other: float | None = None) -> History:
    own = [Result(0, epoch, 0.5, cost) for epoch, cost in enumerate(costs, start=1)]
    return History([*own, *([] if other is None else [Result(1, 1, 0.5, other)])])


@pytest.mark.parametrize(
    ("history", "fidelity", "predicted", "limit"),
    [
        (_history(), 1, None, 50.0),  # nothing is known: factor * floor
        (_history(), 1, 100.0, 50.0),  # a prediction before anything was seen is not believed
        (_history(other=3.0), 1, None, 50.0),  # other pipelines say nothing
        (_history(other=3.0), 2, 4.0, 40.0),
        (_history(1.0, 3.0), 3, None, 10 * 3.0 + 2 * 2 * 3.0),
        (_history(1.0, 3.0), 4, 100.0, 10 * 100.0 + 2 * 2 * 50.0),
        (_history(0.1), 2, 0.1, 5.0),  # the floor
    ],
)
def test_how_long_a_step_may_take(
    history: History, fidelity: int, predicted: float | None, limit: float
) -> None:
    assert DOG.limit(Trial(0, {}, fidelity), history, predicted) == pytest.approx(limit)
    assert Watchdog(factor=None).limit(Trial(0, {}, fidelity), history, predicted) is None


def test_costs_in_other_units_are_scaled_by_what_the_clock_said() -> None:
    results = [Result(0, epoch, 0.5, 0.01) for epoch in range(1, 4)]
    pace = Pace([Entry(result, 30.0 * number) for number, result in enumerate(results, start=1)])
    assert pace.scale == pytest.approx(3000.0)
    assert DOG.limit(Trial(0, {}, 4), History(results), None, pace.scale) == pytest.approx(
        3000.0 * 0.01 * (10 + 2 * 3)
    )
    assert Pace([Entry(Result(0, 1, 0.5, 60.0), 0.1)]).scale == 1.0, "simulated seconds"


@pytest.mark.parametrize("wrong", [{"hang_factor": 1.0}, {"hang_factor": float("nan")}, {"hang_floor": 0.0}])
def test_impossible_settings_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        QuickTuner(None, objectives.good, tmp_path, **wrong)


class Hours(CsvTracker):
    """Lets hours pass while the second step is under way."""

    def __init__(self, clock: MovableClock) -> None:
        super().__init__()
        self._clock = clock

    def told(self, result: Result, history: History, elapsed: float) -> None:
        super().told(result, history, elapsed)
        if result.fidelity == 1 and len(history.observed) == 1:
            self._clock.sleep(HOURS)


@pytest.mark.parametrize("isolation", ["inline", "process"])
def test_a_hung_pipeline_fails_and_the_search_goes_on(
    tmp_path: Path, isolation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = movable_clock(monkeypatch, inline, process)
    optimizer = RandomOptimizer(seed=SEED, max_fidelity=2, epochs_per_step=2)
    optimizer.setup(Candidates(({"lr": 0.1}, {"lr": 0.2})))
    settings: dict[str, Any] = {"isolation": isolation, "clock": clock, "trackers": [Hours(clock)]}
    summary = QuickTuner(
        optimizer, objectives.hanging_first, tmp_path, hang_factor=2, hang_floor=100, **settings
    ).run(TASK, evaluations=3)
    statuses = [(result.config_id, result.fidelity, result.status) for result in summary.history]
    assert statuses == [
        (0, 1, Status.SUCCESS),
        (0, 2, Status.FAILED),
        (1, 1, Status.SUCCESS),
        (1, 2, Status.SUCCESS),
    ]
    reason = summary.history.failed[0]
    assert reason.startswith("Hung: its step until epoch 2 was ended after")
    assert "hang_factor 2, hang_floor 100 s" in reason


def test_the_end_of_the_budget_is_no_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = movable_clock(monkeypatch, inline)
    optimizer = RandomOptimizer(seed=SEED, max_fidelity=2, epochs_per_step=2)
    optimizer.setup(Candidates(({"lr": 0.1}, {"lr": 0.2})))
    settings: dict[str, Any] = {"isolation": "inline", "clock": clock, "trackers": [Hours(clock)]}
    summary = QuickTuner(optimizer, objectives.hanging_first, tmp_path, hang_floor=2 * HOURS, **settings).run(
        TASK, time_budget=HOURS
    )
    assert [result.status for result in summary.history] == [Status.SUCCESS, Status.TIMEOUT]


def test_the_optimizer_is_asked_what_it_expects(tmp_path: Path) -> None:
    asked: list[float] = []

    class Expecting(RandomOptimizer):
        def outlook(self) -> Outlook:
            asked.append(1.0)
            return Outlook(1.0)

    optimizer = Expecting(max_fidelity=2)
    optimizer.setup(Candidates(({"lr": 0.1},)))
    QuickTuner(optimizer, objectives.good, tmp_path, isolation="inline", trackers=()).run(TASK, evaluations=2)
    assert len(asked) == 2
