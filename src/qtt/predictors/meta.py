"""Scores of pipelines at epochs yet to come, meta-learned: a prior of trees, corrected by a deep-kernel GP.

Notation: n candidates, m queries, T = largest fidelity. Predictions are of the best score that a pipeline
will reach until an epoch, on the logit scale.
"""

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from qtt.errors import PredictionError
from qtt.predictors.base import SearchTask
from qtt.predictors.changes import ChangedCurves
from qtt.predictors.dynamics import Encoded
from qtt.predictors.fantasies import NOTHING, Fantasy
from qtt.predictors.features import FeatureSpec
from qtt.predictors.prior import CurvePrior, logit
from qtt.predictors.residual import PREFIX, ResidualKernel, ResidualPoints, ResidualPosterior, refitted
from qtt.predictors.unknown import unknown_effects, unknown_hyperparameters
from qtt.runs.history import Curve, History
from qtt.types import ACCURACY, Prediction

Array = NDArray[np.float64]

CHUNK = 8192
"""Points that the prior predicts at once: their columns and trees fit into some megabytes."""

FRESH_ENDS = np.array([1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0])
STARTED = np.array([[1.0, 2.0], [2.0, 3.0], [3.0, 5.0], [5.0, 8.0], [8.0, 13.0], [13.0, 21.0]])
"""Where observations are compared with what was expected: until these epochs, from one to the other."""


def residual_points(length: int) -> tuple[Array, Array]:
    """Start and end of the points that a curve of this length is compared at, fresh ones first; both (m,)."""
    ends = FRESH_ENDS[length >= FRESH_ENDS]
    started = STARTED[length >= STARTED[:, 1]]
    return np.concatenate([np.zeros(len(ends)), started[:, 0]]), np.concatenate([ends, started[:, 1]])


class MetaPerformance:
    """Conditions a meta-learned prior on the observations of one search.

    The Gaussian process corrects what is expected of pipelines that have not begun. One that has is judged by
    its own curve alone: corrected as well, its predictions were worse on held-out datasets. What the curves
    of others gave on the way is learned from all the same: a kernel of first expectations alone was worse.

    Nothing is computed again that did not change: one more epoch costs one pipeline's points.

    learned_metric: of the curves that it was fitted to; curve tables hold no other.
    """

    learned_metric = ACCURACY

    def __init__(
        self, spec: FeatureSpec, prior: CurvePrior, kernel: ResidualKernel | None, refit: int = 0
    ) -> None:
        """Create a predictor.

        Args:
            spec: of the features that it was fitted with.
            prior: what is expected before anything was observed.
            kernel: of what the prior gets wrong; None: only a pipeline's own curve changes expectations.
            refit: steps of Adam on this search's observations, from the meta-learned kernel, before each
                decision; 0: the kernel stays as it is, and conditioning on the observations is all.
        """
        self.spec = spec
        self.prior = prior
        self.kernel = kernel
        self.refit = refit
        self._encoded: Encoded | None = None
        self._standings: Array | None = None

    @classmethod
    def from_tensors(
        cls, spec: FeatureSpec, tensors: Mapping[str, NDArray[np.generic]], refit: int = 0
    ) -> Self:
        """Read what `tensors` gave.

        Raises:
            ArtifactError: a tensor is missing or damaged.
        """
        has_kernel = any(name.startswith(PREFIX) for name in tensors)
        kernel = ResidualKernel.from_tensors(tensors) if has_kernel else None
        return cls(spec, CurvePrior.from_tensors(tensors), kernel, refit)

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """All weights by name."""
        return self.prior.tensors() | ({} if self.kernel is None else self.kernel.tensors())

    def setup(self, task: SearchTask) -> None:
        """Start a new search."""
        count = len(task.candidates)
        before = self._encoded
        self._encoded = Encoded.of(self.spec, task)
        grown = before is not None and self._encoded.begins_with(before)
        self._standings = self.prior.standing.predict(self._encoded, self._standings if grown else None)
        self._unseen = _unseen_models(self.spec, task)
        self._unknown = unknown_effects(unknown_hyperparameters(self.spec, task), task)
        self._posterior = None if self.kernel is None else self._blank(self.kernel)
        self._curves = np.zeros((count, task.max_fidelity))
        self._lengths = np.zeros(count, dtype=np.int64)
        self._changed = ChangedCurves()
        self._mean, self._std = np.zeros((2, count, task.max_fidelity + 1))
        self._known = np.zeros((count, task.max_fidelity + 1), dtype=np.bool_)

    def condition(self, history: History) -> None:
        """Compare what was observed since the last call with what was expected."""
        self._read(history)
        if self.refit and self.kernel is not None and self._posterior is not None:
            assert self._encoded is not None
            points = self._posterior.points
            self._posterior = self._blank(refitted(self.kernel, self._encoded.features, points, self.refit))
            self._posterior.replace(points)

    def suppose(self, history: History, fantasies: Mapping[int, Fantasy]) -> None:
        """See `SupposingPredictor`."""
        if self.refit:
            self.condition(history)
        self._read(history, fantasies)

    def _read(self, history: History, fantasies: Mapping[int, Fantasy] = NOTHING) -> None:
        """Compare what changed with what was expected."""
        changed = self._changed.read(history, fantasies)
        for config_id, curve in changed.items():
            self._enter(config_id, curve)
        if changed and self._posterior is not None:
            self._posterior.replace(self._compare(list(changed)))

    def predict(self, config_ids: Sequence[int], fidelities: Sequence[int]) -> Prediction:
        """Logit of the best score from now until each fidelity, which lies ahead; mean and std, both (m,)."""
        if self._encoded is None:
            raise PredictionError("The predictor has no task yet; call setup(task) first.")
        ids, ends = np.asarray(config_ids, dtype=np.int64), np.asarray(fidelities, dtype=np.int64)
        missing = np.flatnonzero(~self._known[ids, ends])
        if len(missing):
            i, e = ids[missing], ends[missing]
            start = self._lengths[i].astype(np.float64)
            self._mean[i, e], self._std[i, e] = self._expected(i, start, e.astype(np.float64))
            self._known[i, e] = True
        mean, std = self._mean[ids, ends], self._std[ids, ends]
        fresh = np.flatnonzero(self._lengths[ids] == 0)
        if self._posterior is not None and len(fresh):
            shift, scale = self._posterior.shift(ids[fresh], np.zeros(len(fresh)), ends[fresh].astype(float))
            mean[fresh] += std[fresh] * shift
            std[fresh] *= scale
        return Prediction(mean, std, link="logit")

    def _expected(self, ids: NDArray[np.int64], start: Array, end: Array) -> tuple[Array, Array]:
        """What the prior says of pipelines with the curves that are known, `CHUNK` at a time; both (m,)."""
        assert self._encoded is not None and self._standings is not None
        mean, std = np.empty((2, len(ids)))
        for begin in range(0, len(ids), CHUNK):
            part = slice(begin, begin + CHUNK)
            some = ids[part]
            mean[part], std[part] = self.prior.predict(
                self._encoded, self._standings, some, start[part], end[part], self._curves[some]
            )
        return mean, std

    def _blank(self, kernel: ResidualKernel) -> ResidualPosterior:
        """The residuals before anything was observed."""
        assert self._encoded is not None
        return ResidualPosterior(kernel, self._encoded.features, self._unseen, self._unknown)

    def _enter(self, config_id: int, curve: Curve) -> None:
        """Take a curve, which may be empty, for what is known of a pipeline."""
        epochs = [observation.fidelity for observation in curve]
        scores = [observation.score for observation in curve]
        length = epochs[-1] if epochs else 0
        if length:
            self._curves[config_id, :length] = np.interp(np.arange(1, length + 1), epochs, scores)
        self._lengths[config_id] = length
        self._known[config_id] = False

    def _compare(self, config_ids: Sequence[int]) -> dict[int, ResidualPoints]:
        """What the curves of pipelines gave beyond what was expected of them."""
        places = [residual_points(int(self._lengths[i])) for i in config_ids]
        ids = np.repeat(config_ids, [len(start) for start, _ in places])
        start, end = (np.concatenate(parts) for parts in zip(*places, strict=True))
        mean, std = self._expected(ids, start, end)
        best = np.array(
            [self._curves[i, int(s) : int(e)].max() for i, s, e in zip(ids, start, end, strict=True)]
        )
        points = ResidualPoints(ids, start, end, (logit(best) - mean) / std)
        after = np.cumsum([len(start) for start, _ in places])
        return {
            i: points.part(slice(stop - len(begun), stop))
            for i, (begun, _), stop in zip(config_ids, places, after, strict=True)
        }


def _unseen_models(spec: FeatureSpec, task: SearchTask) -> NDArray[np.int64]:
    """Which of the models that `spec` has no name of each candidate has, -1: one that is known; (n,)."""
    known = spec.categories("model", "name")
    names = [config.get("model") for config in task.candidates.configs]
    unseen = sorted({str(name) for name in names if name is not None} - known) if known else []
    position = {name: k for k, name in enumerate(unseen)}
    return np.array([position.get(str(name), -1) for name in names], dtype=np.int64)
