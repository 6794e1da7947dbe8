"""Asynchronous successive halving: many pipelines for an epoch, the better third of them for longer."""

from itertools import islice

import numpy as np

from qtt.errors import ConfigError
from qtt.optimizers.base import CandidateOptimizer, CandidateSource
from qtt.types import Candidates, MetaFeatures


class ASHAOptimizer(CandidateOptimizer):
    """Asynchronous successive halving, promotion type (Li et al. 2020, MLSys, Algorithm 2).

    Rungs are the epochs 1, η, η², … and the last one. Every ask takes the first of these that exists:
      1. a pipeline on its way from one rung to the next;
      2. from the highest rung down, the best pipeline that waits there, is among the best 1/η of all that
         have reached that rung, and was not promoted yet;
      3. a pipeline never trained, in a seeded random order;
      4. the best that waits at the highest rung; the paper, which draws pipelines without end, needs no such
         rule.
    A pipeline that fails, or whose recorded curve ends, on the way to a rung never reaches it and does not
    count there. It was promoted from the rungs below, and goes on to count among their members.
    """

    def __init__(
        self,
        config_manager: CandidateSource | None = None,
        *,
        seed: int = 0,
        epochs_per_step: int = 1,
        max_fidelity: int = 50,
        eta: int = 3,
    ) -> None:
        """See `CandidateOptimizer`.

        Args:
            config_manager: samples candidates.
            seed: of the candidates and of the order in which they are tried.
            epochs_per_step: Δt; a rung is reached where the step that contains it ends.
            max_fidelity: last epoch of every pipeline, and the last rung.
            eta: one of `eta` pipelines of a rung is promoted.

        Raises:
            ConfigError: `eta` is below 2.
        """
        super().__init__(
            config_manager, seed=seed, epochs_per_step=epochs_per_step, max_fidelity=max_fidelity
        )
        if eta < 2:
            raise ConfigError(f"eta must be at least 2; got {eta}.")
        self.eta = eta
        self.rungs = rungs(eta, epochs_per_step, max_fidelity)
        self._scores: dict[int, dict[int, float]] = {}
        self._rank: dict[int, int] = {}
        self._read_results = 0

    def setup(self, n: int | Candidates, metafeatures: MetaFeatures | None = None) -> None:
        """Start a new search; see `CandidateOptimizer.setup`."""
        super().setup(n, metafeatures)
        order = np.random.default_rng(self.seed).permutation(len(self.candidates))
        self._rank = {int(config_id): rank for rank, config_id in enumerate(order)}
        self._scores = {rung: {} for rung in self.rungs}
        self._read_results = 0

    def _choose(self, live: list[int]) -> int:
        epochs = {i: self.history.fidelity(i) for i in live}
        on_the_way = [i for i in live if epochs[i] and epochs[i] not in self._scores]
        if on_the_way:
            return max(on_the_way, key=lambda i: (epochs[i], -self._rank[i]))
        self._fill_rungs()
        waiting = {rung: [i for i in live if epochs[i] == rung] for rung in reversed(self.rungs)}
        for rung, members in waiting.items():
            promotable = set(self._best(rung)).intersection(members)
            if promotable:
                return min(promotable, key=lambda i: self._order(rung, i))
        fresh = [i for i in live if not epochs[i]]
        if fresh:
            return min(fresh, key=self._rank.__getitem__)
        rung, members = next((rung, members) for rung, members in waiting.items() if members)
        return min(members, key=lambda i: self._order(rung, i))

    def _best(self, rung: int) -> list[int]:
        """The best 1/η of all pipelines that have reached a rung, wherever they are now."""
        reached = self._scores[rung]
        return sorted(reached, key=lambda i: self._order(rung, i))[: len(reached) // self.eta]

    def _order(self, rung: int, config_id: int) -> tuple[float, int]:
        """Sorts by falling score at the rung, ties by the order in which pipelines are tried."""
        return -self._scores[rung][config_id], self._rank[config_id]

    def _fill_rungs(self) -> None:
        """Enter the scores of results that came since the last call: the first at or beyond each rung."""
        for result in islice(self.history, self._read_results, None):
            for rung, scores in self._scores.items():
                if result.succeeded and result.fidelity >= rung:
                    scores.setdefault(result.config_id, result.score)
        self._read_results = len(self.history)


def rungs(eta: int, epochs_per_step: int, max_fidelity: int) -> tuple[int, ...]:
    """The epochs 1, η, η², … and `max_fidelity`, each moved to the end of the step that contains it."""
    epochs = [1]
    while epochs[-1] * eta < max_fidelity:
        epochs.append(epochs[-1] * eta)
    ends = (-(-epoch // epochs_per_step) * epochs_per_step for epoch in [*epochs, max_fidelity])
    return tuple(sorted({min(end, max_fidelity) for end in ends}))
