import numpy as np
import pytest
import torch

from qtt.errors import PredictionError
from qtt.predictors.base import SearchTask
from qtt.predictors.encoders import Inputs
from qtt.predictors.performance import DeepKernelGP, gpytorch
from qtt.runs.history import History
from qtt.testing import METAFEATURES, SyntheticCurves, SyntheticSpace
from qtt.types import Candidates, Result, Trial

SPACE = SyntheticSpace()
TASK = SearchTask(SPACE.sample(40, 0), METAFEATURES, SPACE.options)


def observed(epochs, curves=None):
    """History of a search that trained pipeline i for `epochs[i]` epochs."""
    curves = curves or SyntheticCurves()
    history = History()
    for i, last in epochs.items():
        for result in curves.results(Trial(i, TASK.candidates.configs[i], last)):
            history.add(result)
    return history


def fitted(history, task=TASK, **settings):
    predictor = DeepKernelGP(**settings)
    predictor.setup(task)
    predictor.condition(history)
    return predictor


def test_posterior_and_likelihood_against_gpytorch():
    predictor = fitted(observed({0: 3, 5: 2, 7: 1, 9: 4}))
    model, x, y = predictor._model, predictor._x, predictor._y
    query = Inputs.of(predictor._points().queries(predictor._curves, [0, 5, 20], [4, 3, 1]), 0.4, 0.2)

    class Dense(gpytorch.models.ExactGP):
        def forward(self, index):
            index = index.squeeze(-1).long()
            everything = Inputs(
                *(torch.cat([getattr(x, n), getattr(query, n)]) for n in Inputs.__dataclass_fields__)
            )
            covariance = model.covariance(everything, everything)[index][:, index]
            return gpytorch.distributions.MultivariateNormal(model.mean(everything)[index], covariance)

    n, m = len(y), 3
    noise = model.power(model.noise, x).square().detach() + 1e-8
    index = torch.arange(n + m, dtype=torch.float64)
    likelihood = gpytorch.likelihoods.FixedNoiseGaussianLikelihood(noise)
    exact = Dense(index[:n], y, likelihood)
    likelihood_value = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, exact)(exact(index[:n]), y)
    constant = 0.5 * np.log(2 * np.pi)
    assert model.loss(x, y).item() == pytest.approx(-likelihood_value.item() - constant, rel=1e-4)

    exact.eval()
    likelihood.eval()
    with torch.no_grad(), gpytorch.settings.skip_posterior_variances(False):
        expected = exact(index[n:])
        mean, variance = model.posterior(x, y, query)
    torch.testing.assert_close(mean, expected.mean, rtol=1e-4, atol=1e-5)
    query_noise = model.power(model.noise, query).square().detach()
    torch.testing.assert_close(variance, expected.variance + query_noise, rtol=1e-3, atol=1e-5)


def test_predictions_are_a_function_of_seed_and_observations():
    history = observed({0: 3, 5: 2, 7: 1})
    ids, epochs = [0, 5, 7, 8, 9], [4, 3, 2, 1, 1]
    one = fitted(history).predict(ids, epochs)
    later = fitted(observed({3: 5, 4: 2}))
    later.condition(history)
    again = later.predict(ids, epochs)
    np.testing.assert_array_equal(one.mean, again.mean)
    np.testing.assert_array_equal(one.std, again.std)
    other = SearchTask(TASK.candidates, METAFEATURES, SPACE.options, seed=1)
    assert not np.array_equal(fitted(history, other).predict(ids, epochs).mean, one.mean)


def test_drawing_weights_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    fitted(observed({0: 1}))
    torch.testing.assert_close(torch.rand(2), expected)


def test_predictions_move_with_the_scores():
    history = observed({0: 3, 5: 2, 7: 1})
    moved = History(Result(r.config_id, r.fidelity, r.score - 70, r.cost) for r in history)
    one, other = (fitted(h).predict([0, 5, 9], [4, 3, 1]) for h in (history, moved))
    np.testing.assert_allclose(other.mean, one.mean - 70, rtol=1e-6)
    np.testing.assert_allclose(other.std, one.std, rtol=1e-6)


def test_a_curve_is_expected_to_go_on_with_less_doubt_than_a_fresh_one_starts():
    history = observed({0: 10, 5: 8, 7: 1, 12: 1, 20: 1})
    predicted = fitted(history).predict([0, 5, 30], [11, 9, 1])
    last = [history.curve(0)[-1].score, history.curve(5)[-1].score]
    np.testing.assert_allclose(predicted.mean[:2], last, atol=0.1)
    assert (predicted.std[:2] < 0.5 * predicted.std[2]).all()


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_predictions_of_next_epochs_are_calibrated_and_beat_persistence(noise):
    curves = SyntheticCurves(noise=noise)
    epochs = {i: 1 + i % 6 for i in range(24)}
    predictor = fitted(observed(epochs, curves))
    predicted = predictor.predict(list(epochs), [last + 1 for last in epochs.values()])
    configs = TASK.candidates.configs
    truth = np.array([curves.score(configs[i], last + 1) for i, last in epochs.items()])
    persistent = np.array([curves.score(configs[i], last) for i, last in epochs.items()])
    errors = predicted.mean - truth
    assert np.sqrt((errors**2).mean()) < np.sqrt(((persistent - truth) ** 2).mean())
    assert np.mean(np.abs(errors) < 2 * predicted.std) > 0.8


@pytest.mark.parametrize("name", ["model", "lr", "opt"])
def test_what_distinguished_seen_pipelines_is_expected_of_unseen_ones(name):
    options = SPACE.options[name]
    good = {options[0], options[1]} if name == "lr" else {options[0]}
    configs = TASK.candidates.configs
    score = [0.8 if config[name] in good else 0.2 for config in configs]
    predictor = fitted(History(Result(i, 1, score[i], 1.0) for i in range(20)))
    unseen = range(20, 40)
    mean = predictor.predict(unseen, [1] * 20).mean
    better = [m for i, m in zip(unseen, mean, strict=True) if score[i] == 0.8]
    worse = [m for i, m in zip(unseen, mean, strict=True) if score[i] == 0.2]
    assert np.mean(better) > np.mean(worse) + 0.05


@pytest.mark.parametrize("scores", [[0.0], [-5.0], [0.25] * 6, [0.0, 1e6], [1e-12, 2e-12]])
def test_odd_scores_give_usable_predictions(scores):
    history = History(Result(i, 1, score, 1.0) for i, score in enumerate(scores))
    predicted = fitted(history).predict([0, 10], [2, 1])
    assert np.isfinite(predicted.mean).all()
    assert (predicted.std > 0).all()


def test_repeated_pipelines_have_a_usable_covariance():
    config = TASK.candidates.configs[0]
    twins = SearchTask(Candidates((config,) * 30, SPACE.cards), METAFEATURES, SPACE.options)
    history = History(Result(i, 1, 0.5, 1.0) for i in range(29))
    assert fitted(history, twins).predict([29], [1]).mean[0] == pytest.approx(0.5, abs=1e-3)


def test_a_long_search_conditions_on_a_bounded_support():
    history = observed(dict.fromkeys(range(8), 50))
    predictor = fitted(history, max_observations=100)
    assert len(predictor._y) == 100
    assert np.isfinite(predictor.predict([10], [1]).mean).all()


def test_without_observations_the_prior_speaks_and_without_a_task_nothing_does():
    predictor = DeepKernelGP()
    with pytest.raises(PredictionError, match="setup"):
        predictor.predict([0], [1])
    predictor.setup(TASK)
    predicted = predictor.predict([0, 1], [1, 1])
    assert (predicted.std > 0).all()
    top1 = [TASK.candidates.card(i).top1 for i in (0, 1)]
    assert np.argsort(top1).tolist() == np.argsort(predicted.mean).tolist() or top1[0] == top1[1]


@pytest.mark.parametrize("config", [{"model": "small"}, {"lr": 0.1}])
def test_spaces_with_a_single_pipeline_work(config):
    task = SearchTask(Candidates((config,), SPACE.cards[:1]))
    predictor = fitted(History([Result(0, 1, 0.5, 1.0)]), task)
    assert predictor.predict([0], [2]).mean[0] == pytest.approx(0.5, abs=0.1)
