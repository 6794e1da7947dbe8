"""What is known of one run: its curve so far, and how it ended."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from qtt.curves.schema import CAPPED, FAILED, FINISHED
from qtt.types import Result, Status

ENDS = (FINISHED, CAPPED, FAILED)
"""How runs end, as curve tables call it."""

_MEGABYTE = 10**6


@dataclass
class RunRecord:
    """Results of one run, in the order in which they were journaled."""

    results: list[Result] = field(default_factory=list)

    @property
    def curve(self) -> list[Result]:
        """The finished epochs, from epoch 1."""
        return [result for result in self.results if result.succeeded]

    @property
    def epochs(self) -> int:
        """Number of finished epochs."""
        return max((result.fidelity for result in self.curve), default=0)

    @property
    def seconds(self) -> float:
        """Seconds of all finished epochs."""
        return sum(result.cost for result in self.curve)

    @property
    def best(self) -> float:
        """The best score so far, NaN before the first."""
        return max((result.score for result in self.curve), default=math.nan)

    @property
    def note(self) -> str | None:
        """Why it failed, None where it did not."""
        failed = bool(self.results) and self.results[-1].status is Status.FAILED
        return str(self.results[-1].info.get("reason", "no reason given")) if failed else None

    @property
    def max_memory(self) -> float | None:
        """Peak memory of the device in bytes, None where no epoch reported it (`max_memory_mb`, in 10⁶)."""
        peaks = [r.info["max_memory_mb"] for r in self.curve if r.info.get("max_memory_mb") is not None]
        return max(peaks) * _MEGABYTE if peaks else None

    def knows(self, result: Result) -> bool:
        """Whether this epoch is there already: an objective repeats what its checkpoint is behind."""
        return result.succeeded and result.fidelity <= self.epochs

    def end(self, epochs: int) -> str | None:
        """How the run ended, None where it goes on; epochs: how far it is to be trained.

        A run that goes on after a failure or a cap (`retry_failed`, more epochs) has not ended in it.
        """
        if self.epochs >= epochs:
            return FINISHED
        last = self.results[-1].status if self.results else Status.SUCCESS
        return {Status.FAILED: FAILED, Status.TIMEOUT: CAPPED, Status.SUCCESS: None}[last]


def records(results: Iterable[Result], count: int) -> list[RunRecord]:
    """One record per run, 0 to `count` - 1."""
    found = [RunRecord() for _ in range(count)]
    for result in results:
        if not found[result.config_id].knows(result):
            found[result.config_id].results.append(result)
    return found
