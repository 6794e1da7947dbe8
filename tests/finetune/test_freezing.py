import re
from itertools import pairwise

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from models import FAMILIES, build
from qtt.errors import ConfigError
from qtt.finetune.cv.classification.strategies.freezing import freeze, frozen_blocks, layer_groups

FRACTIONS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def _trainable(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("name", FAMILIES)
def test_freezing_is_monotone_and_the_head_always_trains(name: str) -> None:
    """Whatever a share leaves trainable, a smaller share leaves trainable too, for any two shares."""
    model = build(name)
    everything = _trainable(model)
    left = []
    for percent in range(101):
        freeze(model.requires_grad_(True), percent / 100)
        left.append(_trainable(model))
    assert left[0] == everything
    assert all(after <= before for before, after in pairwise(left))
    assert len({len(left[round(100 * fraction)]) for fraction in FRACTIONS}) >= 4
    head = {f"{prefix}.{kind}" for prefix in [model.default_cfg["classifier"]] for kind in ("weight", "bias")}
    assert left[-1] == head


@pytest.mark.parametrize("name", FAMILIES)
def test_frozen_blocks_come_first_in_forward_order(name: str) -> None:
    """Independent of timm's groups: the order in which modules with parameters run."""
    model = build(name)
    freeze(model, 0.4)
    ran: list[bool] = []

    def note(module: nn.Module, _: object) -> None:
        own = [parameter.requires_grad for parameter in module.parameters(recurse=False)]
        ran.extend(own[:1])

    for module in model.modules():
        module.register_forward_pre_hook(note)
    model.eval()(torch.zeros(1, 3, *model.test_size))
    first = ran.index(True)
    assert 0 < first < len(ran)
    assert all(ran[first:])


@pytest.mark.parametrize("name", FAMILIES)
def test_groups_hold_every_parameter_once(name: str) -> None:
    model = build(name)
    groups = layer_groups(model)
    names = [parameter for block in groups.blocks for parameter in block] + list(groups.head)
    assert sorted(names) == sorted(dict(model.named_parameters()))


def test_transformers_by_hand() -> None:
    model = build("test_vit")
    freeze(model, 0.5)  # 7 blocks: stem, then 6 of the trunk; 3.5 rounds up
    frozen = set(dict(model.named_parameters())) - _trainable(model)
    assert {name.split(".")[0] for name in frozen} == {"cls_token", "pos_embed", "patch_embed", "blocks"}
    assert {int(found[1]) for name in frozen if (found := re.match(r"blocks\.(\d+)", name))} == {0, 1, 2}


def test_fractions_of_few_blocks() -> None:
    assert [frozen_blocks(fraction, 5) for fraction in FRACTIONS] == [0, 1, 2, 3, 4, 5]
    assert [frozen_blocks(fraction, 2) for fraction in FRACTIONS] == [0, 0, 1, 1, 2, 2]


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 60))
def test_larger_fractions_freeze_at_least_as_many_blocks(one: float, other: float, count: int) -> None:
    fewer, more = (frozen_blocks(fraction, count) for fraction in sorted((one, other)))
    assert 0 <= fewer <= more <= count
    assert abs(fewer - min(one, other) * count) <= 0.5 + 1e-9
    assert (frozen_blocks(0.0, count), frozen_blocks(1.0, count)) == (0, count)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext"])
def test_nothing_is_computed_backwards_below_the_first_trainable_block(name: str) -> None:
    model = build(name).train()
    freeze(model, 0.6)
    outputs: list[tuple[bool, bool]] = []

    def note(module: nn.Module, _: object, output: torch.Tensor) -> None:
        own = list(module.parameters(recurse=False))
        if own and module is not model:
            outputs.append((own[0].requires_grad, output.requires_grad))

    for module in model.modules():
        module.register_forward_hook(note)
    model(torch.zeros(2, 3, *model.test_size)).sum().backward()
    assert {needs for trains, needs in outputs if not trains} == {False}
    assert {needs for trains, needs in outputs if trains} == {True}
    for parameter_name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, parameter_name


def test_frozen_batch_norms_are_found() -> None:
    model = build("test_resnet")
    every = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert freeze(build("test_resnet"), 0.0) == []
    assert len(freeze(model, 1.0)) == len(every)
    half = build("test_resnet")
    found = freeze(half, 0.4)
    assert 0 < len(found) < len(every)
    assert all(not norm.weight.requires_grad for norm in found)


def test_distilled_models_have_two_heads() -> None:
    model = timm.create_model("deit_tiny_distilled_patch16_224", num_classes=3, depth=2)
    freeze(model, 1.0)
    assert _trainable(model) == {"head.weight", "head.bias", "head_dist.weight", "head_dist.bias"}


def test_models_without_groups_are_refused() -> None:
    with pytest.raises(ConfigError, match="no group_matcher"):
        freeze(nn.Sequential(nn.Linear(2, 2)), 0.5)
