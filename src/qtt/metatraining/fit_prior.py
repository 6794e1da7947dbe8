"""Fits the prior of curves: ranks, then mean and variance on datasets that the ranks were not fitted to.

Notation: r runs of one dataset, m points (run, start, end), H horizons.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from qtt.metatraining.fit_networks import fit_networks
from qtt.metatraining.runs import Runs
from qtt.predictors.base import SearchTask
from qtt.predictors.dynamics import Encoded
from qtt.predictors.features import FeatureSpec
from qtt.predictors.prior import HORIZONS, Moments, Standing, logit, moment_rows, standing_rows
from qtt.predictors.trees import Trees

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingRegressor

Array = NDArray[np.float64]

STARTS = (0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 30, 36, 42)
"""Lengths of the known part of a curve that points are made for."""

STANDING = {
    "max_iter": 250,
    "learning_rate": 0.05,
    "max_leaf_nodes": 16,
    "min_samples_leaf": 30,
    "l2_regularization": 5,
    "max_features": 0.3,
}
STANDING_MEMBERS = 2
FRESH_MEAN = {
    "max_iter": 100,
    "learning_rate": 0.06,
    "max_leaf_nodes": 16,
    "min_samples_leaf": 100,
    "l2_regularization": 5,
    "max_features": 0.5,
}
STARTED_MEAN = FRESH_MEAN | {"max_iter": 200, "min_samples_leaf": 60}
LOG_VARIANCE = {"max_iter": 80, "learning_rate": 0.06, "max_leaf_nodes": 12, "min_samples_leaf": 100}
"""Settings of the boosted trees, chosen on held-out datasets (experiments/search_quality)."""


@dataclass(frozen=True, eq=False)
class Task:
    """One dataset's runs, encoded.

    best: (r, T) best score until each epoch, NaN beyond the end of a curve; a failed run has 0 there.
    """

    runs: Runs
    encoded: Encoded
    best: Array

    @classmethod
    def of(cls, runs: Runs, spec: FeatureSpec) -> "Task":
        """Encode the runs."""
        encoded = Encoded.of(spec, SearchTask(runs.candidates, runs.metafeatures))
        best = np.maximum.accumulate(np.where(np.isfinite(runs.scores), runs.scores, -np.inf), axis=1)
        recorded = np.isfinite(best) & (np.arange(best.shape[1]) < runs.lengths[:, None])
        best = np.where(recorded, best, np.nan)
        best[runs.failed] = np.where(np.isnan(best[runs.failed]), 0.0, best[runs.failed])
        return cls(runs, encoded, best)

    @property
    def has_curves(self) -> bool:
        """Whether whole curves were recorded, and not last epochs alone."""
        return bool(np.isfinite(self.runs.scores).sum() > len(self.runs))


@dataclass(frozen=True, eq=False)
class MomentPoints:
    """Training data of `Moments`: rows (m, d), target (m,) relative to the best known score's logit.

    run, start, end (m,): which point it is. task (m,): position of its dataset.
    """

    rows: Array
    target: Array
    run: NDArray[np.int64]
    start: Array
    end: Array
    task: NDArray[np.int64]


def folds(names: Sequence[str], count: int) -> NDArray[np.int64]:
    """Fold of each dataset: those of one name share it; (len(names),)."""
    distinct = {name: k % count for k, name in enumerate(dict.fromkeys(names))}
    return np.array([distinct[name] for name in names])


def standing_data(tasks: Sequence[Task]) -> tuple[Array, Array]:
    """Rows and normal scores of the ranks within each dataset and horizon."""
    rows, targets = [], []
    for task in tasks:
        best = task.best[:, HORIZONS - 1].T
        target = np.full(best.shape, np.nan)
        for horizon, values in enumerate(best):
            known = np.isfinite(values)
            ranks = rankdata(values[known])
            target[horizon, known] = norm.ppf((ranks - 0.5) / max(len(ranks), 1))
        rows.append(standing_rows(task.encoded))
        targets.append(target.ravel())
    row, target = np.concatenate(rows), np.concatenate(targets)
    known = np.isfinite(target)
    return row[known], target[known]


def fit_standing(tasks: Sequence[Task], seed: int) -> Standing:
    """What ranks pipelines within a dataset."""
    rows, target = standing_data(tasks)
    trees = (boosted(STANDING, seed + k, rows, target) for k in range(STANDING_MEMBERS))
    return Standing(Trees.of(*trees), fit_networks(rows, target, seed))


def moment_points(tasks: Sequence[Task], standings: Sequence[Array], fresh: bool) -> MomentPoints:
    """Points before (`fresh`) or after their curves began, of all datasets with curves."""
    parts = [
        _moment_points(task, standing, start, int(end), position)
        for position, (task, standing) in enumerate(zip(tasks, standings, strict=True))
        if fresh or task.has_curves
        for start in STARTS
        if (start == 0) == fresh
        for end in _ends(start)
    ]
    kept = [part for part in parts if part is not None]
    fields = MomentPoints.__dataclass_fields__
    return MomentPoints(**{name: np.concatenate([getattr(part, name) for part in kept]) for name in fields})


def _ends(start: int) -> NDArray[np.int64]:
    return np.unique(np.minimum(start + HORIZONS, HORIZONS[-1]))


def _moment_points(task: Task, standings: Array, start: int, end: int, position: int) -> MomentPoints | None:
    """The points of one start and end; None where no run got there."""
    scores = task.runs.scores
    window = np.where(np.isfinite(scores[:, start:end]), scores[:, start:end], -np.inf).max(axis=1)
    known = (task.runs.lengths >= end) & (task.runs.lengths > start) & np.isfinite(window)
    if start and known.any():
        known &= np.isfinite(scores[:, :start]).all(axis=1)
    run = np.flatnonzero(known)
    if not len(run):
        return None
    starts, ends = np.full(len(run), float(start)), np.full(len(run), float(end))
    rows, base = moment_rows(task.encoded, standings, run, starts, ends, scores[run])
    target = logit(window[run]) - base
    return MomentPoints(rows, target, run, starts, ends, np.full(len(run), position))


def fit_moments(
    points: MomentPoints, fold: NDArray[np.int64], settings: Mapping[str, float], seed: int
) -> tuple[Moments, Array, float]:
    """Mean and variance of points, residuals (m,) in standard deviations, and R² of the held-out means.

    Args:
        points: with standings from trees that have not seen their datasets.
        fold: (m,) of each point; residuals are of means fitted to the other folds.
        settings: of the mean's trees.
        seed: of the columns that trees may split.
    """
    held_out = np.zeros(len(points.target))
    for k in np.unique(fold):
        inside, outside = fold == k, fold != k
        model = boosted(settings, seed, points.rows[outside], points.target[outside])
        held_out[inside] = model.predict(points.rows[inside])
    residual = points.target - held_out
    mean = boosted(settings, seed, points.rows, points.target)
    variance = boosted(LOG_VARIANCE, seed, points.rows, np.log(residual**2 + 1e-5))
    shape = np.exp(variance.predict(points.rows))
    factor = np.array([np.mean(residual**2 / shape)])
    moments = Moments(Trees.of(mean), Trees.of(variance), factor)
    r2 = 1.0 - float(np.mean(residual**2) / np.var(points.target))
    return moments, residual / np.sqrt(factor[0] * shape), r2


def boosted(
    settings: Mapping[str, float], seed: int, rows: Array, target: Array
) -> "HistGradientBoostingRegressor":
    """Boosted trees for rows (m, d), NaN where unknown, and targets (m,)."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    model = HistGradientBoostingRegressor(**settings, random_state=seed, early_stopping=False)
    return model.fit(without_empty_columns(rows), target)


def without_empty_columns(rows: Array) -> Array:
    """Rows whose columns without any number are constant instead, which scikit-learn insists on."""
    return np.where(np.isnan(rows).all(axis=0), 0.0, rows)
