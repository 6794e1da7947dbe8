"""Recorded runs of synthetic datasets, and what a quick meta-training makes of them."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qtt.metatraining import fit_networks, fit_prior, fit_residual
from qtt.metatraining.fit import Arrays, Fitted, fit
from qtt.metatraining.runs import LAST_FIDELITY, Runs
from qtt.optimizers.base import CandidateOptimizer
from qtt.optimizers.quick import QuickTune
from qtt.predictors.base import SearchTask
from qtt.predictors.failure import FailureRate
from qtt.predictors.meta import MetaPerformance
from qtt.predictors.meta_cost import MetaCost
from qtt.testing import SyntheticCurves, SyntheticSpace, play
from qtt.types import MetaFeatures

BOOSTED = fit_prior.boosted
SPACE = SyntheticSpace()
TASK = SearchTask(SPACE.sample(24, 99), MetaFeatures(1500, 10, 64, 3), SPACE.options)
"""A dataset and pipelines that meta-training has not seen."""


def seconds_of(task: SearchTask) -> NDArray[np.float64]:
    """True seconds of an epoch of every candidate; (n,)."""
    assert task.metafeatures is not None
    images = task.metafeatures.train_images / 1000
    return np.array([images * SyntheticCurves().seconds(config) for config in task.candidates.configs])


def synthetic_runs(dataset: str, seed: int, n: int = 30) -> Runs:
    """Runs of `n` pipelines; every fifth ends early, and the first two failed at once."""
    metafeatures = MetaFeatures(500 * (1 + seed), 5 + 5 * seed, 64, 3)
    candidates, curves = SPACE.sample(n, seed), SyntheticCurves(seed)
    seconds = seconds_of(SearchTask(candidates, metafeatures))
    lengths = np.array([1 + i % LAST_FIDELITY if i % 5 == 0 else LAST_FIDELITY for i in range(n)])
    lengths[:2] = 0
    known = np.arange(LAST_FIDELITY) < lengths[:, None]
    scores = [[curves.score(c, epoch + 1) for epoch in range(LAST_FIDELITY)] for c in candidates.configs]
    return Runs(
        dataset,
        metafeatures,
        candidates,
        np.where(known, scores, math.nan),
        np.where(known, seconds[:, None], math.nan),
        lengths,
        lengths == 0,
    )


@cache
def datasets(names: str = "ABCDE") -> tuple[Runs, ...]:
    """Runs of a dataset for each letter."""
    return tuple(synthetic_runs(name, seed) for seed, name in enumerate(names))


class PlainStages:
    """Runs every stage, and notes its name."""

    def __init__(self) -> None:
        self.planned: tuple[str, ...] = ()
        self.ran: list[str] = []

    def plan(self, names: Sequence[str]) -> None:
        """Note the stages to come."""
        self.planned = tuple(names)

    def run(self, name: str, compute: Callable[[], Mapping[str, NDArray[np.generic]]]) -> Arrays:
        """Compute the stage."""
        self.ran.append(name)
        return dict(compute())


def quick_settings(patch: pytest.MonkeyPatch, trees: int = 4, steps: int = 4, epochs: int = 1) -> None:
    """Fit in seconds: few trees, few steps of Adam."""
    smaller = {"max_iter": trees, "learning_rate": 0.3, "min_samples_leaf": 10}
    patch.setattr(fit_prior, "boosted", lambda settings, *data: BOOSTED({**settings, **smaller}, *data))
    patch.setattr(fit_residual, "STEPS", steps)
    patch.setattr(fit_residual, "CHECK_EVERY", max(1, steps // 4))
    patch.setattr(fit_networks, "EPOCHS", epochs)


@cache
def fitted() -> Fitted:
    """Predictors fitted well enough to know what is good on a synthetic dataset."""
    with pytest.MonkeyPatch.context() as patch:
        quick_settings(patch, trees=15, steps=60, epochs=6)
        return fit(datasets(), seed=0, stages=PlainStages())


def meta_learned(seed: int = 0, **settings: Any) -> QuickTune:
    """Quick-Tune with the predictors of `fitted`."""
    weights = fitted()
    return QuickTune(
        SPACE,
        performance=MetaPerformance.from_tensors(weights.spec, weights.performance),
        cost=MetaCost.from_tensors(weights.spec, weights.cost),
        failure=FailureRate.from_tensors(weights.spec, weights.cost),
        seed=seed,
        **settings,
    )


def best_over_time(optimizer: CandidateOptimizer, budgets: Sequence[float]) -> float:
    """Mean over budgets, in simulated seconds, of the best noise-free score by then."""
    curves, elapsed, best = SyntheticCurves(), 0.0, 0.0
    seconds, scores = [0.0], [0.0]
    while elapsed < budgets[-1]:
        last = play(optimizer, 1)[-1]
        elapsed += last.cost
        best = max(best, curves.score(optimizer.candidates.configs[last.config_id], last.fidelity))
        seconds.append(elapsed)
        scores.append(best)
    return float(np.array(scores)[np.searchsorted(seconds, budgets, side="right") - 1].mean())
