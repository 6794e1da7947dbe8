import numpy as np
import pytest
import torch

from qtt.errors import ArtifactError
from qtt.metatraining import fit_networks as fitting
from qtt.metatraining.fit_networks import fit_networks
from qtt.predictors.networks import BOUND, Networks

RNG = np.random.default_rng(0)
SHAPES = {
    "center": (4,),
    "scale": (4,),
    "weight1": (3, 4, 5),
    "bias1": (3, 5),
    "weight2": (3, 5, 5),
    "bias2": (3, 5),
    "weight3": (3, 5),
    "bias3": (3,),
}


@pytest.fixture
def networks():
    arrays = {name: RNG.normal(size=shape) for name, shape in SHAPES.items()}
    return Networks(**{**arrays, "scale": np.array([0.5, 1.0, 2.0, 1.0])})


def by_torch(networks, rows):
    """One member after the other, as nn.Sequential."""
    outputs = []
    inputs = torch.as_tensor((rows - networks.center) / networks.scale).nan_to_num(0.0).clamp(-BOUND, BOUND)
    for k in range(len(networks.bias3)):
        layers = [torch.nn.Linear(4, 5), torch.nn.Linear(5, 5), torch.nn.Linear(5, 1)]
        weights = (networks.weight1[k].T, networks.weight2[k].T, networks.weight3[k][None])
        biases = (networks.bias1[k], networks.bias2[k], networks.bias3[k : k + 1])
        for layer, weight, bias in zip(layers, weights, biases, strict=True):
            layer.weight.data, layer.bias.data = torch.as_tensor(weight), torch.as_tensor(bias)
        first, second, last = layers
        member = torch.nn.Sequential(first, torch.nn.SiLU(), second, torch.nn.SiLU(), last)
        outputs.append(member(inputs).detach().numpy()[:, 0])
    return np.mean(outputs, axis=0)


def test_the_forward_pass_is_torchs(networks):
    rows = RNG.normal(size=(50, 4)) * 3.0
    rows[RNG.uniform(size=rows.shape) < 0.2] = np.nan
    np.testing.assert_allclose(networks.predict(rows), by_torch(networks, rows), rtol=1e-10)


def test_an_unknown_number_is_an_average_one(networks):
    rows = RNG.normal(size=(5, 4))
    unknown = rows.copy()
    rows[:, 1], unknown[:, 1] = networks.center[1], np.nan
    np.testing.assert_array_equal(networks.predict(rows), networks.predict(unknown))


def test_foreign_inputs_are_not_extrapolated_to(networks):
    far = networks.center + BOUND * networks.scale
    beyond = networks.center + 1e6 * networks.scale
    np.testing.assert_allclose(networks.predict(far[None]), networks.predict(beyond[None]))


def test_arrays_come_back_in_single_precision(networks):
    tensors = networks.tensors("standing")
    assert {array.dtype for array in tensors.values()} == {np.dtype(np.float32)}
    again, rows = Networks.from_tensors("standing", tensors), RNG.normal(size=(20, 4))
    np.testing.assert_allclose(again.predict(rows), networks.predict(rows), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", list(SHAPES))
def test_a_missing_array_is_named(networks, name):
    tensors = networks.tensors("standing")
    del tensors[f"standing.{name}"]
    with pytest.raises(ArtifactError, match=f"lacks the array 'standing.{name}'"):
        Networks.from_tensors("standing", tensors)


def linear(count, seed):
    rows = np.random.default_rng(seed).normal(size=(count, 5)) * [1, 10, 0.1, 1, 1] + [0, 50, 0, 0, 7]
    return rows, 100.0 + 30.0 * rows[:, 0] - 2.0 * rows[:, 1] + 200.0 * rows[:, 2]


def test_a_linear_function_is_learned(monkeypatch):
    monkeypatch.setattr(fitting, "EPOCHS", 30)
    monkeypatch.setattr(fitting, "BATCH", 128)
    monkeypatch.setattr(fitting, "HIDDEN", 32)
    rows, target = linear(1000, 0)
    networks = fit_networks(rows, target, seed=0)
    new, truth = linear(500, 1)
    assert 1.0 - np.mean((networks.predict(new) - truth) ** 2) / truth.var() > 0.95


def test_fitting_is_a_function_of_the_seed_and_leaves_the_global_generator_alone(monkeypatch):
    monkeypatch.setattr(fitting, "EPOCHS", 2)
    rows, target = linear(300, 0)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    one = fit_networks(rows, target, seed=0, members=2)
    torch.testing.assert_close(torch.rand(2), expected)
    again, other = (fit_networks(rows, target, seed, members=2) for seed in (0, 1))
    for name, array in one.tensors("n").items():
        np.testing.assert_array_equal(array, again.tensors("n")[name])
    assert not np.array_equal(one.weight1, other.weight1)
    assert not np.array_equal(one.weight1[0], one.weight1[1]), "members differ"


def test_columns_without_spread_or_with_gaps_do_no_harm(monkeypatch):
    monkeypatch.setattr(fitting, "EPOCHS", 2)
    rows, target = linear(100, 0)
    rows[:, 3] = 4.0
    rows[::3, 4] = np.nan
    assert np.isfinite(fit_networks(rows, target, seed=0).predict(rows)).all()
