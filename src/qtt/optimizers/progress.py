"""How far each candidate of a search is: what an optimizer asks of all of them before every step."""

from collections.abc import Collection, Iterable

import numpy as np
from numpy.typing import NDArray

from qtt.runs.history import History
from qtt.space.horizon import last_epoch
from qtt.types import Config, Result, Status

Ids = NDArray[np.int64]


class Progress:
    """A function of candidates and results, kept up to date result by result.

    done (n,): the largest fidelity with a score, 0 without. last (n,): where each pipeline ends.
    failed (n,): whether it failed.
    """

    def __init__(self, configs: Iterable[Config], max_fidelity: int) -> None:
        self._max_fidelity = max_fidelity
        self.done = np.zeros(0, dtype=np.int64)
        self.last = np.zeros(0, dtype=np.int64)
        self.failed = np.zeros(0, dtype=np.bool_)
        self.grow(configs)

    def grow(self, configs: Iterable[Config]) -> None:
        """Further candidates, behind the others."""
        last = np.array([last_epoch(config, self._max_fidelity) for config in configs], dtype=np.int64)
        self.last = np.concatenate([self.last, last])
        self.done = np.concatenate([self.done, np.zeros(len(last), dtype=np.int64)])
        self.failed = np.concatenate([self.failed, np.zeros(len(last), dtype=np.bool_)])

    def enter(self, result: Result) -> None:
        """Take one result into account."""
        if result.status is Status.FAILED:
            self.failed[result.config_id] = True
        elif result.succeeded:
            self.done[result.config_id] = max(result.fidelity, self.done[result.config_id])

    def live(self, pending: Collection[int]) -> list[int]:
        """Pipelines that neither failed nor ended, and are not pending, ascending."""
        going_on = ~self.failed & (self.done < self.last)
        going_on[list(pending)] = False
        return np.flatnonzero(going_on).tolist()

    def next_fidelity(self, ids: Ids, step: int) -> Ids:
        """Where the next steps of pipelines end: at a multiple of `step`, or at the last epoch; (m,)."""
        return np.minimum((self.done[ids] // step + 1) * step, self.last[ids])

    @classmethod
    def of(cls, configs: Iterable[Config], max_fidelity: int, history: History) -> "Progress":
        """Progress after all results of a history."""
        progress = cls(configs, max_fidelity)
        for result in history:
            progress.enter(result)
        return progress
