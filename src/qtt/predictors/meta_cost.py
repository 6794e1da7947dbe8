"""Seconds of a pipeline's next epoch, meta-learned and then rescaled to the machine at hand.

Notation: n candidates, m observed pipelines, N training images, B columns of the machine basis.

Boosted trees predict log(seconds / N) on the machine of the meta-training runs. What this machine makes of it
is a Gaussian residual in log seconds,

  residual = basis · w + u_model + v_pipeline,

linear in log multiply-adds, log batch size and mixed precision (another device is faster in some of them than
in others), with an effect of each model, of each pipeline and of hyperparameters that meta-training did not
know (`qtt.predictors.unknown`). The posterior is exact, positive and finite by
construction; the first observation already moves all predictions to this machine's scale.

The machines of meta-training are GPUs, which spend much of a small model's epoch on other things than
arithmetic. On a CPU the seconds follow it more closely: there w is expected to be CPU_SLOPE, and counts all
that training multiplies, of which frozen layers save a share.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from qtt.errors import PredictionError
from qtt.predictors.base import SearchTask
from qtt.predictors.changes import ChangedCurves
from qtt.predictors.dynamics import UNKNOWN_TASK, Encoded
from qtt.predictors.effects import SharedEffects
from qtt.predictors.features import FeatureSpec
from qtt.predictors.trees import Trees
from qtt.predictors.unknown import unknown_effects, unknown_hyperparameters
from qtt.runs.history import History
from qtt.space.hyperparameters import ADDED

Array = NDArray[np.float64]

MACHINE_STD = np.array([1.5, 0.35, 0.25, 0.2])
"""How far machines differ in log seconds: in all, per unit of log macs, of log batch size, and with amp."""

CPU_SLOPE = 0.5
"""Log seconds on a CPU per unit of log arithmetic, beyond what the trees expect of a GPU; measured in
real searches (experiments/search_quality/ideas.md)."""

MODEL_STD = 0.1
PIPELINE_STD = 0.25
EPOCH_STD = 0.05
"""Spread of u, of v, and of a pipeline's epochs around their own mean, in log seconds."""

FREE = tuple(item.name for item in ADDED)
"""Hyperparameters that change nothing of an epoch's seconds."""

UNKNOWN_STD = 0.5
"""Of the effect of hyperparameters that meta-training did not know, in log seconds."""


def cost_rows(encoded: Encoded) -> Array:
    """Inputs of the cost's trees; (n, d)."""
    return np.column_stack([encoded.static, encoded.compute])


class MetaCost:
    """Predicts with trees, and learns the machine from every epoch's seconds."""

    def __init__(self, spec: FeatureSpec, trees: Trees) -> None:
        self.spec = spec
        self.trees = trees
        self._expected: Array | None = None

    @classmethod
    def from_tensors(cls, spec: FeatureSpec, tensors: Mapping[str, NDArray[np.generic]]) -> Self:
        """Read what `tensors` gave.

        Raises:
            ArtifactError: an array is missing or damaged.
        """
        return cls(spec, Trees.from_tensors("cost", tensors))

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """All arrays by name."""
        return self.trees.tensors("cost")

    def setup(self, task: SearchTask) -> None:
        """Start a new search."""
        encoded = Encoded.of(self.spec, task)
        images = (task.metafeatures or UNKNOWN_TASK).train_images
        self._expected = self.trees.predict(cost_rows(encoded)) + math.log(images)
        self._basis = _basis(encoded, task.on_cpu)
        if task.on_cpu:
            self._expected = self._expected + CPU_SLOPE * self._basis[:, 1]
        self._log_seconds = self._expected
        names = [str(config.get("model")) for config in task.candidates.configs]
        unknown = [name for name in unknown_hyperparameters(self.spec, task) if name not in FREE]
        self._effects = SharedEffects(
            np.column_stack([self._basis * MACHINE_STD, UNKNOWN_STD * unknown_effects(unknown, task)]),
            np.unique(names, return_inverse=True)[1],
            MODEL_STD,
            PIPELINE_STD,
        )
        self._counts, self._medians = np.zeros((2, len(names)))
        self._changed = ChangedCurves()

    def condition(self, history: History) -> None:
        """Learn from the seconds of every epoch seen so far."""
        assert self._expected is not None
        for i, curve in self._changed.read(history).items():
            self._counts[i] = len(curve)
            self._medians[i] = math.log(np.median([seen.seconds for seen in curve]))
        ids = np.array(sorted(history.observed), dtype=np.int64)
        if not len(ids):
            self._log_seconds = self._expected
            return
        observed = self._effects.given(ids, EPOCH_STD**2 / self._counts[ids])
        residual = self._medians[ids] - self._expected[ids]
        self._log_seconds = self._expected + observed.spread(observed.solve(residual))

    def predict(self, config_ids: Sequence[int]) -> Array:
        """Seconds of each pipeline's next epoch, > 0; (n,)."""
        if self._expected is None:
            raise PredictionError("The predictor has no task yet; call setup(task) first.")
        return np.exp(np.clip(self._log_seconds[np.asarray(config_ids, dtype=np.int64)], -20.0, 20.0))


def _basis(encoded: Encoded, on_cpu: bool) -> Array:
    """One, centred log multiply-adds, centred log batch size, mixed precision; (n, B).

    Multiply-adds are those of the forward pass; on a CPU all that training does of them.
    """
    wide = encoded.features.pipeline.shape[1] + encoded.features.model.shape[1]
    macs = encoded.compute[:, 0] if on_cpu else encoded.static[:, wide + 4]
    known = np.isfinite(macs)
    macs = np.where(known, macs - macs[known].sum() / max(known.sum(), 1), 0.0)
    batch, amp = encoded.compute[:, 4], encoded.compute[:, 6]
    return np.column_stack([np.ones(len(macs)), macs, batch - batch.mean(), amp])
