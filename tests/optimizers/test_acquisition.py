import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit, logit
from scipy.stats import norm

from qtt.errors import PredictionError
from qtt.optimizers.acquisition import (
    expected_epochs,
    improvement,
    log_expected_improvement,
    log_h,
    log_improvement_per_second,
    multi_fidelity_best,
)
from qtt.runs.history import History
from qtt.types import Prediction, Result


def closed_form(mean, std, best, xi=0.0):
    z = (mean - best - xi) / std
    return (mean - best - xi) * norm.cdf(z) + std * norm.pdf(z)


@pytest.mark.parametrize("xi", [0.0, 0.05])
def test_expected_improvement_against_its_closed_form(xi):
    generator = np.random.default_rng(0)
    mean, std, best = generator.normal(0.5, 0.2, 50), generator.uniform(0.05, 0.3, 50), np.full(50, 0.6)
    log_ei = log_expected_improvement(mean, std, best, xi)
    assert log_ei.shape == (50,)
    np.testing.assert_allclose(np.exp(log_ei), closed_form(mean, std, best, xi), rtol=1e-9)


@pytest.mark.parametrize(
    ("mean", "std", "best", "xi"), [(0.5, 0.1, 0.55, 0.0), (0.5, 0.1, 0.55, 0.02), (0.9, 0.2, 0.5, 0.1)]
)
def test_expected_improvement_against_monte_carlo(mean, std, best, xi):
    draws = np.random.default_rng(1).normal(mean, std, 400_000)
    gains = np.maximum(0.0, draws - best - xi)
    ei = np.exp(log_expected_improvement(np.array([mean]), np.array([std]), np.array([best]), xi))[0]
    assert abs(ei - gains.mean()) < 5 * gains.std() / math.sqrt(len(gains))


def test_an_offset_lowers_the_improvement_everywhere():
    mean, std, best = np.linspace(-1, 3, 41), np.full(41, 0.3), np.ones(41)
    assert (log_expected_improvement(mean, std, best, 0.1) < log_expected_improvement(mean, std, best)).all()


@pytest.mark.parametrize("z", [-1.0001, -1.0, -2.0, -5.0, -8.0, -20.0])
def test_log_h_against_quadrature(z):
    # h(z) = ∫₀^∞ u φ(u - z) du, with φ(z) taken out so that nothing underflows
    integral, _ = quad(lambda u: u * math.exp(-0.5 * u * u + u * z), 0, 40)
    expected = math.log(integral) - 0.5 * z * z - 0.5 * math.log(2 * math.pi)
    assert log_h(np.array([z]))[0] == pytest.approx(expected, rel=1e-8)


def test_log_h_is_finite_and_rising_over_all_of_its_range():
    z = np.concatenate([-np.logspace(7, -3, 4000), [0.0], np.logspace(-3, 7, 4000)])
    values = log_h(z)
    assert np.isfinite(values).all()
    assert (np.diff(values) > 0).all()
    # far out: h(z) → φ(z)/z² below, and z above
    far = np.array([-1e5])
    assert log_h(far)[0] == pytest.approx(-0.5e10 - 0.5 * math.log(2 * math.pi) - 2 * math.log(1e5))
    assert log_h(np.array([1e5]))[0] == pytest.approx(math.log(1e5))


@pytest.mark.parametrize(("mean", "std"), [(math.nan, 0.1), (0.5, 0.0), (0.5, -1.0), (0.5, math.inf)])
def test_unusable_predictions_are_refused(mean, std):
    with pytest.raises(PredictionError):
        log_expected_improvement(np.array([mean]), np.array([std]), np.zeros(1))


def test_gain_per_second_keeps_the_argmax_of_the_ratio():
    generator = np.random.default_rng(2)
    log_ei, cost = generator.normal(-4, 2, 30), generator.lognormal(3, 1, 30)
    ratio = log_improvement_per_second(log_ei, cost)
    np.testing.assert_allclose(np.exp(ratio), np.exp(log_ei) / cost)


def test_costs_count_less_with_a_smaller_exponent():
    log_ei, cost = np.log([0.01, 0.02]), np.array([10.0, 30.0])
    assert np.argmax(log_improvement_per_second(log_ei, cost)) == 0
    assert np.argmax(log_improvement_per_second(log_ei, cost, 0.5)) == 1
    assert log_improvement_per_second(log_ei, cost, 0.0) == pytest.approx(log_ei)


@pytest.mark.parametrize("cost", [0.0, -1.0, math.nan, math.inf])
def test_costs_must_be_positive_seconds(cost):
    with pytest.raises(PredictionError, match="positive seconds"):
        log_improvement_per_second(np.zeros(2), np.array([1.0, cost]))


def test_the_score_to_beat_depends_on_the_fidelity():
    history = History(
        Result(i, t, score, 1.0)
        for i, t, score in [(0, 1, 0.2), (0, 2, 0.5), (0, 3, 0.4), (1, 1, 0.3), (2, 6, 0.1)]
    )
    # seen at 1, 2, 3 and 6; 4, 5 and 9 take the best of the lower ones
    np.testing.assert_array_equal(
        multi_fidelity_best(history, [1, 2, 3, 4, 5, 6, 9]), [0.3, 0.5, 0.4, 0.5, 0.5, 0.1, 0.5]
    )


def test_the_score_to_beat_may_be_negative_and_below_all_fidelities_seen():
    history = History([Result(0, 4, -3.0, 1.0), Result(1, 5, -2.0, 1.0)])
    np.testing.assert_array_equal(multi_fidelity_best(history, [2, 4, 5]), [-2.0, -3.0, -2.0])
    with pytest.raises(PredictionError, match="initial pipeline"):
        multi_fidelity_best(History(), [1])


@pytest.mark.parametrize("best", [0.05, 0.6, 0.9, 0.99])
def test_improvement_of_logits_is_its_integral(best):
    """Also far from the mean, where hardly anything is gained."""
    mean = np.repeat([-2.0, 0.0, 0.5, 2.0], 4)
    std = np.tile([0.05, 0.3, 0.7, 1.5], 4)
    log_gain, probability = improvement(Prediction(mean, std, link="logit"), best)
    z = np.linspace(-12.0, 12.0, 200_001)
    gain = np.maximum(expit(mean[:, None] + std[:, None] * z) - best, 0.0)
    exact = np.trapezoid(gain * norm.pdf(z), z)
    possible = exact > 1e-9
    assert possible.sum() > 4
    np.testing.assert_allclose(np.exp(log_gain)[possible], exact[possible], rtol=3e-3)
    np.testing.assert_allclose(probability, norm.sf((logit(best) - mean) / std))


def test_improvement_of_scores_is_its_closed_form():
    mean, std = np.linspace(-3.0, 4.0, 15), np.linspace(0.1, 2.0, 15)
    log_gain, probability = improvement(Prediction(mean, std), 0.7)
    np.testing.assert_allclose(np.exp(log_gain), closed_form(mean, std, 0.7), rtol=1e-9)
    np.testing.assert_allclose(probability, norm.cdf((mean - 0.7) / std))


@pytest.mark.parametrize("link", ["identity", "logit"])
def test_each_candidate_may_have_an_incumbent_of_its_own(link):
    predicted = Prediction(np.array([0.1, 0.2, 0.3]), np.array([0.5, 0.6, 0.7]), link=link)
    best = np.array([0.2, 0.5, 0.9])
    together = improvement(predicted, best)
    for i in range(3):
        alone = Prediction(predicted.mean[i : i + 1], predicted.std[i : i + 1], link=link)
        np.testing.assert_allclose(
            np.ravel(improvement(alone, float(best[i]))), [part[i] for part in together]
        )


def test_hopeless_logits_gain_nothing_and_are_told_apart_by_their_cost():
    log_gain, probability = improvement(Prediction(np.full(2, -9.0), np.full(2, 0.1), link="logit"), 0.9)
    assert log_gain[0] == log_gain[1] > -np.inf
    assert (probability < 1e-9).all()
    assert np.argmax(log_improvement_per_second(log_gain, np.array([2.0, 1.0]))) == 1


@pytest.mark.parametrize("best", [-5.0, 0.0, 1.0, 7.0])
def test_incumbents_outside_of_the_logit_scale_do_no_harm(best):
    for part in improvement(Prediction(np.zeros(1), np.ones(1), link="logit"), best):
        assert np.isfinite(part).all()


@pytest.mark.parametrize("link", ["identity", "logit"])
@pytest.mark.parametrize(("mean", "std"), [(math.nan, 0.1), (0.5, 0.0), (0.5, math.inf)])
def test_improvement_refuses_unusable_predictions(link, mean, std):
    with pytest.raises(PredictionError):
        improvement(Prediction(np.array([mean]), np.array([std]), link=link), 0.5)


def test_expected_epochs_against_a_simulation():
    epochs, probability, patience = np.array([1.0, 5.0, 20.0, 50.0]), np.array([0.1, 0.9, 0.25, 0.0]), 5.0
    wins = np.random.default_rng(0).uniform(size=(200_000, 4)) < probability
    trained = np.where(wins, epochs, np.minimum(epochs, patience)).mean(axis=0)
    np.testing.assert_allclose(expected_epochs(epochs, probability, patience), trained, atol=0.05)
