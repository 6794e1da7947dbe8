"""Points: a pipeline at an epoch, with the learning curve that was known when that epoch's step began.

Notation: n points, T = largest fidelity, Δt = epochs of one step. A point at epoch t belongs to the step that
began at epoch s = Δt ⌊(t - 1)/Δt⌋; its curve holds the scores of the epochs 1 … s, and the future is masked.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qtt.history import History
from qtt.predictors.features import Features

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Points:
    """Inputs of a performance predictor.

    config_ids (n,): the pipelines; pipeline (n, dp), model (n, dm), task (n, dt): their features.
    budget (n,): t/T in (0, 1].
    curve (n, T): known scores, 0 where unknown; seen (n, T): 1 where known, else 0.
    """

    config_ids: NDArray[np.int64]
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

    def observed(self, history: History) -> tuple[Points, Array]:
        """Every epoch seen so far, in the order of pipelines' first results, with its score (n,)."""
        ids, epochs, scores, starts = [], [], [], []
        for config_id in history.observed:
            for seen in history.curve(config_id):
                ids.append(config_id)
                epochs.append(seen.fidelity)
                starts.append((seen.fidelity - 1) // self.epochs_per_step * self.epochs_per_step)
                scores.append(seen.score)
        return self._points(history, ids, epochs, starts), np.array(scores, dtype=np.float64)

    def queries(self, history: History, config_ids: Sequence[int], epochs: Sequence[int]) -> Points:
        """Pipelines at epochs yet to come, with all that is known of their curves."""
        starts = [history.fidelity(config_id) for config_id in config_ids]
        return self._points(history, list(config_ids), list(epochs), starts)

    def _points(self, history: History, ids: list[int], epochs: list[int], starts: list[int]) -> Points:
        curve = np.zeros((len(ids), self.max_fidelity))
        seen = np.zeros((len(ids), self.max_fidelity))
        rows = {config_id: self._curve(history, config_id) for config_id in set(ids)}
        for i, (config_id, start) in enumerate(zip(ids, starts, strict=True)):
            scores, known = rows[config_id]
            curve[i, :start] = scores[:start]
            seen[i, :start] = known[:start]
        index = np.array(ids, dtype=np.int64)
        return Points(
            config_ids=index,
            pipeline=self.features.pipeline[index],
            model=self.features.model[index],
            task=np.tile(self.features.task, (len(ids), 1)),
            budget=np.array(epochs, dtype=np.float64) / self.max_fidelity,
            curve=curve,
            seen=seen,
        )

    def _curve(self, history: History, config_id: int) -> tuple[Array, Array]:
        scores, known = np.zeros(self.max_fidelity), np.zeros(self.max_fidelity)
        for observation in history.curve(config_id):
            scores[observation.fidelity - 1] = observation.score
            known[observation.fidelity - 1] = 1.0
        return scores, known
