import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from safetensors.torch import save_file

from qtt.errors import ArtifactError, ConfigError, PredictionError
from qtt.optimizers.quick import QuickTune
from qtt.predictors.base import SearchTask
from qtt.predictors.features import FeatureSpec
from qtt.predictors.paper import PaperPerformance
from qtt.predictors.paper_cost import PaperCost
from qtt.predictors.paper_finetuning import Refit, RefitPlan
from qtt.predictors.paper_network import (
    PaperCostNetwork,
    PaperEncoder,
    PaperGP,
    PaperInputs,
    paper_network,
    paper_spec,
)
from qtt.runs.history import History
from qtt.space.hyperparameters import CONDITIONS
from qtt.space.search_space import FULL
from qtt.testing import METAFEATURES, SyntheticCurves, SyntheticSpace
from qtt.testing.synthetic import CARDS
from qtt.types import Candidates, Result, Status, Trial

SPACE = SyntheticSpace()
TASK = SearchTask(SPACE.sample(40, 0), METAFEATURES, SPACE.options)
SHORT = {"early": 2, "early_steps": 20, "steps": 5, "every": 1, "patience": 6}


def observed(epochs):
    """History of a search that trained pipeline i for `epochs[i]` epochs."""
    curves = SyntheticCurves()
    trials = [Trial(i, TASK.candidates.configs[i], last) for i, last in epochs.items()]
    return History(result for trial in trials for result in curves.results(trial))


def fitted(kind, history, task=TASK, **settings):
    predictor = kind(**SHORT | settings)
    predictor.setup(task)
    predictor.condition(history)
    return predictor


def predictions(predictor):
    """Of three pipelines, at epoch 5 or of its next epoch."""
    ids = [0, 5, 9]
    return (
        predictor.predict(ids) if isinstance(predictor, PaperCost) else predictor.predict(ids, [5] * 3).mean
    )


def points(spec, n, epochs=50, seed=1):
    """Random inputs, all of them not zero, with every epoch known."""
    generator = torch.Generator().manual_seed(seed)
    widths = [spec.width(group) for group in ("pipeline", "model", "task")]
    static = [torch.randn(n, width, generator=generator) for width in widths]
    budget = torch.rand(n, generator=generator) + 0.1
    return PaperInputs(*static, budget, torch.rand(n, epochs, generator=generator), torch.ones(n, epochs))


@pytest.fixture(scope="module")
def spec():
    options = {"model": tuple(card.name for card in CARDS), **FULL}
    return FeatureSpec.from_options(options, CARDS, conditional=CONDITIONS)


@pytest.fixture
def artifact(tmp_path):
    """A folder of random weights for the synthetic space."""
    spec = paper_spec(TASK, None)
    networks = {"performance": paper_network(PaperGP, spec, None, 5)}
    networks["cost"] = paper_network(PaperCostNetwork, spec, None, 6)
    state = {f"{n}.{key}": value for n, part in networks.items() for key, value in part.state_dict().items()}
    save_file(state, tmp_path / "paper.safetensors")
    (tmp_path / "features.json").write_text(spec.to_json())
    return tmp_path


@torch.no_grad()
def test_every_input_column_moves_the_output(spec):
    torch.manual_seed(0)
    encoder = PaperEncoder(spec)
    x = points(spec, 1)
    before = encoder(x)
    for name in ("pipeline", "model", "task", "budget", "curve"):
        values = getattr(x, name)
        for column in range(values.shape[-1]):
            moved = values.clone()
            moved[..., column] += 3.0
            assert not torch.equal(encoder(x._replace(**{name: moved})), before), f"{name} {column} is dead"


@torch.no_grad()
def test_the_future_is_masked(spec):
    torch.manual_seed(0)
    encoder = PaperEncoder(spec)
    x = points(spec, 3)
    known = torch.tensor([0, 4, 50])
    x = x._replace(seen=(torch.arange(50) < known.unsqueeze(1)).float())
    changed = x._replace(curve=torch.where(x.seen > 0, x.curve, 7.0))
    torch.testing.assert_close(encoder(changed), encoder(x), rtol=0, atol=0)
    alone = PaperInputs(*(values[:2] for values in x))
    torch.testing.assert_close(encoder(alone), encoder(x)[:2])


def test_posterior_and_likelihood_against_dense_algebra(spec):
    torch.manual_seed(0)
    gp = PaperGP(spec)
    x, query = points(spec, 7), points(spec, 4, seed=2)
    scores = torch.linspace(0.1, 0.9, 7, dtype=torch.float64)
    scale, center = gp.scale.double(), gp.center.double()
    units = [part._replace(curve=(part.curve - gp.center) / gp.scale) for part in (x, query)]
    features = torch.cat([gp.encoder(part) for part in units]).double()
    kernel = gp.log_variance.exp() * torch.exp(-0.5 * torch.cdist(features, features) ** 2)
    kernel = scale**2 * (kernel + gp.log_noise.exp() * torch.eye(11))
    prior = (center + scale * gp.constant).expand(7)
    distribution = torch.distributions.MultivariateNormal(prior, kernel[:7, :7])
    assert gp.loss(x, scores).item() == pytest.approx(-distribution.log_prob(scores).item() / 7, rel=1e-5)
    weights = torch.linalg.solve(kernel[:7, :7], kernel[:7, 7:]).T
    mean, std = gp.posterior(x, scores, query)
    torch.testing.assert_close(mean, prior[:4] + weights @ (scores - prior), rtol=1e-4, atol=1e-6)
    variance = (kernel[7:, 7:] - weights @ kernel[:7, 7:]).diagonal()
    torch.testing.assert_close(std, variance.sqrt(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", [PaperPerformance, PaperCost])
def test_predictions_are_a_function_of_seed_and_observations(kind):
    history = observed({0: 3, 5: 2, 7: 4})
    results = list(history)
    step_by_step = fitted(kind, observed({3: 5}))
    for k in range(1, len(results) + 1):
        step_by_step.condition(History(results[:k]))
    at_once = predictions(fitted(kind, history))
    np.testing.assert_array_equal(predictions(step_by_step), at_once)
    other = SearchTask(TASK.candidates, METAFEATURES, SPACE.options, seed=1)
    assert not np.array_equal(predictions(fitted(kind, history, other)), at_once)


def test_observations_change_the_next_prediction():
    before = fitted(PaperPerformance, observed({0: 1, 5: 2}))
    after = fitted(PaperPerformance, History([*observed({0: 1, 5: 2}), Result(0, 2, 0.95, 1.0)]))
    assert after.predict([0], [3]).mean[0] > before.predict([0], [3]).mean[0] + 0.05
    assert not np.isclose(after.predict([9], [1]).mean, before.predict([9], [1]).mean, rtol=1e-6)


def test_scores_are_learned_without_finetuning_and_better_with_it():
    epochs = {i: 1 + i % 5 for i in range(20)}
    history = observed(epochs)
    truth = [SyntheticCurves().score(TASK.candidates.configs[i], last + 1) for i, last in epochs.items()]
    errors = []
    for steps in (0, 100):
        predictor = fitted(PaperPerformance, history, early_steps=steps, steps=0, patience=5)
        predicted = predictor.predict(list(epochs), [last + 1 for last in epochs.values()])
        errors.append(float(np.abs(predicted.mean - truth).mean()))
    assert errors[1] < errors[0] < np.abs(np.mean(truth) - truth).mean()


def test_costs_are_positive_seconds_and_learned_from_observed_ones():
    assert (fitted(PaperCost, History()).predict(range(40)) > 0).all()
    seconds = [SyntheticCurves().seconds(config) for config in TASK.candidates.configs]
    history = History(Result(i, 1, 0.5, seconds[i]) for i in range(30))
    settings = {"early": 30, "early_steps": 300, "learning_rate": 0.01}
    errors = [
        np.abs(np.log(fitted(PaperCost, told, **settings).predict(range(30, 40)) / seconds[30:])).mean()
        for told in (History(), history)
    ]
    assert errors[1] < 0.5 * errors[0]
    for extreme in (1e-9, 1e9):
        costs = fitted(PaperCost, History([Result(0, 1, 0.5, extreme)])).predict(range(40))
        assert np.isfinite(costs).all()
        assert (costs > 0).all()


def test_when_the_networks_are_finetuned():
    plan = RefitPlan(early=2, early_steps=200, steps=50, every=2, patience=3, learning_rate=0.1)
    scores = [0.1, 0.2, 0.3, 0.2, 0.2, 0.1, 0.2]
    results = [Result(i, 1, score, 1.0) for i, score in enumerate(scores)]
    results.insert(1, Result(9, 1, math.nan, 1.0, Status.FAILED))
    expected = {
        0: [],
        1: [Refit(1, 200)],
        2: [Refit(1, 200)],
        3: [Refit(3, 200)],
        4: [Refit(3, 200)],
        5: [Refit(3, 200), Refit(5, 50)],
        6: [Refit(3, 200), Refit(5, 50)],
        7: [Refit(7, 200)],
        8: [Refit(7, 200)],
    }
    assert {k: plan.refits(History(results[:k])) for k in expected} == expected
    with pytest.raises(ConfigError, match="patience"):
        RefitPlan(early=2, early_steps=200, steps=50, every=2, patience=0, learning_rate=0.1)


@pytest.mark.parametrize(("kind", "seed"), [(PaperPerformance, 5), (PaperCost, 6)])
def test_weights_are_read_from_an_artifact(kind, seed, artifact):
    history = observed({0: 3, 5: 2})
    drawn = SearchTask(TASK.candidates, METAFEATURES, SPACE.options, seed=seed)
    for steps in (0, 3):
        settings = {"early_steps": steps, "steps": steps}
        expected = predictions(fitted(kind, history, drawn, **settings))
        from_file = predictions(fitted(kind, history, weights=artifact, **settings))
        np.testing.assert_array_equal(from_file, expected)


def test_an_artifact_serves_other_spaces_and_models(artifact):
    stranger = CARDS[0].__class__("new", "new", "newfamily", params=3.0, input_size=128, macs=0.4)
    configs = ({"model": "new", "lr": 0.02, "opt": "lion"}, {"model": "new", "trivial": True})
    task = SearchTask(Candidates(configs, (stranger,)), METAFEATURES)
    history = History([Result(0, 1, 0.5, 2.0)])
    predicted = fitted(PaperPerformance, history, task, weights=str(artifact)).predict([0, 1], [2, 1])
    assert np.isfinite(predicted.mean).all()
    assert (fitted(PaperCost, history, task, weights=artifact).predict([0, 1]) > 0).all()


@pytest.mark.parametrize("kind", [PaperPerformance, PaperCost])
def test_artifacts_that_cannot_be_used(kind, artifact):
    with pytest.raises(ArtifactError, match=r"nowhere.features\.json cannot be read"):
        kind(artifact / "nowhere").setup(TASK)
    options = {"lr": (0.1, 1.0)}
    (artifact / "features.json").write_text(FeatureSpec.from_options(options).to_json())
    with pytest.raises(ArtifactError, match="size mismatch"):
        kind(artifact).setup(TASK)
    (artifact / "paper.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ArtifactError, match=r"paper\.safetensors holds no weights"):
        kind(artifact).setup(TASK)
    with pytest.raises(PredictionError, match="setup"):
        kind().condition(History())


def test_drawing_weights_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    fitted(PaperPerformance, observed({0: 1}))
    torch.testing.assert_close(torch.rand(2), expected)


@pytest.mark.parametrize("config", [{"model": "small"}, {"lr": 0.1}, {}])
def test_spaces_with_a_single_pipeline_work(config):
    task = SearchTask(Candidates((config,), CARDS[:1]))
    history = History([Result(0, 1, 0.5, 1.0)])
    assert np.isfinite(fitted(PaperPerformance, history, task).predict([0], [2]).mean).all()
    assert (fitted(PaperCost, history, task).predict([0]) > 0).all()


def test_a_long_search_conditions_on_a_bounded_support():
    predictor = fitted(PaperPerformance, observed(dict.fromkeys(range(3), 50)), every=50, max_observations=60)
    assert len(predictor._support(predictor._history)[1]) == 60
    assert np.isfinite(predictor.predict([10], [1]).mean).all()


def test_the_paper_is_one_option_away(artifact):
    weights = [f"optimizer.{part}.weights={artifact}" for part in ("performance", "cost")]
    with initialize_config_dir(str(Path(__file__).parents[2] / "conf"), version_base="1.3"):
        plain = compose("run", ["optimizer=quick_paper"]).optimizer
        fitted_on = compose("run", ["optimizer=quick_paper", *weights]).optimizer
    cold = instantiate(plain)(config_manager=SPACE, seed=4)
    assert vars(cold.performance) == vars(PaperPerformance())
    assert vars(cold.cost) == vars(PaperCost())
    optimizer = instantiate(fitted_on)(config_manager=SPACE, seed=4)
    assert type(optimizer) is QuickTune
    assert optimizer.performance.weights == optimizer.cost.weights == artifact
    assert optimizer.acquisition == "multi_fidelity"
    optimizer.setup(12, METAFEATURES)
    first = optimizer.ask()
    cheapest = optimizer.cost.predict(range(12)).argmin()
    assert (first.config_id, first.fidelity) == (cheapest, 1)
