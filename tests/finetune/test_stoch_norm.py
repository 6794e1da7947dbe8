"""Stochastic norm against its definition, and against plain batch norm where both must agree."""

import copy
import math

import pytest
import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from models import FAMILIES, build
from qtt.errors import ConfigError
from qtt.finetune.cv.classification.strategies import stoch_norm
from qtt.finetune.cv.classification.strategies.freezing import freeze
from qtt.finetune.cv.classification.strategies.stoch_norm import StochasticNorm, apply_stochastic_norm

WITH_BATCH_NORM = [
    n for n in ("test_resnet", "test_efficientnet", "test_byobnet", "test_coatnet") if n in FAMILIES
]
CHANNELS = 6
LAYERS = [(nn.BatchNorm1d, ()), (nn.BatchNorm1d, (4,)), (nn.BatchNorm2d, (3, 2)), (nn.BatchNorm3d, (2, 1, 3))]


def _values(*shape: int, seed: int = 0) -> Tensor:
    return 2 + 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _layer(kind: type[nn.Module] = nn.BatchNorm2d, **options: object) -> nn.Module:
    """A layer whose weights and running statistics are those of a trained one."""
    layer = kind(CHANNELS, **options).double()
    start = {"weight": 1, "bias": 2, "running_mean": 3, "running_var": 4}
    for name, tensor in layer.state_dict().items():
        if name in start:
            tensor.copy_(start[name] + 0.1 * torch.arange(CHANNELS))
    return layer


def _stochastic(layer: nn.Module) -> nn.Module:
    model = nn.Sequential(copy.deepcopy(layer))
    apply_stochastic_norm(model)
    return model[0]


def _force(monkeypatch: pytest.MonkeyPatch, chosen: list[bool] | bool) -> None:
    """Which channels the batch normalises, from now on."""

    def draw(count: int, device: torch.device) -> Tensor:
        return torch.full((count,), chosen) if isinstance(chosen, bool) else torch.tensor(chosen)

    monkeypatch.setattr(stoch_norm, "draw_channels", draw)


def _by_hand(layer: nn.Module, x: Tensor, channel: int, by_batch: bool) -> list[float]:
    """The definition, number by number, with the statistics that the layer had before the batch."""
    own = {name: tensor[channel].item() for name, tensor in layer.state_dict().items() if tensor.ndim}
    numbers = x[:, channel].flatten().tolist()
    mean, var = own["running_mean"], own["running_var"]
    if by_batch:
        mean = sum(numbers) / len(numbers)
        var = sum((number - mean) ** 2 for number in numbers) / len(numbers)
    weight, bias = own.get("weight", 1.0), own.get("bias", 0.0)
    return [weight * (number - mean) / math.sqrt(var + layer.eps) + bias for number in numbers]


@pytest.mark.parametrize("chosen", [True, False, [True, False, False, True, False, True]], ids=str)
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(("kind", "shape"), LAYERS)
def test_is_its_definition(
    kind: type[nn.Module],
    shape: tuple[int, ...],
    affine: bool,
    chosen: list[bool] | bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _force(monkeypatch, chosen)
    x = _values(5, CHANNELS, *shape)
    before = _layer(kind, affine=affine)
    y = _stochastic(before)(x)
    for channel in range(CHANNELS):
        by_batch = chosen if isinstance(chosen, bool) else chosen[channel]
        expected = _by_hand(before, x, channel, by_batch)
        torch.testing.assert_close(y[:, channel].flatten(), torch.tensor(expected, dtype=torch.float64))


def test_draws_each_channel_for_itself() -> None:
    """Every channel follows one of the two formulas; which one, torch's seed decides anew in each pass."""
    before, x = _layer(), _values(5, CHANNELS, 3, 2)
    two = [[torch.tensor(_by_hand(before, x, c, b)).double() for b in (False, True)] for c in range(CHANNELS)]

    def outcome(layer: nn.Module) -> list[int]:
        y = layer(x)
        near = [[torch.allclose(y[:, c].flatten(), two[c][b]) for b in (0, 1)] for c in range(CHANNELS)]
        assert all(sum(fits) == 1 for fits in near)
        return [fits.index(True) for fits in near]

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        first = [outcome(_stochastic(before)) for _ in range(200)]
        torch.manual_seed(3)
        assert [outcome(_stochastic(before)) for _ in range(3)] == first[:3]
    assert len({tuple(drawn) for drawn in first}) > 40  # of 64
    heads = torch.tensor(first).sum(0)
    assert (heads - 100).abs().max() < 4.5 * math.sqrt(200 / 4)  # binomial, 4.5 standard deviations


@pytest.mark.parametrize("momentum", [0.1, 0.9, None])
def test_running_statistics_are_plain_batch_norms(momentum: float | None) -> None:
    plain = _layer(momentum=momentum)
    ours = _stochastic(plain)
    for seed in range(5):
        x = _values(4, CHANNELS, 3, 2, seed=seed)
        plain(x)
        ours(x)
    assert list(ours.state_dict()) == list(plain.state_dict())
    assert all(torch.equal(ours.state_dict()[name], tensor) for name, tensor in plain.state_dict().items())
    assert torch.equal(ours.eval()(x), plain.eval()(x))


@pytest.mark.parametrize("chosen", [True, False, [True, False, False, True, False, True]], ids=str)
def test_gradients_are_finite_differences(chosen: list[bool] | bool, monkeypatch: pytest.MonkeyPatch) -> None:
    _force(monkeypatch, chosen)
    layer = _stochastic(_layer())

    def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        fresh = copy.deepcopy(layer)  # each call starts from the same running statistics
        return torch.func.functional_call(fresh, {"weight": weight, "bias": bias}, (x,))

    inputs = (_values(3, CHANNELS, 2, 2), layer.weight.detach().clone(), layer.bias.detach().clone())
    assert torch.autograd.gradcheck(forward, [tensor.requires_grad_() for tensor in inputs])


def test_gradients_flow_through_the_statistics_of_the_batch_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """By running statistics an output depends on its own input; by the batch's, on all of its channel's."""
    chosen = [True, False] * (CHANNELS // 2)
    _force(monkeypatch, chosen)
    before = _layer()
    x = _values(3, CHANNELS, 2, 2).requires_grad_()
    _stochastic(before)(x)[0, :, 0, 0].sum().backward()
    slope = before.weight / (before.running_var + before.eps).sqrt()
    for channel, by_batch in enumerate(chosen):
        gradient = x.grad[:, channel].flatten()
        assert int((gradient != 0).sum()) == (12 if by_batch else 1)
        if not by_batch:
            torch.testing.assert_close(gradient[0], slope[channel])


def test_a_single_value_per_channel_uses_the_running_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    _force(monkeypatch, True)
    before = _layer()
    layer, x = _stochastic(before), _values(1, CHANNELS, 1, 1)
    assert torch.equal(layer(x), before.eval()(x))
    assert torch.equal(layer.running_var, before.running_var)


@pytest.mark.parametrize("name", WITH_BATCH_NORM)
def test_by_the_batch_alone_a_network_is_the_original(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Activations that timm fuses with a norm are kept, bit for bit; in eval mode too."""
    images = torch.rand(4, 3, *build(name).test_size, generator=torch.Generator().manual_seed(0))
    plain, ours = build(name), build(name)
    apply_stochastic_norm(ours)
    apply_stochastic_norm(ours)  # the second time changes nothing
    _force(monkeypatch, True)
    gradients = []
    for model in (plain, ours):
        model.train()(images).square().sum().backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.equal(gradients[1][name], gradient) for name, gradient in gradients[0].items())
    assert torch.equal(ours(images), plain(images))
    assert torch.equal(ours.eval()(images), plain.eval()(images))
    ours.load_state_dict(plain.state_dict())


@pytest.mark.parametrize("name", WITH_BATCH_NORM)
def test_by_running_statistics_alone_a_network_has_frozen_norms(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.rand(4, 3, *build(name).test_size, generator=torch.Generator().manual_seed(0))
    plain, ours = build(name).train(), build(name).train()
    apply_stochastic_norm(ours)
    for module in plain.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
    _force(monkeypatch, False)
    torch.testing.assert_close(ours(images), plain(images))


def test_fused_layers_drop_and_activate(monkeypatch: pytest.MonkeyPatch) -> None:
    _force(monkeypatch, True)
    fused = BatchNormAct2d(CHANNELS, act_layer=nn.SiLU, drop_layer=lambda: nn.Dropout(0.5))
    ours = _stochastic(fused)
    x = _values(4, CHANNELS, 3, 2).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        expected = fused(x)
        torch.manual_seed(0)
        assert torch.equal(ours(x), expected)
    assert isinstance(ours, BatchNormAct2d)
    assert (expected == 0).any()


@pytest.mark.parametrize("name", FAMILIES)
def test_half_of_a_networks_channels_and_nothing_without_batch_norm(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = build(name).train()
    kinds = [type(module) for module in model.modules()]
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    apply_stochastic_norm(model)
    drawn: list[Tensor] = []
    original = stoch_norm.draw_channels

    def draw(count: int, device: torch.device) -> Tensor:
        drawn.append(original(count, device))
        return drawn[-1]

    monkeypatch.setattr(stoch_norm, "draw_channels", draw)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model(torch.zeros(2, 3, *model.test_size))
    assert sorted(len(chosen) for chosen in drawn) == sorted(norm.num_features for norm in norms)
    assert bool(norms) == (name in WITH_BATCH_NORM)
    if norms:
        chosen = torch.cat(drawn).double()
        assert abs(chosen.mean() - 0.5) < 4.5 * 0.5 / math.sqrt(len(chosen))
    else:
        assert [type(module) for module in model.modules()] == kinds


def test_frozen_layers_stay_frozen() -> None:
    plain, ours = build("test_resnet"), build("test_resnet")
    apply_stochastic_norm(ours)
    frozen = freeze(ours, 1.0)
    assert len(frozen) == len(freeze(plain, 1.0)) > 0
    assert all(isinstance(norm, StochasticNorm) for norm in frozen)
    images = torch.rand(2, 3, *ours.test_size, generator=torch.Generator().manual_seed(0))
    ours.train()
    for norm in frozen:
        norm.eval()
    state = torch.get_rng_state()
    assert torch.equal(ours(images), plain.eval()(images))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("chosen", [True, False])
def test_statistics_stay_in_32_bits_under_autocast(chosen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    _force(monkeypatch, chosen)
    model = nn.Sequential(nn.Conv2d(3, CHANNELS, 1), _layer().float())
    plain = copy.deepcopy(model)
    apply_stochastic_norm(model)
    plain[1].train(chosen)
    x = _values(4, 3, 5, 5).float()
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = model(x), plain(x)
    assert ours.dtype == theirs.dtype
    assert torch.equal(ours, theirs)
    assert model[1].running_mean.dtype == torch.float32
    if chosen:
        assert torch.equal(model[1].running_var, plain[1].running_var)


def test_memory_format_is_kept() -> None:
    x = _values(4, CHANNELS, 3, 2).contiguous(memory_format=torch.channels_last).requires_grad_()
    y = _stochastic(_layer())(x)
    assert y.is_contiguous(memory_format=torch.channels_last)
    y.sum().backward()
    assert x.grad.is_contiguous(memory_format=torch.channels_last)


def test_layers_without_running_statistics_are_left_alone() -> None:
    model = nn.Sequential(nn.BatchNorm2d(2, track_running_stats=False))
    apply_stochastic_norm(model)
    assert type(model[0]) is nn.BatchNorm2d


def test_other_kinds_of_batch_norm_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"does not know SyncBatchNorm.* in '0'"):
        apply_stochastic_norm(nn.Sequential(nn.SyncBatchNorm(2)))
