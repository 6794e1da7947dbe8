"""The acquisition over several horizons: the best expected improvement per second of every pipeline.

Notation: n pipelines, H horizons.
"""

from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from qtt.optimizers.acquisition import expected_epochs, improvement, log_improvement_per_second
from qtt.predictors.base import PerformancePredictor
from qtt.types import Prediction

Array = NDArray[np.float64]
Ids = NDArray[np.int64]

SCREENED = 1024
"""Pipelines beyond which those that cannot win are told apart first, where that takes less time."""

SURELY_CONTENDERS = 256
"""Of so many, the most promising ones by what could be gained, the values are computed first."""

SLACK = 1e-6
"""Added to bounds of values, which are logarithms: more than rounding can take from them."""


@runtime_checkable
class BoundingPredictor(PerformancePredictor, Protocol):
    """A predictor of scores, not of their logits, whose means take less time than their deviations."""

    def bound(self, config_ids: list[int], fidelities: list[int]) -> Prediction:
        """The means of `predict`, with standard deviations that are not below those of `predict`."""
        ...


@dataclass(frozen=True, eq=False)
class Lookahead:
    """What there is to choose from.

    pipelines, done (n,): ids, and epochs trained. ends (n, H): epochs to look ahead to. seconds (n,): of an
    epoch. survival (n,): probability that a pipeline does not fail. least: the score to improve on.
    patience: epochs after which a pipeline that does not promise to win is given up; None: never.
    exponent: α of EI / cost^α.
    """

    pipelines: Ids
    done: Ids
    ends: Ids
    seconds: Array
    survival: Array
    least: float
    patience: float | None
    exponent: float

    @property
    def ids(self) -> Ids:
        """The pipeline of each query; (n H,)."""
        return np.repeat(self.pipelines, self.ends.shape[1])

    def best(self, performance: PerformancePredictor) -> tuple[Array, Prediction]:
        """Log of the best gain per second of each pipeline (n,), and the predictions at all `ends`.

        Where a predictor knows bounds, there are many pipelines and some surely do not have the largest
        value, theirs is -∞, and of the predictions only the means are meant.
        """
        if len(self.pipelines) <= SCREENED or not isinstance(performance, BoundingPredictor):
            predicted = performance.predict(*self._queries())
            return self._values(predicted), predicted
        bound = performance.bound(*self._queries())
        highest = self._values(bound, at_once=True) + SLACK
        value = np.full(len(highest), -np.inf)
        first = np.argsort(-highest, kind="stable")[:SURELY_CONTENDERS]
        value[first] = self._only(first).best_of_all(performance)
        rest = np.flatnonzero((highest >= value.max()) & np.isneginf(value))
        if len(rest):
            value[rest] = self._only(rest).best_of_all(performance)
        return value, bound

    def best_of_all(self, performance: PerformancePredictor) -> Array:
        """Log of the best gain per second of each pipeline; (n,)."""
        return self._values(performance.predict(*self._queries()))

    def _values(self, predicted: Prediction, at_once: bool = False) -> Array:
        """The same from predictions at all `ends`; at_once: as if who does not win were given up at once."""
        gain, probability = improvement(predicted, self.least)
        horizons = self.ends.shape[1]
        gain = gain + np.log(np.maximum(np.repeat(self.survival, horizons), 1e-12))
        epochs = (self.ends - self.done[:, None]).ravel().astype(float)
        if self.patience is not None:
            epochs = expected_epochs(epochs, 0.0 * probability if at_once else probability, self.patience)
        cost = np.repeat(self.seconds, horizons) * epochs
        value = log_improvement_per_second(gain, cost, self.exponent)
        return np.asarray(value.reshape(self.ends.shape).max(axis=1))

    def _queries(self) -> tuple[list[int], list[int]]:
        return self.ids.tolist(), self.ends.ravel().tolist()

    def _only(self, chosen: Ids) -> Self:
        """Some of the pipelines."""
        arrays: dict[str, Any] = {
            name: getattr(self, name)[chosen] for name in ("pipelines", "done", "ends", "seconds", "survival")
        }
        return replace(self, **arrays)
