"""What meta-training expects of a pipeline: the best score until an epoch, fresh or with a known curve.

Notation: n candidates, m queries, H horizons, T = largest fidelity. A query is (pipeline, start s, end e):
the best score of the epochs s + 1 … e, given the curve until s. It is predicted on the logit scale.

There are two levels. The first, `Standing`, ranks pipelines within a dataset at every horizon: trained on
normal scores of ranks, it does not spend itself on how hard each dataset is. The second, boosted trees, maps
the standing, the curve and the dataset to mean and variance; it is fitted to standings by models that have
not seen the dataset, so that its variance is honest about datasets to come.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from qtt.errors import ArtifactError
from qtt.predictors.dynamics import Encoded
from qtt.predictors.networks import Networks
from qtt.predictors.trees import Trees

Array = NDArray[np.float64]
Ids = NDArray[np.int64]

HORIZONS = np.array([1, 2, 3, 5, 8, 12, 20, 32, 50])
"""Epochs at which standings are predicted; between them they are interpolated in log epochs."""

CURVE_COLUMNS = 7

BLOCK = 1024
"""Candidates whose standings are computed together: what they need stays small, and a block that is whole has
the same standings to the last bit, however many candidates follow it."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and log variance, the latter times a factor (1,) that calibrates it."""

    mean: Trees
    log_variance: Trees
    factor: Array

    def predict(self, rows: Array) -> tuple[Array, Array]:
        """Mean and standard deviation; both (m,)."""
        std = np.sqrt(self.factor[0] * np.exp(self.log_variance.predict(rows)))
        return self.mean.predict(rows), std

    def tensors(self, name: str) -> dict[str, NDArray[np.generic]]:
        """All arrays by name."""
        parts = self.mean.tensors(f"{name}.mean") | self.log_variance.tensors(f"{name}.log_variance")
        return parts | {f"{name}.factor": self.factor}

    @classmethod
    def from_tensors(cls, name: str, tensors: Mapping[str, NDArray[np.generic]]) -> Self:
        """Inverse of `tensors`.

        Raises:
            ArtifactError: an array is missing or damaged.
        """
        factor = tensors.get(f"{name}.factor")
        if factor is None:
            raise ArtifactError(f"The predictor lacks the array '{name}.factor'; fit or install it anew.")
        mean = Trees.from_tensors(f"{name}.mean", tensors)
        log_variance = Trees.from_tensors(f"{name}.log_variance", tensors)
        return cls(mean, log_variance, np.asarray(factor, dtype=np.float64))


@dataclass(frozen=True, eq=False)
class Standing:
    """Ranks pipelines within a dataset: trees and networks, averaged, which err differently."""

    trees: Trees
    networks: Networks

    def predict(self, encoded: Encoded, known: Array | None = None) -> Array:
        """Normal scores of the candidates' ranks at every horizon; (n, H).

        Args:
            encoded: all candidates.
            known: (k, H) what this gave for the first k of them; what is whole in it is not computed again.
        """
        found = np.empty((len(encoded), len(HORIZONS)))
        whole = 0 if known is None else len(known) // BLOCK * BLOCK
        if known is not None:
            found[:whole] = known[:whole]
        for begin in range(whole, len(encoded), BLOCK):
            rows = standing_rows(encoded, np.arange(begin, min(begin + BLOCK, len(encoded))))
            average = 0.5 * (self.trees.predict(rows) + self.networks.predict(rows))
            found[begin : begin + BLOCK] = average.reshape(len(HORIZONS), -1).T
        return found

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """All arrays by name."""
        return self.trees.tensors("standing.trees") | self.networks.tensors("standing.networks")

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[np.generic]]) -> Self:
        """Inverse of `tensors`.

        Raises:
            ArtifactError: an array is missing or damaged.
        """
        trees = Trees.from_tensors("standing.trees", tensors)
        return cls(trees, Networks.from_tensors("standing.networks", tensors))


@dataclass(frozen=True, eq=False)
class CurvePrior:
    """Mean and standard deviation of logit scores, as meta-training left them; see the module."""

    standing: Standing
    fresh: Moments
    started: Moments

    def predict(
        self, encoded: Encoded, standings: Array, ids: Ids, start: Array, end: Array, curves: Array
    ) -> tuple[Array, Array]:
        """Mean and standard deviation of the logit of the best score of the epochs start + 1 … end.

        Args:
            encoded: all candidates.
            standings: (n, H) of all candidates.
            ids: (m,) pipelines.
            start: (m,) epochs that are known.
            end: (m,) epochs to look ahead to, beyond `start`.
            curves: (m, T) scores; those until `start` are read.
        """
        mean, std = np.zeros((2, len(ids)))
        for moments, chosen in ((self.fresh, start == 0), (self.started, start > 0)):
            if chosen.any():
                part = (ids[chosen], start[chosen], end[chosen], curves[chosen])
                rows, best = moment_rows(encoded, standings, *part)
                mean[chosen], std[chosen] = moments.predict(rows)
                mean[chosen] += best
        return mean, std

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """All arrays by name."""
        return self.standing.tensors() | self.fresh.tensors("fresh") | self.started.tensors("started")

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[np.generic]]) -> Self:
        """Inverse of `tensors`.

        Raises:
            ArtifactError: an array is missing or damaged.
        """
        return cls(
            Standing.from_tensors(tensors),
            Moments.from_tensors("fresh", tensors),
            Moments.from_tensors("started", tensors),
        )


def standing_rows(encoded: Encoded, ids: Ids | None = None) -> Array:
    """Inputs of `Standing`: candidates `ids` (m,) at the first horizon, then at the second; (H m, d).

    ids: None: all candidates.
    """
    ids = np.arange(len(encoded)) if ids is None else ids
    blocks = []
    for horizon in HORIZONS:
        end = np.full(len(ids), float(horizon))
        blocks.append(np.column_stack([encoded.static[ids], encoded.schedule(ids, np.zeros(len(ids)), end)]))
    return np.concatenate(blocks)


def moment_rows(
    encoded: Encoded, standings: Array, ids: Ids, start: Array, end: Array, curves: Array
) -> tuple[Array, Array]:
    """Inputs of `CurvePrior.fresh` or `started`, and the logit that their means are relative to.

    All starts are 0, or none is. Returns rows (m, d) and (m,): 0 for the fresh, the best known score's logit
    for the started.
    """
    at_end = interpolate(standings[ids], end)
    at_start = interpolate(standings[ids], np.maximum(start, 1.0))
    wide = encoded.features.pipeline.shape[1] + encoded.features.model.shape[1]
    columns = [
        at_end,
        at_start,
        at_end - at_start,
        standings[ids, -1],
        encoded.static[ids, wide : wide + 3],
        encoded.schedule(ids, start, end),
    ]
    if not start.any():
        return np.column_stack([*columns, end]), np.zeros(len(ids))
    shape = curve_columns(curves, start)
    return np.column_stack([*columns, shape, start, end - start]), logit(shape[:, 1])


def interpolate(standings: Array, epochs: Array) -> Array:
    """Standings (m, H) at any epochs (m,) from 1 on, linear in log epochs; (m,)."""
    right = np.clip(np.searchsorted(HORIZONS, epochs), 1, len(HORIZONS) - 1)
    log = np.log(HORIZONS)
    share = np.clip((np.log(epochs) - log[right - 1]) / (log[right] - log[right - 1]), 0.0, 1.0)
    rows = np.arange(len(epochs))
    return np.asarray(standings[rows, right - 1] * (1 - share) + standings[rows, right] * share)


def curve_columns(curves: Array, start: Array) -> Array:
    """The shape of curves (m, T) until `start` (m,), at least 1; (m, 7).

    Last and best score; gain over the epoch before, over three epochs, and over the second half; first score;
    spread of the last five. NaN where a curve is too short.
    """
    shape = np.full((len(start), CURVE_COLUMNS), np.nan)
    for known in np.unique(start.astype(np.int64)):
        rows = start == known
        shape[rows] = _columns_at(curves[rows, :known], int(known))
    return shape


def _columns_at(curves: Array, known: int) -> Array:
    last, first = curves[:, -1], curves[:, 0]
    missing = np.full(len(curves), np.nan)
    if known == 1:
        return np.column_stack([last, last, missing, missing, missing, first, missing])
    before = curves[:, -4] if known > 3 else first
    return np.column_stack(
        [
            last,
            curves.max(axis=1),
            last - curves[:, -2],
            last - before,
            last - curves[:, known // 2 - 1],
            first,
            curves[:, -5:].std(axis=1),
        ]
    )


def logit(score: Array) -> Array:
    """log(p / (1 - p)), with scores kept within [.004, .996]."""
    inside = np.clip(score, 0.004, 0.996)
    return np.asarray(np.log(inside / (1.0 - inside)))
