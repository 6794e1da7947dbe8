"""Every model of the shipped hubs, the 24 of the tool paper's Table 4 first, takes every strategy.

On torch's meta device, where tensors have shapes but no numbers and cost nothing, so at full size.
"""

from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from qtt.finetune.cv.classification.mixing import Mixer
from qtt.finetune.cv.classification.model import build_network, build_optimizer
from qtt.finetune.cv.classification.module import ClassificationModule
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.finetune.cv.classification.strategies.bss import BSS
from qtt.finetune.cv.classification.strategies.cotuning import CoTuning, classify
from qtt.finetune.cv.classification.strategies.delta import Delta
from qtt.finetune.cv.classification.strategies.freezing import freeze, layer_groups
from qtt.finetune.cv.classification.strategies.source import Source
from qtt.finetune.cv.classification.strategies.sp import SP
from qtt.finetune.cv.classification.strategies.stoch_norm import StochasticNorm, apply_stochastic_norm
from qtt.hub.model_hub import ModelHub
from qtt.space.hyperparameters import FULL
from qtt.types import ModelCard, TaskInfo

CLASSES, DROP = 5, 0.4
SLOW = ("volo_d5_448", "volo_d5_512")
"""The deepest; volo_d3 and volo_d4 are the same architecture."""
CARDS = [
    pytest.param(card, id=f"{hub}-{card.name}", marks=pytest.mark.slow if card.name in SLOW else ())
    for hub in ("table4", "tiny")
    for card in ModelHub.load(hub).cards
]


@pytest.fixture(scope="module", params=CARDS)
def card(request: pytest.FixtureRequest) -> ModelCard:
    return request.param


@dataclass
class Built:
    """A network with stochastic norms; kinds, names: its modules' types and its state dict's keys before."""

    network: nn.Module
    kinds: dict[str, type[nn.Module]]
    names: list[str]


@pytest.fixture(scope="module")
def built(card: ModelCard, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The card's network as a pipeline builds it; once, for building and running it is these tests' cost."""
    folder = tmp_path_factory.mktemp("none")
    task = TaskInfo(folder, tuple("abcde"[:CLASSES]), models=(card,))
    with torch.device("meta"):
        network = build_network(Recipe(card.name, drop=DROP), FinetuneSettings(pretrained=False), task, 0)
    kinds = {name: type(module) for name, module in network.named_modules()}
    names = list(network.state_dict())
    apply_stochastic_norm(network)
    return Built(network, kinds, names)


@pytest.fixture
def model(built: Built) -> nn.Module:
    """The network with all of its parameters trainable."""
    return built.network.requires_grad_(True)


def _trainable(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def _classifiers(model: nn.Module) -> set[str]:
    """What timm says the classifier is; VOLO has another over its patches."""
    listed = model.default_cfg["classifier"]
    return {listed} if isinstance(listed, str) else set(listed)


def test_layers_are_grouped(model: nn.Module) -> None:
    groups = layer_groups(model)
    assert len(groups.blocks) >= 5
    held = [name for block in (*groups.blocks, groups.head) for name in block]
    assert sorted(held) == sorted(dict(model.named_parameters()))
    assert {name.rpartition(".")[0] for name in groups.head} == _classifiers(model)
    assert {model.get_parameter(name).shape[0] for name in groups.head} == {CLASSES}


def test_freezing_is_monotone(model: nn.Module) -> None:
    left = []
    for percent in range(0, 101, 5):
        freeze(model.requires_grad_(True), percent / 100)
        left.append(_trainable(model))
    assert all(after <= before for before, after in pairwise(left))
    assert left[0] == set(dict(model.named_parameters()))
    assert {name.rpartition(".")[0] for name in left[-1]} == _classifiers(model)
    papers = left[::4]  # 0, .2, .4, .6, .8, 1
    assert len({len(names) for names in papers}) == 6


@dataclass
class Passes:
    """What two forward passes showed, one in training mode with .6 of the blocks frozen and one in eval mode.

    ran: in the order in which modules with parameters of their own ran, whether these train, and whether the
        output takes gradients.
    training_drop, eval_drop: probabilities of all dropout that was active, by module or as a function.
    features, logits: shapes.
    """

    ran: list[tuple[bool, bool]]
    training_drop: list[float]
    eval_drop: list[float]
    features: tuple[int, ...]
    logits: list[tuple[int, ...]]


@pytest.fixture(scope="module")
def passes(card: ModelCard, built: Built) -> Passes:
    """Run the network."""
    network = built.network
    seen = Passes([], [], [], (), [])
    active = seen.training_drop

    def drop(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        active.extend([p] if training and p > 0 else [])
        return x

    def note(module: nn.Module, _: Any, output: Any) -> None:
        own = [parameter.requires_grad for parameter in module.parameters(recurse=False)]
        if own and module is not network:  # the network's own parameters, such as a class token, have no turn
            seen.ran.append((own[0], output.requires_grad))

    images = torch.empty(2, 3, card.input_size, card.input_size, device="meta")
    freeze(network.requires_grad_(True), 0.6)
    hooks = [module.register_forward_hook(note) for module in network.modules()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(functional, "dropout", drop)
        seen.logits.append(tuple(network.train()(images).shape))
        for hook in hooks:
            hook.remove()
        active = seen.eval_drop
        with torch.no_grad():
            maps = network.eval().forward_features(images)
            features = network.forward_head(maps, pre_logits=True)
            seen.features = tuple(features.shape)
            seen.logits.append(tuple(classify(Source(network).classifiers, features).shape))
            seen.logits.append(tuple(network.forward_head(maps).shape))
    return seen


def test_blocks_run_in_the_order_of_freezing(passes: Passes) -> None:
    """And nothing takes gradients below the first that trains. timm's groups do not know when modules run."""
    assert passes.ran == sorted(passes.ran)
    assert {trains for trains, _ in passes.ran} == {False, True}
    assert all(trains == needs for trains, needs in passes.ran)


@pytest.mark.parametrize("layer_decay", [None, 0.65])
def test_optimizers_take_every_parameter_once(model: nn.Module, layer_decay: float | None) -> None:
    freeze(model, 0.2)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for opt in FULL["opt"]:
        recipe = Recipe("m", opt=opt, layer_decay=layer_decay, weight_decay=0.01)
        groups = build_optimizer(recipe, model).param_groups
        held = [names[id(parameter)] for group in groups for parameter in group["params"]]
        assert sorted(held) == sorted(_trainable(model))
        decayed = [parameter for group in groups if group["weight_decay"] for parameter in group["params"]]
        assert decayed
        assert all(parameter.ndim > 1 for parameter in decayed)


def test_layer_decay_is_a_power_of_timms_depth(model: nn.Module) -> None:
    depths = timm.models.group_parameters(model, model.group_matcher(coarse=False), reverse=True)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for group in build_optimizer(Recipe("m", layer_decay=0.75), model).param_groups:
        for parameter in group["params"]:
            depth = max(depths.values()) - depths[names[id(parameter)]]
            assert group["lr_scale"] == pytest.approx(0.75**depth)


def test_dropout_is_active_in_training_alone(passes: Passes) -> None:
    assert set(passes.training_drop) == {DROP}
    assert passes.eval_drop == []


def test_features_are_what_the_classifiers_take(model: nn.Module, passes: Passes) -> None:
    assert passes.features == (2, model.head_hidden_size)
    assert passes.logits == [(2, CLASSES)] * 3


def test_stochastic_norm_takes_every_batch_norm(built: Built) -> None:
    assert list(built.network.state_dict()) == built.names
    for name, module in built.network.named_modules():
        norm = issubclass(built.kinds[name], _BatchNorm)
        assert isinstance(module, built.kinds[name])
        assert isinstance(module, StochasticNorm) == norm
        assert norm or type(module) is built.kinds[name]
    tracked = any("running_mean" in name for name in built.names)
    assert tracked == any(isinstance(module, StochasticNorm) for module in built.network.modules())


@pytest.mark.slow
def test_every_regulariser_and_every_weight_take_part_in_a_step(
    card: ModelCard, model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forwards and backwards with all terms at once; the meta device has no autocast."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    source = Source(deepcopy(model))
    freeze(model.train(), 0.2)
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with torch.device("meta"):
        terms = (
            SP(0.1, weights, [weight.detach() for weight in weights]),
            Delta(0.1, source),
            BSS(0.1),
            CoTuning(1.0, source.classifiers, torch.empty(CLASSES, CLASSES)),
        )
        mixer = Mixer(CLASSES, 0.0, 0.0, 0.0, 0.0)
        optimizer = build_optimizer(Recipe("m"), model)
        module = ClassificationModule(model, optimizer, mixer, card.mean, card.std, terms).to("meta")
        images = torch.empty(2, 3, card.input_size, card.input_size)
        step = module.forward_step(images, torch.empty(2, CLASSES))
    loss = functional.cross_entropy(step.logits, step.targets)
    torch.stack([loss, *(term(step) for term in terms)]).sum().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        parameter.grad = None
