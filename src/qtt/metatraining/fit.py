"""Meta-training: from recorded runs to the predictors of an artifact, stage by stage."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qtt.errors import ConfigError
from qtt.metatraining import fit_prior
from qtt.metatraining.fit_prior import MomentPoints, Task
from qtt.metatraining.fit_residual import fit_kernel, residual_sets
from qtt.metatraining.runs import Runs
from qtt.predictors.features import FeatureSpec
from qtt.predictors.meta_cost import cost_rows
from qtt.predictors.prior import Standing
from qtt.predictors.residual import ResidualPoints
from qtt.predictors.trees import Trees
from qtt.space.domains import Options
from qtt.space.hyperparameters import CONDITIONS, FULL, Hyperparameter, registered

Array = NDArray[np.float64]
Arrays = dict[str, NDArray[np.generic]]

FOLDS = 4
"""Parts that the datasets are split into: second levels learn from predictions for datasets not seen."""

COST = {
    "max_iter": 400,
    "learning_rate": 0.04,
    "max_leaf_nodes": 12,
    "min_samples_leaf": 8,
    "l2_regularization": 1,
    "max_features": 0.4,
}
COST_MEMBERS = 3
FAILURE: Mapping[str, Any] = {
    "max_iter": 60,
    "learning_rate": 0.08,
    "max_leaf_nodes": 6,
    "min_samples_leaf": 15,
}
FEWEST_FAILURES = 20
"""With fewer recorded failures than these, nothing is learned from them."""

FIGURE = "figure."
"""Prefix of the figures among a stage's arrays."""


class StageRunner(Protocol):
    """Runs named stages, and may know their results from an earlier run."""

    def plan(self, names: Sequence[str]) -> None:
        """Announce the stages to come."""
        ...

    def run(self, name: str, compute: Callable[[], Mapping[str, NDArray[np.generic]]]) -> Arrays:
        """The arrays that the stage computes."""
        ...


@dataclass(frozen=True)
class Fitted:
    """What goes into an artifact.

    performance, cost: tensors by name; those of failures are among the cost's.
    settings: JSON-able. validation: figures of datasets held out.
    """

    spec: FeatureSpec
    performance: Arrays
    cost: Arrays
    settings: dict[str, Any]
    validation: dict[str, float]


def feature_spec(runs: Sequence[Runs]) -> FeatureSpec:
    """The columns for the papers' space, what else is registered and recorded, and all models of the runs."""
    cards = {card.name: card for part in runs for card in part.candidates.models}
    recorded = {name for part in runs for config in part.candidates.configs for name in config}
    extras = {name: item.options for name, item in _registered(recorded).items() if name in recorded}
    options: dict[str, Options] = {"model": tuple(sorted(cards)), **FULL, **extras}
    conditional = [*CONDITIONS, *extras]  # which other tables lack
    return FeatureSpec.from_options(options, [cards[name] for name in sorted(cards)], conditional)


def _registered(recorded: Collection[str]) -> Mapping[str, Hyperparameter]:
    """Hyperparameters of other packages; none are looked for where the papers' are all there is."""
    return registered() if set(recorded) - FULL.keys() - {"model"} else {}


def fit(runs: Sequence[Runs], *, seed: int = 0, stages: StageRunner) -> Fitted:
    """Fit everything; the same for the same runs and seed.

    Raises:
        ConfigError: fewer than four datasets, or none with whole curves.
    """
    names = list(dict.fromkeys(part.dataset for part in runs))
    if len(names) < FOLDS:
        raise ConfigError(f"Meta-training needs at least {FOLDS} datasets; got {len(names)}: {names}.")
    spec = feature_spec(runs)
    tasks = [Task.of(part, spec) for part in runs]
    if not any(task.has_curves for task in tasks):
        raise ConfigError("Meta-training needs whole learning curves; these tables know only last epochs.")
    fold = fit_prior.folds([task.runs.dataset for task in tasks], FOLDS)
    held_out = [f"standing-{k}" for k in range(FOLDS)]
    stages.plan([*held_out, "standing", "fresh", "started", "residual", "cost", "failure"])

    standings = _held_out_standings(tasks, fold, seed, stages)
    fresh, started = (fit_prior.moment_points(tasks, standings, kind) for kind in (True, False))
    results = [
        stages.run("standing", partial(_standing, tasks, seed)),
        stages.run("fresh", partial(_moments, "fresh", fresh, fold, fit_prior.FRESH_MEAN, seed)),
        stages.run("started", partial(_moments, "started", started, fold, fit_prior.STARTED_MEAN, seed)),
    ]
    residuals = [results[1].pop("residual"), results[2].pop("residual")]
    sets = residual_sets(tasks, (fresh, started), [np.asarray(r, dtype=np.float64) for r in residuals])
    results.append(stages.run("residual", partial(_residual, tasks, sets, fold, seed)))
    cost = stages.run("cost", partial(_cost, tasks, fold, seed))
    cost |= stages.run("failure", partial(_failure, tasks, fold, seed))

    performance = {name: array for result in results for name, array in result.items()}
    figures = {**performance, **cost}
    return Fitted(
        spec,
        _weights(performance),
        _weights(cost),
        {"seed": seed, "folds": FOLDS},
        {k.removeprefix(FIGURE): float(v[0]) for k, v in figures.items() if k.startswith(FIGURE)},
    )


def _weights(arrays: Arrays) -> Arrays:
    return {name: array for name, array in arrays.items() if not name.startswith(FIGURE)}


def _held_out_standings(
    tasks: Sequence[Task], fold: NDArray[np.int64], seed: int, stages: StageRunner
) -> list[Array]:
    """Standings of every dataset's runs, by trees that have not seen it."""
    models = []
    for k in range(FOLDS):
        seen = [task for task, part in zip(tasks, fold, strict=True) if part != k]
        name = f"standing-{k}"
        arrays = stages.run(name, partial(_standing, seen, seed))
        models.append(Standing.from_tensors(arrays))
    return [models[part].predict(task.encoded) for task, part in zip(tasks, fold, strict=True)]


def _standing(tasks: Sequence[Task], seed: int) -> Arrays:
    return fit_prior.fit_standing(tasks, seed).tensors()


def _moments(
    name: str, points: MomentPoints, fold: NDArray[np.int64], settings: Mapping[str, float], seed: int
) -> Arrays:
    moments, residual, r2 = fit_prior.fit_moments(points, fold[points.task], settings, seed)
    return moments.tensors(name) | {"residual": residual, f"{FIGURE}{name}_r2": np.array([r2])}


def _residual(
    tasks: Sequence[Task], sets: Sequence[ResidualPoints], fold: NDArray[np.int64], seed: int
) -> Arrays:
    kernel, loss = fit_kernel(tasks, sets, fold == 0, seed)
    return kernel.tensors() | {f"{FIGURE}residual_nll": np.array([loss])}


def _cost(tasks: Sequence[Task], fold: NDArray[np.int64], seed: int) -> Arrays:
    known = [np.isfinite(task.runs.seconds).any(axis=1) & ~task.runs.failed for task in tasks]
    rows = np.concatenate([cost_rows(task.encoded)[kept] for task, kept in zip(tasks, known, strict=True)])
    target = np.concatenate(
        [
            np.log(np.nanmedian(task.runs.seconds[kept], axis=1) / task.runs.metafeatures.train_images)
            for task, kept in zip(tasks, known, strict=True)
        ]
    )
    part = np.repeat(fold, [int(kept.sum()) for kept in known])
    error = np.zeros(len(target))
    for k in np.unique(part):
        model = fit_prior.boosted(COST, seed, rows[part != k], target[part != k])
        error[part == k] = target[part == k] - model.predict(rows[part == k])
    members = (fit_prior.boosted(COST, seed + k, rows, target) for k in range(COST_MEMBERS))
    figures = {"cost_log_std": error.std(), "cost_log_median_error": np.median(np.abs(error))}
    named = {f"{FIGURE}{name}": np.array([value]) for name, value in figures.items()}
    return Trees.of(*members).tensors("cost") | named


def _failure(tasks: Sequence[Task], fold: NDArray[np.int64], seed: int) -> Arrays:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score

    failed = np.concatenate([task.runs.failed for task in tasks])
    part = np.repeat(fold, [len(task.runs) for task in tasks])
    if failed.sum() < FEWEST_FAILURES or not all(failed[part != k].any() for k in np.unique(part)):
        return {}
    rows = fit_prior.without_empty_columns(np.concatenate([cost_rows(task.encoded) for task in tasks]))
    held_out = np.zeros(len(rows))
    for k in np.unique(part):
        model = HistGradientBoostingClassifier(**FAILURE, random_state=seed, early_stopping=False)
        held_out[part == k] = model.fit(rows[part != k], failed[part != k]).decision_function(rows[part == k])
    model = HistGradientBoostingClassifier(**FAILURE, random_state=seed, early_stopping=False)
    figure = np.array([roc_auc_score(failed, held_out)])
    return Trees.of(model.fit(rows, failed)).tensors("failure") | {f"{FIGURE}failure_auc": figure}
