"""One search over one dataset's recorded curves, on simulated seconds.

Notation: k epochs observed, m decisions made.
"""

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from qtt.curves.objective import TableObjective
from qtt.errors import ConfigError
from qtt.optimizers.base import Optimizer
from qtt.support.clock import SimulatedClock
from qtt.types import TaskInfo

if TYPE_CHECKING:
    from qtt.curves.table import DatasetCurves

Array = NDArray[np.float64]


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


def replay(optimizer: Optimizer, curves: "DatasetCurves", limit: float) -> Replay:
    """Let an optimizer, set up with the dataset's candidates, search until the limit.

    Args:
        optimizer: one that was told nothing yet.
        curves: of the candidates, in the same order.
        limit: simulated seconds; an epoch that would end later is not observed.

    Raises:
        ConfigError: the optimizer insists on a pipeline that has failed, and so would never end.
    """
    clock = SimulatedClock()
    objective = TableObjective(curves, clock)
    task = TaskInfo(path=Path(curves.dataset))
    seconds: list[float] = []
    scores: list[float] = []
    observed: list[int] = []
    decisions: list[float] = []
    ended: set[int] = set()
    thinking = 0.0
    while clock.now() <= limit:
        begin = perf_counter()
        trial = optimizer.ask()
        thinking += perf_counter() - begin
        if trial is None:
            break
        if trial.config_id in ended:
            raise ConfigError(f"The optimizer asks for pipeline {trial.config_id} again, which has failed.")
        observed.append(len(scores))
        decisions.append(thinking)
        thinking = 0.0
        for result in objective(trial, task):
            if clock.now() > limit:
                break
            if result.succeeded:
                seconds.append(clock.now())
                scores.append(result.score)
            else:
                ended.add(result.config_id)
            begin = perf_counter()
            optimizer.tell(result)
            thinking += perf_counter() - begin
    return Replay(np.array(seconds), np.array(scores), np.array(observed, np.int64), np.array(decisions))
