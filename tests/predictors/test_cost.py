import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtt.predictors import cost
from qtt.predictors.base import SearchTask
from qtt.predictors.cost import CostInputs, PhysicalCost, log_seconds, posterior
from qtt.runs.history import History
from qtt.testing import METAFEATURES, SyntheticCurves, SyntheticSpace
from qtt.testing.synthetic import CARDS
from qtt.types import Candidates, MetaFeatures, ModelCard, Result

SPACE = SyntheticSpace()
TASK = SearchTask(SPACE.sample(40, 0), METAFEATURES, SPACE.options)


def fitted(history, task=TASK):
    predictor = PhysicalCost()
    predictor.setup(task)
    predictor.condition(history)
    return predictor


def prior(config, images=1000, cards=CARDS):
    task = SearchTask(Candidates((config,), cards), MetaFeatures(images, 10, 64, 3))
    return fitted(History(), task).predict([0])[0]


def test_prior_seconds_by_hand():
    config = {"model": "large", "batch_size": 8, "pct_to_freeze": 0.4}
    expected = 500 * (0.005 * 2.5 * (1 - 0.8 / 3) + 0.03 / 8 + 0.001)
    assert prior(config, images=500) == pytest.approx(expected)


def test_the_prior_knows_what_costs():
    base = {"model": "medium", "batch_size": 32, "pct_to_freeze": 0.0}
    assert prior(base, images=2000) == pytest.approx(2 * prior(base))
    assert prior({**base, "model": "large"}) > prior(base) > prior({**base, "model": "small"})
    assert prior({**base, "batch_size": 2}) > prior(base)
    assert prior({**base, "pct_to_freeze": 0.8}) < prior(base)
    assert prior({**base, "linear_probing": True}) == prior({**base, "pct_to_freeze": 1.0})
    assert prior({}, cards=()) > 0


def test_models_without_multiply_adds_are_judged_by_their_parameters():
    cards = tuple(ModelCard(n, n, n, params=p, input_size=224) for n, p in (("a", 5.0), ("b", 50.0)))
    assert prior({"model": "b"}, cards=cards) > 2 * prior({"model": "a"}, cards=cards)


@pytest.mark.parametrize("speed", [0.02, 1.0, 50.0])
def test_another_clock_is_learned_from_one_step(speed):
    configs = TASK.candidates.configs
    truth = np.array([SyntheticCurves().seconds(config) / speed for config in configs])
    after = fitted(History([Result(0, 1, 0.5, truth[0])])).predict(range(40))
    errors = np.log(after / truth)
    unlearned = np.log(fitted(History()).predict(range(40)) / truth)
    assert np.sqrt((errors**2).mean()) < max(1.0, 0.5 * np.sqrt((unlearned**2).mean()))
    assert abs(errors[0]) < 0.05


def test_predictions_improve_with_every_few_pipelines():
    curves, configs = SyntheticCurves(), TASK.candidates.configs
    truth = np.log([curves.seconds(config) for config in configs])
    errors = []
    for n in (1, 4, 12, 30):
        history = History(Result(i, 1, 0.5, curves.seconds(configs[i])) for i in range(n))
        errors.append(np.sqrt(((np.log(fitted(history).predict(range(40))) - truth)[30:] ** 2).mean()))
    assert errors[0] > errors[1] > errors[2] > errors[3]
    assert errors[3] < 0.25


def test_one_slow_epoch_among_many_changes_little():
    usual = [Result(0, t, 0.5, 10.0) for t in range(1, 10)]
    assert fitted(History([*usual, Result(0, 10, 0.5, 100.0)])).predict([0])[0] == pytest.approx(
        10.0, rel=0.02
    )


def test_posterior_mode_against_a_numerical_optimum():
    from scipy.optimize import minimize

    inputs = CostInputs.of(TASK)
    ids, counts = np.array([1, 4, 9, 16, 25]), np.array([1.0, 3.0, 2.0, 8.0, 1.0])
    means = np.array([1.0, 3.5, 2.0, 4.0, 0.5])
    covariance = np.diag(cost.PIPELINE_STD**2 + cost.EPOCH_STD**2 / counts)
    covariance += cost.MODEL_STD**2 * (inputs.model[ids][:, None] == inputs.model[ids])

    def minus_log_posterior(theta):
        error = means - log_seconds(inputs.terms[ids], theta)
        return 0.5 * error @ np.linalg.solve(covariance, error) + 0.5 * (
            theta - cost.PRIOR_MEAN
        ) @ np.linalg.solve(cost.PRIOR_COVARIANCE, theta - cost.PRIOR_MEAN)

    theta = minimize(minus_log_posterior, cost.PRIOR_MEAN, method="BFGS", options={"gtol": 1e-6}).x
    alone = log_seconds(inputs.terms, theta)
    residual = np.linalg.solve(covariance, means - alone[ids])
    fresh = 30
    assert fresh not in ids
    effect = cost.MODEL_STD**2 * (inputs.model[fresh] == inputs.model[ids]) @ residual
    assert posterior(inputs, ids, means, counts)[fresh] == pytest.approx(alone[fresh] + effect, abs=1e-3)


@settings(max_examples=60)
@given(st.dictionaries(st.integers(0, 39), st.floats(1e-6, 1e8), min_size=1, max_size=12))
def test_costs_are_always_positive_and_finite(seconds):
    history = History(Result(i, 1, 0.5, value) for i, value in seconds.items())
    predicted = fitted(history).predict(range(40))
    assert np.isfinite(predicted).all()
    assert (predicted > 0).all()


def test_failures_and_timeouts_teach_no_cost():
    failed = Result.from_dict({"config_id": 0, "fidelity": 1, "cost": 1e-3, "status": False})
    np.testing.assert_array_equal(
        fitted(History([failed])).predict(range(40)), fitted(History()).predict(range(40))
    )
    assert math.isfinite(fitted(History([failed])).predict([0])[0])
