"""Predictors that take what is expected of pending steps for observed: what that changes, and what not."""

from collections.abc import Callable

import numpy as np
import pytest

from qtt.predictors.base import SearchTask
from qtt.predictors.fantasies import Fantasy, Supposed, SupposingPredictor, expected
from qtt.predictors.gains import GainsOverProbes
from qtt.predictors.meta import MetaPerformance
from qtt.predictors.paper import PaperPerformance
from qtt.predictors.performance import DeepKernelGP
from qtt.runs.history import History
from qtt.testing import METAFEATURES, SyntheticCurves
from qtt.types import Candidates, Prediction, Trial
from synthetic_runs import SPACE, TASK, fitted

CONFIGS = (*TASK.candidates.configs, TASK.candidates.configs[7])
TWINS = 7, len(CONFIGS) - 1
"""Two candidates with the same config."""

SEARCH = SearchTask(Candidates(CONFIGS, TASK.candidates.models), METAFEATURES, SPACE.options)
AHEAD = list(range(len(CONFIGS))), [30] * len(CONFIGS)


def meta() -> SupposingPredictor:
    return MetaPerformance.from_tensors(fitted().spec, fitted().performance)


def over_probes() -> SupposingPredictor:
    return GainsOverProbes(meta())


def paper() -> SupposingPredictor:
    return PaperPerformance(early=2, early_steps=20, steps=5, every=1)


@pytest.fixture(params=[meta, DeepKernelGP, over_probes, paper])
def predictor(request: pytest.FixtureRequest) -> SupposingPredictor:
    make: Callable[[], SupposingPredictor] = request.param
    made = make()
    made.setup(SEARCH)
    return made


def observed(epochs: dict[int, int]) -> History:
    """Pipeline i was trained for `epochs[i]` epochs."""
    curves = SyntheticCurves(99)
    trials = [Trial(i, CONFIGS[i], last) for i, last in epochs.items()]
    return History(result for trial in trials for result in curves.results(trial))


def same(one: Prediction, other: Prediction) -> bool:
    return np.array_equal(one.mean, other.mean) and np.array_equal(one.std, other.std)


def test_what_was_supposed_can_be_taken_back(predictor: SupposingPredictor) -> None:
    assert isinstance(predictor, SupposingPredictor)
    history = observed({0: 3, 5: 1, 9: 8})
    predictor.condition(history)
    before = predictor.predict(*AHEAD)
    predictor.suppose(history, {7: Fantasy(4, 0.9), 9: Fantasy(12, 0.2)})
    assert not same(predictor.predict(*AHEAD), before)
    predictor.suppose(history, {})
    assert same(predictor.predict(*AHEAD), before)
    predictor.suppose(history, {7: Fantasy(4, 0.9)})
    predictor.condition(history)
    assert same(predictor.predict(*AHEAD), before)


def test_supposing_before_anything_else_learns_first(predictor: SupposingPredictor) -> None:
    history = observed({0: 3, 5: 1, 9: 8})
    fantasies = {7: Fantasy(4, 0.9)}
    predictor.suppose(history, fantasies)
    at_once = predictor.predict(*AHEAD)
    predictor.setup(SEARCH)
    predictor.condition(history)
    predictor.suppose(history, fantasies)
    assert same(predictor.predict(*AHEAD), at_once)


def test_one_is_surer_of_what_is_like_a_pending_pipeline(predictor: SupposingPredictor) -> None:
    history = observed({0: 3, 5: 1, 9: 8})
    pending, twin = TWINS
    predictor.condition(history)
    before = predictor.predict([twin], [5])
    predictor.suppose(history, {pending: expected(predictor, pending, 5)})
    after = predictor.predict([twin], [5])
    assert after.std[0] < before.std[0]
    assert after.mean[0] == pytest.approx(before.mean[0], abs=0.5 * before.std[0])


def test_a_fantasy_is_a_score_on_whatever_scale_the_predictor_is(predictor: SupposingPredictor) -> None:
    predictor.condition(observed({0: 3, 5: 1, 9: 8}))
    low, mean, high = (expected(predictor, 7, 5, above).score for above in (-1.0, 0.0, 1.0))
    assert low < mean < high
    assert 0.0 < mean < 1.0


def test_a_supposed_history_has_its_fantasies_last() -> None:
    history = observed({5: 2, 0: 1})
    supposed = Supposed(history, {7: Fantasy(3, 0.5), 5: Fantasy(4, 0.7)})
    assert supposed.observed == [5, 0, 7]
    assert [supposed.fidelity(i) for i in (5, 0, 7, 9)] == [4, 1, 3, 0]
    assert [seen.fidelity for seen in supposed.curve(5)] == [1, 2, 4]
    assert supposed.curve(7)[-1].score == 0.5
    assert supposed.curve(0) is history.curve(0)
