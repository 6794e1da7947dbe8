"""How the workers of a search spent its time, as results tell: who was at what, and since when.

A result comes when its epoch has ended, or its step without one, and its cost says how long that took. What
is still under way is not known before its result.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from qtt.evaluation.pool import GPU, WORKER
from qtt.runs.journal import Entry
from qtt.types import Result


@dataclass(frozen=True)
class Span:
    """A worker at one epoch, or at a step that brought none; begin, end: seconds of the budget."""

    worker: int
    begin: float
    end: float
    result: Result

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.begin


@dataclass(frozen=True)
class WorkerTime:
    """What became of one worker's time, in seconds of the budget.

    gpu: the one that it had last; None: none of its own. start: until its first epoch began, in which its
    training process starts and is given a step. busy: in epochs, and in steps that failed or were cut off.
    between: from the end of one to the beginning of the next, for deciding and handing over. end: since its
    last.
    """

    worker: int
    gpu: str | None
    start: float
    busy: float
    between: float
    end: float
    epochs: int
    pipelines: int

    @property
    def available(self) -> float:
        """Seconds altogether."""
        return self.start + self.busy + self.between + self.end


class Timeline:
    """Spans of all workers, in the order in which they ended; no two of one worker overlap.

    Where a search was resumed with another number of workers, each counts from the search's beginning.
    """

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.spans: list[Span] = []
        self._busy: dict[int, float] = {}
        self._last: dict[int, float] = {}
        for entry in entries:
            self.add(entry.result, entry.elapsed)

    def add(self, result: Result, elapsed: float) -> None:
        """Note a result that was journaled at so many seconds of the budget."""
        worker = _worker(result)
        begin = min(max(elapsed - result.cost, self._last.get(worker, 0.0)), elapsed)
        self.spans.append(Span(worker, begin, elapsed, result))
        self._busy[worker] = self._busy.get(worker, 0.0) + elapsed - begin
        self._last[worker] = elapsed

    @property
    def workers(self) -> list[int]:
        """Numbers of the workers that have brought results."""
        return sorted(self._last)

    @property
    def utilisation(self) -> float | None:
        """Share of the workers' time in which they were busy, each until its last result; None before any."""
        return _share(sum(self._busy.values()), sum(self._last.values()))

    def utilisation_of(self, worker: int) -> float | None:
        """The same of one worker."""
        return _share(self._busy.get(worker, 0.0), self._last.get(worker, 0.0))

    def times(self, elapsed: float) -> list[WorkerTime]:
        """What became of each worker's time until so many seconds of the budget were spent."""
        return [self._time(worker, elapsed) for worker in self.workers]

    def _time(self, worker: int, elapsed: float) -> WorkerTime:
        own = [span for span in self.spans if span.worker == worker]
        start, last, busy = own[0].begin, self._last[worker], self._busy[worker]
        gpus = [str(span.result.info[GPU]) for span in own if GPU in span.result.info]
        return WorkerTime(
            worker,
            gpus[-1] if gpus else None,
            start,
            busy,
            between=max(last - start - busy, 0.0),
            end=max(elapsed - last, 0.0),
            epochs=sum(span.result.succeeded for span in own),
            pipelines=len({span.result.config_id for span in own}),
        )


def _worker(result: Result) -> int:
    """Who made a result; the first worker where nothing that can be read tells."""
    worker = result.info.get(WORKER, 0)
    return worker if isinstance(worker, int) and worker >= 0 else 0


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None
