"""What a tracker is told; trackers watch a search and never disturb it."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from qtt.optimizers.base import Outlook
from qtt.runs.history import History
from qtt.runs.journal import Entry
from qtt.types import Budget, Candidates, Result, TaskInfo, Trial

logger = logging.getLogger("qtt")


@dataclass(frozen=True)
class SearchInfo:
    """A search as it starts or resumes.

    entries: what earlier runs journaled. outlook: gives what the optimizer expects, as of the step it asked
    last; None: it expects nothing. To be called from `Tracker.asked` alone. advice: what would make the next
    search better, for its end; empty: nothing is known. notes: sentences that whoever watches the search must
    know. places: of each worker, what the journal says of where it trains; see `qtt.evaluation.pool.Pool`.
    """

    run_dir: Path
    optimizer: str
    task: TaskInfo
    candidates: Candidates
    budget: Budget
    entries: tuple[Entry, ...] = ()
    outlook: Callable[[], Outlook | None] | None = None
    advice: str = ""
    notes: tuple[str, ...] = ()
    places: tuple[Mapping[str, Any], ...] = ({},)

    @property
    def elapsed(self) -> float:
        """Seconds of the budget spent by earlier runs."""
        return self.entries[-1].elapsed if self.entries else 0.0


@dataclass(frozen=True)
class Summary:
    """A search as it ended.

    elapsed: seconds of the budget spent in all. reason: why it ended. fault: what of the world was not mended
    in time; None: the search did not end for that. evicted: pipelines whose checkpoints were removed to keep
    the disk quota, in order, one maybe several times; of this run alone.
    """

    run_dir: Path
    candidates: Candidates
    history: History
    elapsed: float
    reason: str
    interrupted: bool = False
    fault: str | None = None
    evicted: tuple[int, ...] = ()

    @property
    def incumbent(self) -> Result | None:
        """The best result, None when no pipeline finished an epoch."""
        return self.history.incumbent


class Tracker(Protocol):
    """Hears what happens; elapsed is in seconds of the budget.

    Further methods are called where a tracker has them: `preparing`, `begun`, `ended` and `waiting`, see
    `TrackerGroup`.
    """

    def start(self, search: SearchInfo) -> None:
        """The search begins, or goes on after an earlier stop."""
        ...

    def asked(self, trial: Trial, elapsed: float) -> None:
        """A step begins; its pipeline may be one that was proposed after the start."""
        ...

    def told(self, result: Result, history: History, elapsed: float) -> None:
        """A result was journaled; `history` includes it."""
        ...

    def finish(self, summary: Summary) -> None:
        """The search ended."""
        ...


class TrackerGroup:
    """Several trackers as one.

    A tracker that fails is reported once, its traceback goes to the log, and it is left out from then on.
    """

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._waiting = list(trackers)
        self._trackers: list[Tracker] = []
        self._half_started: Tracker | None = None

    def start(self, search: SearchInfo) -> None:
        """See `Tracker.start`; where the user interrupts it, trackers that were not reached hear nothing."""
        while self._waiting:
            tracker = self._waiting.pop(0)
            self._trackers.append(tracker)
            try:
                self._call(tracker, lambda tracker: tracker.start(search))
            except KeyboardInterrupt:
                self._half_started = tracker
                raise

    def preparing(self, what: str) -> None:
        """The search is about to begin, and sees to this before; empty: it does so no longer.

        Trackers that have a method of this name hear of it.
        """
        for tracker in list(self._waiting):
            self._call(tracker, lambda tracker: getattr(tracker, "preparing", _ignore)(what))

    def asked(self, trial: Trial, elapsed: float) -> None:
        """See `Tracker.asked`."""
        self._each(lambda tracker: tracker.asked(trial, elapsed))

    def begun(self, worker: int, trial: Trial, elapsed: float) -> None:
        """A worker begins a step that was asked for, or as much of it as the budget allows.

        A step that met a fault of the world begins anew. Trackers that have a method of this name hear of it.
        """
        self._each(lambda tracker: getattr(tracker, "begun", _ignore)(worker, trial, elapsed))

    def ended(self, worker: int, elapsed: float) -> None:
        """A worker has ended its step, and is free.

        Trackers that have a method of this name hear of it, after they were told of the step's last result.
        """
        self._each(lambda tracker: getattr(tracker, "ended", _ignore)(worker, elapsed))

    def told(self, result: Result, history: History, elapsed: float) -> None:
        """See `Tracker.told`."""
        self._each(lambda tracker: tracker.told(result, history, elapsed))

    def waiting(self, reason: str, seconds: float) -> None:
        """A fault of the world keeps the search from going on; it tries again in `seconds`.

        Trackers that have a method of this name hear of it.
        """
        self._each(lambda tracker: getattr(tracker, "waiting", _ignore)(reason, seconds))

    def finish(self, summary: Summary) -> None:
        """See `Tracker.finish`."""
        self._each(lambda tracker: tracker.finish(summary))

    def _each(self, call: Callable[[Tracker], None]) -> None:
        for tracker in list(self._trackers):
            self._call(tracker, call)

    def _call(self, tracker: Tracker, call: Callable[[Tracker], None]) -> None:
        try:
            call(tracker)
        except Exception as error:
            for those in (self._trackers, self._waiting):
                if tracker in those:
                    those.remove(tracker)
            name = type(tracker).__name__
            level = logging.INFO if tracker is self._half_started else logging.WARNING
            logger.log(level, "%s failed and is switched off: %s", name, error or type(error).__name__)
            logger.info("%s:", name, exc_info=error)


def _ignore(*told: object) -> None:
    """A tracker that does not care."""
