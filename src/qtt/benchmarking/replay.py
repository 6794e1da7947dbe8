"""One search over one dataset's recorded curves, on simulated seconds.

Notation: k epochs observed, m decisions made.
"""

import heapq
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from qtt.curves.objective import TableObjective
from qtt.errors import ConfigError
from qtt.optimizers.base import Optimizer
from qtt.support.clock import SimulatedClock
from qtt.types import Result, TaskInfo

if TYPE_CHECKING:
    from qtt.curves.table import DatasetCurves

Array = NDArray[np.float64]
T = TypeVar("T")


@dataclass(frozen=True)
class Replay:
    """What a search saw, and how long it thought.

    seconds: (k,) simulated seconds at which each epoch was finished, rising.
    scores: (k,) of these epochs.
    observed: (m,) how many epochs had been observed when each decision was made.
    decisions: (m,) real seconds of each decision: of `ask`, and of the `tell`s before it.
    """

    seconds: Array
    scores: Array
    observed: NDArray[np.int64]
    decisions: Array

    def to_dict(self) -> dict[str, list[Any]]:
        """JSON-able dict; inverse of `from_dict`."""
        return {name: getattr(self, name).tolist() for name in self.__dataclass_fields__}

    @classmethod
    def from_dict(cls, data: dict[str, list[Any]]) -> Self:
        """Inverse of `to_dict`."""
        return cls(
            np.array(data["seconds"], dtype=np.float64),
            np.array(data["scores"], dtype=np.float64),
            np.array(data["observed"], dtype=np.int64),
            np.array(data["decisions"], dtype=np.float64),
        )


def replay(optimizer: Optimizer, curves: "DatasetCurves", limit: float, workers: int = 1) -> Replay:
    """Let an optimizer, set up with the dataset's candidates, search until the limit.

    Args:
        optimizer: one that was told nothing yet.
        curves: of the candidates, in the same order.
        limit: simulated seconds; an epoch that would end later is not observed.
        workers: pipelines that are trained at once.

    Raises:
        ConfigError: the optimizer insists on a pipeline that has failed, and so would never end.
    """
    return _Search(optimizer, curves, limit, workers).run()


class _Search:
    """What workers do at which time: each is at a step, or idle until a result lets the optimizer go on."""

    def __init__(self, optimizer: Optimizer, curves: "DatasetCurves", limit: float, workers: int) -> None:
        self._optimizer = optimizer
        self._objective = TableObjective(curves, SimulatedClock())
        self._task = TaskInfo(path=Path(curves.dataset), workers=workers)
        self._limit = limit
        self._idle = workers
        self._coming: list[tuple[float, int, Result, Iterator[Result]]] = []
        """When which result of a step comes, in a heap, and the results after it."""
        self._count = itertools.count()
        self._ended: set[int] = set()
        self._thinking = 0.0
        self._seconds: list[float] = []
        self._scores: list[float] = []
        self._observed: list[int] = []
        self._decisions: list[float] = []

    def run(self) -> Replay:
        """Search until the limit."""
        self._occupy(0.0)
        while self._coming:
            now, _, result, others = heapq.heappop(self._coming)
            self._tell(result, now)
            if not self._expect(others, now):
                self._idle += 1
            self._occupy(now)
        observed = np.array(self._observed, dtype=np.int64)
        return Replay(np.array(self._seconds), np.array(self._scores), observed, np.array(self._decisions))

    def _occupy(self, now: float) -> None:
        """Have idle workers begin what the optimizer asks for."""
        while self._idle and (trial := self._timed(self._optimizer.ask)) is not None:
            if trial.config_id in self._ended:
                raise ConfigError(
                    f"The optimizer asks for pipeline {trial.config_id} again, which has failed."
                )
            self._observed.append(len(self._scores))
            self._decisions.append(self._thinking)
            self._thinking = 0.0
            self._idle -= 1
            self._expect(iter(self._objective(trial, self._task)), now)

    def _expect(self, results: Iterator[Result], now: float) -> bool:
        """Let the next result of a step come when it does, if any; a worker is at a step until the limit."""
        result = next(results, None)
        if result is None:
            return False
        then = now + result.cost if result.succeeded else now
        if then <= self._limit:
            heapq.heappush(self._coming, (then, next(self._count), result, results))
        return True

    def _tell(self, result: Result, now: float) -> None:
        if result.succeeded:
            self._seconds.append(now)
            self._scores.append(result.score)
        else:
            self._ended.add(result.config_id)
        self._timed(lambda: self._optimizer.tell(result))

    def _timed(self, call: Callable[[], T]) -> T:
        """Of a decision, which takes real seconds and no simulated ones."""
        begin = perf_counter()
        try:
            return call()
        finally:
            self._thinking += perf_counter() - begin
