"""Random search, twice: one pipeline after another to the end, or one epoch of any pipeline at a time."""

from itertools import islice

import numpy as np

from qtt.optimizers.base import CandidateOptimizer
from qtt.types import Candidates, MetaFeatures, Result, Status


class RandomOptimizer(CandidateOptimizer):
    """Trains one pipeline after another to the last epoch, in a seeded random order.

    What a practitioner without a plan does, and the papers' baseline.
    """

    def _choose(self, live: list[int]) -> int:
        order = np.random.default_rng(self.seed).permutation(len(self.candidates))
        rank = np.argsort(order)
        return min(live, key=lambda i: int(rank[i]))


class EpochwiseRandomOptimizer(CandidateOptimizer):
    """Continues a pipeline drawn uniformly from all live ones, one step at a time."""

    def setup(self, n: int | Candidates, metafeatures: MetaFeatures | None = None) -> None:
        """Start a new search; see `CandidateOptimizer.setup`."""
        super().setup(n, metafeatures)
        self._read_results = self._steps = 0

    def _choose(self, live: list[int]) -> int:
        # seeded by the number of steps that came to their ends, so that a search that was resumed, or cut off
        # in the middle of a step, draws what it would have drawn without that
        self._steps += sum(map(self._ends_step, islice(self.history, self._read_results, None)))
        self._read_results = len(self.history)
        generator = np.random.default_rng([self.seed, self._steps])
        return live[int(generator.integers(len(live)))]

    def _ends_step(self, result: Result) -> bool:
        if not result.succeeded:
            return result.status is Status.FAILED
        whole = result.fidelity % self.epochs_per_step == 0
        return whole or result.fidelity == self.last_epoch(result.config_id)
