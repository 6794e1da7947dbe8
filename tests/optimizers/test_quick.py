import math

import numpy as np
import pytest

from qtt.errors import PredictionError
from qtt.optimizers import EpochwiseRandomOptimizer, RandomOptimizer
from qtt.optimizers.quick import QuickTune
from qtt.predictors.cost import PhysicalCost
from qtt.predictors.performance import DeepKernelGP
from qtt.testing import METAFEATURES, OptimizerContract, SyntheticCurves, SyntheticSpace, play
from qtt.types import Prediction, Result, Status

SPACE = SyntheticSpace()


def quick(seed=0, **settings):
    return QuickTune(SPACE, performance=DeepKernelGP(), cost=PhysicalCost(), seed=seed, **settings)


def searching(n=16, seed=0, **settings):
    optimizer = quick(seed, **settings)
    optimizer.setup(SPACE.sample(n, 1), METAFEATURES)
    return optimizer


class FakePerformance:
    """Predicts numbers written by hand."""

    def __init__(self, mean, std):
        self.table = {i: (m, s) for i, (m, s) in enumerate(zip(mean, std, strict=True))}

    def setup(self, task):
        self.conditioned = 0

    def condition(self, history):
        self.conditioned += 1

    def predict(self, config_ids, fidelities):
        mean, std = zip(*(self.table[i] for i in config_ids), strict=True)
        return Prediction(np.array(mean), np.array(std))


class FakeCost(FakePerformance):
    def __init__(self, seconds):
        self.seconds = seconds

    def predict(self, config_ids):
        return np.array([self.seconds[i] for i in config_ids])


def faked(mean, std, seconds, **settings):
    optimizer = QuickTune(SPACE, performance=FakePerformance(mean, std), cost=FakeCost(seconds), **settings)
    optimizer.setup(SPACE.sample(len(mean), 1), METAFEATURES)
    return optimizer


class TestQuick(OptimizerContract):
    def make(self, seed, **settings):
        return quick(seed, **settings)


def test_the_first_step_is_the_cheapest():
    assert faked([0.5] * 3, [0.1] * 3, [3.0, 1.0, 2.0]).ask().config_id == 1


def test_the_choice_is_the_largest_expected_improvement_per_second():
    # best score at epoch 1 is 0.5; expected improvements of 1, 2 and 3 by hand: Φ-terms at z = 0, 1 and -1
    phi0, phi1, cdf1 = 0.398942, 0.241971, 0.841345
    gains = {1: 0.1 * phi0, 2: 0.1 * (cdf1 + phi1), 3: 0.1 * (phi1 - (1 - cdf1))}
    for seconds in ([1, 1, 1, 1], [1, 1, 5, 1], [1, 4, 9, 1]):
        optimizer = faked([0.0, 0.5, 0.6, 0.4], [1e-3, 0.1, 0.1, 0.1], np.array(seconds, dtype=float))
        optimizer.tell(Result(0, 1, 0.5, 1.0))
        assert optimizer.ask().config_id == max(gains, key=lambda i: gains[i] / seconds[i])


def test_pending_pipelines_leave_the_choice_to_the_next_best():
    optimizer = faked([0.5, 0.9, 0.8, 0.7], [0.01] * 4, [1.0] * 4)
    optimizer.tell(Result(0, 1, 0.5, 1.0))
    assert [optimizer.ask().config_id for _ in range(3)] == [1, 2, 3]


def test_steps_of_several_epochs_cost_several_epochs():
    optimizer = faked([0.5, 0.6, 0.6], [0.1] * 3, [9.0, 2.0, 3.0], epochs_per_step=4, max_fidelity=10)
    optimizer.tell([Result(0, 4, 0.5, 1.0), *(Result(2, t, 0.5, 1.0) for t in (1, 2, 3))])
    # 2 has one epoch left of its step (3 s), 1 has four (8 s)
    assert optimizer.ask().config_id == 2


def test_exploration_is_an_offset_of_the_improvement():
    means, stds = [0.0, 0.61, 0.5], [1e-3, 0.02, 0.12]
    for exploration, chosen in ((0.0, 1), (0.2, 2)):
        optimizer = faked(means, stds, [1.0] * 3, exploration=exploration)
        optimizer.tell(Result(0, 1, 0.5, 1.0))
        assert optimizer.ask().config_id == chosen


def test_predictors_are_conditioned_once_per_new_result():
    optimizer = faked([0.5] * 4, [0.1] * 4, [1.0] * 4)
    optimizer.ask()
    optimizer.tell(Result(0, 1, 0.5, 1.0))
    optimizer.ask()
    optimizer.ask()
    assert optimizer.performance.conditioned == 1


def test_costs_that_are_not_seconds_are_refused():
    optimizer = faked([0.5] * 2, [0.1] * 2, [1.0, -1.0])
    optimizer.tell(Result(0, 1, 0.5, 1.0))
    with pytest.raises(PredictionError, match="positive seconds"):
        optimizer.ask()


def test_observations_change_the_next_ask():
    asked = set()
    for score in (0.05, 0.5, 0.95):
        optimizer = searching(max_fidelity=20)
        for i in range(8):
            optimizer.tell(Result(i, 1, 0.5, 1.0))
        optimizer.tell([Result(3, t, score, 1.0) for t in range(2, 5)])
        asked.add(optimizer.ask().config_id)
    assert len(asked) > 1


def test_no_pipeline_runs_untouched_while_others_do_better():
    optimizer = searching(max_fidelity=50)
    # whatever is asked first, it never learns; every other pipeline does
    first = optimizer.ask().config_id
    optimizer.tell(Result(first, 1, 0.1, 1.0))
    for _ in range(30):
        trial = optimizer.ask()
        score = 0.1 if trial.config_id == first else min(0.9, 0.3 + 0.1 * trial.fidelity)
        optimizer.tell(Result(trial.config_id, trial.fidelity, score, 1.0))
    assert optimizer.history.fidelity(first) <= 3
    assert max(optimizer.history.fidelity(i) for i in optimizer.history.observed) >= 5


def test_all_failing_ends_the_search():
    optimizer = searching(n=5)
    while (trial := optimizer.ask()) is not None:
        optimizer.tell(Result(trial.config_id, 1, math.nan, 0.1, Status.FAILED, {"reason": "boom"}))
    assert len(optimizer.history.failed) == 5
    assert not optimizer.waiting


def test_a_failure_among_successes_does_no_harm():
    optimizer = searching(n=6, max_fidelity=3)
    for k in range(30):
        if (trial := optimizer.ask()) is None:
            break
        if k % 4 == 1:
            optimizer.tell(Result(trial.config_id, trial.fidelity, math.nan, 0.1, Status.FAILED))
        else:
            optimizer.tell(Result(trial.config_id, trial.fidelity, 0.5 + k / 100, 1.0))
    assert optimizer.ask() is None
    assert not set(optimizer.history.failed) & {i for i in range(6) if optimizer.history.fidelity(i) == 3}


@pytest.mark.parametrize("transform", [lambda s: 0.0 * s, lambda s: s - 5.0, lambda s: 100.0 * s])
def test_scores_of_any_level_and_scale_work(transform):
    optimizer = searching(n=6, max_fidelity=4)
    curves = SyntheticCurves()
    while (trial := optimizer.ask()) is not None:
        score = transform(curves.score(trial.config, trial.fidelity))
        optimizer.tell(Result(trial.config_id, trial.fidelity, score, curves.seconds(trial.config)))
    assert optimizer.history.evaluations == 24
    best = max(transform(curves.score(c, t)) for c in optimizer.candidates.configs for t in range(1, 5))
    assert optimizer.history.incumbent.score == best


def best_over_time(optimizer, budgets):
    """Mean over budgets, in simulated seconds, of the best noise-free score by then."""
    curves, elapsed, best = SyntheticCurves(), 0.0, 0.0
    seconds, scores = [0.0], [0.0]
    while elapsed < budgets[-1]:
        last = play(optimizer, 1)[-1]
        elapsed += last.cost
        best = max(best, curves.score(optimizer.candidates.configs[last.config_id], last.fidelity))
        seconds.append(elapsed)
        scores.append(best)
    return np.array(scores)[np.searchsorted(seconds, budgets, side="right") - 1].mean()


def test_quick_finds_better_pipelines_than_random_search():
    means = {}
    for make in (quick, RandomOptimizer, EpochwiseRandomOptimizer):
        means[make] = []
        for seed in range(8):
            optimizer = quick(seed) if make is quick else make(SPACE, seed=seed)
            optimizer.setup(SPACE.sample(40, 100 + seed), METAFEATURES)
            means[make].append(best_over_time(optimizer, [100, 200, 400, 800]))
    best = np.array(means.pop(quick))
    for make, others in means.items():
        gain = best - np.array(others)
        # paired over the same candidates; two standard errors make chance unlikely
        assert gain.mean() > 2 * gain.std(ddof=1) / math.sqrt(len(gain)), f"{make.__name__}: {gain}"
