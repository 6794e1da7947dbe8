"""Points: a pipeline at an epoch, with the learning curve that was known when that epoch's step began.

Notation: n points, T = largest fidelity, Δt = epochs of one step. A point at epoch t belongs to the step that
began at epoch s = Δt ⌊(t - 1)/Δt⌋; its curve holds the scores of the epochs 1 … s, and the future is masked.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qtt.predictors.features import Features
from qtt.runs.history import History

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Points:
    """Inputs of a performance predictor.

    pipeline (n, dp), model (n, dm), task (n, dt): features.
    budget (n,): t/T in (0, 1].
    curve (n, T): known scores, 0 where unknown; seen (n, T): 1 where known, else 0.
    """

    pipeline: Array
    model: Array
    task: Array
    budget: Array
    curve: Array
    seen: Array

    def __len__(self) -> int:
        return len(self.budget)


@dataclass(frozen=True)
class PointBuilder:
    """Builds points from the features of the candidates and a history."""

    features: Features
    max_fidelity: int = 50
    epochs_per_step: int = 1

    def observed(self, history: History, limit: int | None = None) -> tuple[Points, Array]:
        """Epochs seen so far, pipeline by pipeline, with their scores (n,).

        Args:
            history: of the search.
            limit: at most so many; the first and the latest epoch of every curve come first, then later
                epochs before earlier ones.
        """
        seen = [(i, observation) for i in history.observed for observation in history.curve(i)]
        if limit is not None and len(seen) > limit:
            ranks = [rank for i in history.observed for rank in _ranks(len(history.curve(i)))]
            kept = sorted(range(len(seen)), key=lambda k: (ranks[k], k))[:limit]
            seen = [seen[k] for k in sorted(kept)]
        ids = [config_id for config_id, _ in seen]
        epochs = np.array([observation.fidelity for _, observation in seen], dtype=np.int64)
        starts = (epochs - 1) // self.epochs_per_step * self.epochs_per_step
        scores = np.array([observation.score for _, observation in seen], dtype=np.float64)
        return self._points(history, ids, epochs, starts), scores

    def queries(self, history: History, config_ids: Sequence[int], epochs: Sequence[int]) -> Points:
        """Pipelines at epochs yet to come, with all that is known of their curves."""
        starts = np.array([history.fidelity(config_id) for config_id in config_ids], dtype=np.int64)
        return self._points(history, config_ids, np.array(epochs, dtype=np.int64), starts)

    def _points(
        self,
        history: History,
        config_ids: Sequence[int],
        epochs: NDArray[np.int64],
        starts: NDArray[np.int64],
    ) -> Points:
        ids = np.array(config_ids, dtype=np.int64)
        curves, known = self._curves(history)
        before = np.arange(self.max_fidelity) < starts[:, None]
        return Points(
            pipeline=self.features.pipeline[ids],
            model=self.features.model[ids],
            task=np.tile(self.features.task, (len(ids), 1)),
            budget=epochs / self.max_fidelity,
            curve=curves[ids] * before,
            seen=known[ids] * before,
        )

    def _curves(self, history: History) -> tuple[Array, Array]:
        """Scores of all candidates, 0 where unknown, and whether they are known; both (candidates, T)."""
        curves = np.zeros((len(self.features.pipeline), self.max_fidelity))
        known = np.zeros_like(curves)
        for config_id in history.observed:
            for observation in history.curve(config_id):
                curves[config_id, observation.fidelity - 1] = observation.score
                known[config_id, observation.fidelity - 1] = 1.0
        return curves, known


def _ranks(length: int) -> list[int]:
    """How dispensable each epoch of a curve is: not at all for the first, more the older for the others."""
    return [0, *range(length - 2, -1, -1)][:length]
