"""How likely a pipeline is to fail, out of memory or with an error, before it has shown that it runs.

Meta-learned where runs were recorded (some models never finish an epoch in mixed precision), and corrected by
what fails on this machine: failures and survivals of the same model count, those with a smaller batch half.
"""

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from qtt.errors import PredictionError
from qtt.predictors.base import SearchTask
from qtt.predictors.dynamics import Encoded, number_or
from qtt.predictors.features import FeatureSpec
from qtt.predictors.meta_cost import cost_rows
from qtt.predictors.trees import Trees
from qtt.runs.history import History

Array = NDArray[np.float64]

PRIOR_RATE = 0.05
"""Share of pipelines that fail, where nothing was recorded; it is one in twenty of the published runs."""

PRIOR_WEIGHT = 2.0
"""How many pipelines of the same model outweigh what was expected before."""

SURVIVED = 2
"""Epochs after which a pipeline is not expected to fail any more."""


class FailureRate:
    """Probability of failure: prior and observed pipelines of the same model, as a weighted average."""

    def __init__(self, spec: FeatureSpec | None = None, trees: Trees | None = None) -> None:
        """Without trees (log odds, of the columns of `cost_rows`) all pipelines have the same prior."""
        self.spec = spec
        self.trees = trees
        self._prior: Array | None = None

    @classmethod
    def from_tensors(cls, spec: FeatureSpec, tensors: Mapping[str, NDArray[np.generic]]) -> Self:
        """Read what `tensors` gave; without arrays of failures the prior is the same for all.

        Raises:
            ArtifactError: an array is missing or damaged.
        """
        known = any(name.startswith("failure.") for name in tensors)
        return cls(spec, Trees.from_tensors("failure", tensors) if known else None)

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """All arrays by name."""
        return {} if self.trees is None else self.trees.tensors("failure")

    def setup(self, task: SearchTask) -> None:
        """Start a new search."""
        configs = task.candidates.configs
        self._prior = np.full(len(configs), PRIOR_RATE)
        if self.spec is not None and self.trees is not None:
            self._prior = expit(self.trees.predict(cost_rows(Encoded.of(self.spec, task))))
        names = [str(config.get("model")) for config in configs]
        batches = np.array([number_or(config.get("batch_size"), 0.0) for config in configs])
        model = np.unique(names, return_inverse=True)[1]
        pairs, kind = np.unique(np.stack([model, batches], axis=1), axis=0, return_inverse=True)
        self._kind = kind.reshape(-1)
        self._first = np.searchsorted(pairs[:, 0], pairs[:, 0], side="left")
        self._after = np.searchsorted(pairs[:, 0], pairs[:, 0], side="right")
        self._rate = self._prior

    def condition(self, history: History) -> None:
        """Learn from what failed and what did not."""
        assert self._prior is not None
        failed = history.failed
        survived = [i for i in history.observed if history.fidelity(i) >= SURVIVED and i not in failed]
        failures, survivals = (
            self._evidence(list(failed), larger=True),
            self._evidence(survived, larger=False),
        )
        total = PRIOR_WEIGHT + failures + survivals
        rate = (PRIOR_WEIGHT * self._prior + failures) / total
        rate[survived] = 0.0
        self._rate = rate

    def predict(self, config_ids: Sequence[int]) -> Array:
        """Probability that each pipeline fails, in [0, 1]; (n,)."""
        if self._prior is None:
            raise PredictionError("The predictor has no task yet; call setup(task) first.")
        return np.asarray(self._rate[np.asarray(config_ids, dtype=np.int64)])

    def _evidence(self, seen: Sequence[int], larger: bool) -> Array:
        """How much the fate of the pipelines `seen` says of each candidate; (n,).

        Counted are those of the same model up to and from each batch size on: kinds are sorted by both.
        """
        counts = np.bincount(self._kind[list(seen)], minlength=len(self._first)).astype(np.float64)
        until = np.concatenate([[0.0], np.cumsum(counts)])
        of_model = until[self._after] - until[self._first]
        strong = until[1:] - until[self._first] if larger else until[self._after] - until[:-1]
        return np.asarray((0.5 * (of_model + strong))[self._kind])
