"""Points: a pipeline at an epoch, with the learning curve that was known when that epoch's step began.

Notation: n points, T = largest fidelity, Δt = epochs of one step. A point at epoch t belongs to the step that
began at epoch s = Δt ⌊(t - 1)/Δt⌋; its curve holds the scores of the epochs 1 … s, and the future is masked.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qtt.predictors.fantasies import Curves
from qtt.predictors.features import Features

Array = NDArray[np.float64]
Ints = Sequence[int] | NDArray[np.int64]


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

    def observed(self, history: Curves, limit: int | None = None) -> tuple[Points, Array]:
        """Epochs seen so far, pipeline by pipeline, with their scores (n,).

        Args:
            history: of the search, perhaps with fantasies.
            limit: at most so many; the first and the latest epoch of every curve come first, then later
                epochs before earlier ones.
        """
        curves = [history.curve(i) for i in history.observed]
        lengths = [len(curve) for curve in curves]
        ids = np.repeat(np.array(history.observed, dtype=np.int64), lengths)
        epochs = np.array([seen.fidelity for curve in curves for seen in curve], dtype=np.int64)
        scores = np.array([seen.score for curve in curves for seen in curve], dtype=np.float64)
        if limit is not None and len(ids) > limit:
            ranks = np.concatenate([_ranks(length) for length in lengths])
            kept = np.sort(np.argsort(ranks, kind="stable")[:limit])
            ids, epochs, scores = ids[kept], epochs[kept], scores[kept]
        starts = (epochs - 1) // self.epochs_per_step * self.epochs_per_step
        return self._points(history, ids, epochs, starts), scores

    def queries(self, history: Curves, config_ids: Ints, epochs: Ints) -> Points:
        """Pipelines at epochs yet to come, with all that is known of their curves."""
        ids = np.asarray(config_ids, dtype=np.int64)
        starts = np.array([history.fidelity(config_id) for config_id in ids.tolist()], dtype=np.int64)
        return self._points(history, ids, np.asarray(epochs, dtype=np.int64), starts)

    def _points(
        self,
        history: Curves,
        ids: NDArray[np.int64],
        epochs: NDArray[np.int64],
        starts: NDArray[np.int64],
    ) -> Points:
        curves, known = self._curves(history, ids)
        before = np.arange(self.max_fidelity) < starts[:, None]
        return Points(
            pipeline=self.features.pipeline[ids],
            model=self.features.model[ids],
            task=np.tile(self.features.task, (len(ids), 1)),
            budget=epochs / self.max_fidelity,
            curve=curves * before,
            seen=known * before,
        )

    def _curves(self, history: Curves, ids: NDArray[np.int64]) -> tuple[Array, Array]:
        """Scores of pipelines, 0 where unknown, and whether they are known; both (n, T)."""
        distinct, position = np.unique(ids, return_inverse=True)
        curves, known = np.zeros((2, len(distinct), self.max_fidelity))
        for row, config_id in enumerate(distinct.tolist()):
            if history.fidelity(config_id):
                for seen in history.curve(config_id):
                    curves[row, seen.fidelity - 1] = seen.score
                    known[row, seen.fidelity - 1] = 1.0
        return curves[position], known[position]


def _ranks(length: int) -> NDArray[np.int64]:
    """How dispensable each epoch of a curve is: not at all for the first, more the older for the others."""
    return np.append(0, np.arange(length - 2, -1, -1))[:length]
