"""Random search, twice: one pipeline after another to the end, or one epoch of any pipeline at a time."""

import numpy as np

from qtt.optimizers.base import CandidateOptimizer


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

    def _choose(self, live: list[int]) -> int:
        # seeded by the number of results, so that a resumed search draws what this one would have drawn
        generator = np.random.default_rng([self.seed, len(self.history)])
        return live[int(generator.integers(len(live)))]
