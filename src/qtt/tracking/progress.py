"""How far a search is: what the console shows of it, as plain facts."""

import statistics
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from qtt.evaluation.pool import GPU
from qtt.evaluation.timeline import Timeline
from qtt.optimizers.base import Expectation
from qtt.runs.history import History
from qtt.space.horizon import is_probe
from qtt.support.clock import Clock
from qtt.support.machine import on_gpu
from qtt.tracking.base import SearchInfo
from qtt.types import Budget, Config, Result, Trial

RECENT = 5
"""Results that are remembered for the view."""

LONGEST_DEVICE = 12
"""Letters of a GPU's identifier, where it is no number, by which it is called."""


@dataclass(frozen=True)
class Event:
    """A result and when it came; incumbent: it was the best until then."""

    result: Result
    elapsed: float
    incumbent: bool


@dataclass(frozen=True)
class Step:
    """A step under way.

    first: its first epoch. begin: seconds of the budget at which it began. seconds: how long it is expected
    to take, None where nothing tells.
    """

    trial: Trial
    first: int
    begin: float
    seconds: float | None


class SearchProgress:
    """What is going on in a search; told the same as a tracker is.

    step: the one that was asked for last. steps: those under way, by worker. timeline: of all workers, also
    before the search was resumed. warm: whether a result has come since the start, and not all of a step's
    time goes into starting up.
    """

    def __init__(self, search: SearchInfo, clock: Clock) -> None:
        self.search = search
        self.step: Step | None = None
        self.steps: dict[int, Step] = {}
        self.timeline = Timeline(search.entries)
        self.expected: Expectation | None = None
        self.best: Event | None = None
        self.recent: deque[Event] = deque(maxlen=RECENT)
        self.warm = False
        self.evaluations = self.pipelines = self.failures = 0
        self._clock = clock
        self._begin = clock.now() - search.elapsed
        self._models = {i: _model(config) for i, config in enumerate(search.candidates.configs)}
        self._asked: dict[int, Step] = {}
        self._history = History()
        for entry in search.entries:
            self._history.add(entry.result)
            self._remember(entry.result, entry.elapsed)
        self._count()

    @property
    def budget(self) -> Budget:
        """What may be spent."""
        return self.search.budget

    @property
    def elapsed(self) -> float:
        """Seconds of the budget spent by now."""
        return self._clock.now() - self._begin

    @property
    def share(self) -> float:
        """How much of the budget is spent, 0 to 1; of that one of its bounds that is nearer."""
        shares = [self.elapsed / self.budget.seconds] if self.budget.seconds else []
        shares += [self.evaluations / self.budget.evaluations] if self.budget.evaluations else []
        return min(1.0, max(shares))

    @property
    def workers(self) -> int:
        """How many train at once."""
        return len(self.search.places)

    def device(self, worker: int) -> str:
        """What a worker trains on, in a word."""
        return _device(self.search.places[worker], str(self.search.task.settings.get("device")))

    def epoch(self, step: Step) -> int:
        """The epoch of a step that is being trained."""
        done = max(self._history.fidelity(step.trial.config_id), step.first - 1)
        return min(done + 1, step.trial.fidelity)

    def name(self, config_id: int) -> str:
        """A pipeline in a few words."""
        return f"#{config_id} {self._models.get(config_id, '')}".rstrip()

    def asked(self, trial: Trial, elapsed: float) -> None:
        """A step begins; see `Tracker.asked`."""
        self._models[trial.config_id] = _model(trial.config)
        outlook = None if self.search.outlook is None else self.search.outlook()
        first = self._history.fidelity(trial.config_id) + 1
        seconds = self._guess(trial, first) if outlook is None else outlook.step_seconds
        seconds = seconds if self.warm else None
        self.expected = None if outlook is None else outlook.best
        self.step = self._asked[trial.config_id] = Step(trial, first, elapsed, seconds)

    def begun(self, worker: int, trial: Trial, elapsed: float) -> None:
        """A worker is at a step; see `TrackerGroup.begun`."""
        self.steps[worker] = replace(self._asked[trial.config_id], trial=trial, begin=elapsed)

    def ended(self, worker: int) -> None:
        """A worker is free; see `TrackerGroup.ended`."""
        self.steps.pop(worker, None)

    def told(self, result: Result, history: History, elapsed: float) -> Event:
        """A result has come; see `Tracker.told`."""
        self._history = history
        self.timeline.add(result, elapsed)
        self.warm = True
        event = self._remember(result, elapsed)
        self._count()
        return event

    def _remember(self, result: Result, elapsed: float) -> Event:
        event = Event(result, elapsed, result is self._history.incumbent)
        self.recent.append(event)
        if event.incumbent:
            self.best = event
        return event

    def _count(self) -> None:
        self.evaluations = self._history.evaluations
        self.pipelines = len(self._history.observed)
        self.failures = len(self._history.failed)

    def _guess(self, trial: Trial, first: int) -> float | None:
        """Seconds of a step, from the pipeline's own epochs or, before there are any, from its model's."""
        own = [seen.cost for seen in self._history.curve(trial.config_id)]
        model = self._models[trial.config_id]
        seen = own or [
            observation.cost
            for other in self._history.observed
            if self._models.get(other) == model
            for observation in self._history.curve(other)
        ]
        return statistics.median(seen) * (trial.fidelity - first + 1) if seen else None


def _device(place: Mapping[str, Any], setting: str) -> str:
    """The GPU that a worker has to itself, or what all of them share."""
    if GPU in place:
        gpu = str(place[GPU])
        return f"GPU {gpu}" if gpu.isdigit() else gpu[:LONGEST_DEVICE]
    return setting if on_gpu(setting) else "CPU"


def _model(config: Config) -> str:
    model = str(config.get("model", ""))
    return f"linear probe of {model}" if is_probe(config) else model
