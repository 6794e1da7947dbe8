"""Which pipelines end the workers that train them."""

from collections import Counter

from qtt.types import Result

DEATHS = 3
"""So many workers in a row, and the pipeline fails: it is no accident."""


class Deaths:
    """Counts the workers that each pipeline has outlived since its last finished epoch."""

    def __init__(self) -> None:
        self._of: Counter[int] = Counter()

    def attempt(self, config_id: int) -> int:
        """The number of its next attempt, from 1."""
        return self._of[config_id] + 1

    def survived(self, result: Result) -> None:
        """It has finished an epoch."""
        if result.succeeded:
            del self._of[result.config_id]

    def another(self, config_id: int) -> bool:
        """Its worker died; whether that was the last one that it may have."""
        self._of[config_id] += 1
        return self._of[config_id] >= DEATHS
