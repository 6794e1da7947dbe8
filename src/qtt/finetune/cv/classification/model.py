"""A pipeline before its first step: network, frozen layers, parameter groups, optimizer.

Everything that does not depend on time happens here, once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import timm.optim
import torch
from torch import nn

from qtt.finetune.cv.classification.randomness import Stream, derive_seed, seeded
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.finetune.cv.classification.sizes import input_size, size_arguments
from qtt.finetune.cv.classification.strategies.freezing import (
    batch_norms,
    freeze,
    head_parameters,
    layer_groups,
)
from qtt.finetune.cv.classification.strategies.stoch_norm import apply_stochastic_norm
from qtt.support.machine import on_gpu
from qtt.types import ModelCard, TaskInfo

_optim: Any = timm.optim  # does not declare what it exports

FLAGS = ("fused", "foreach", "capturable")
"""How an optimizer computes, in its parameter groups; nothing of what it computes."""

SGD_MOMENTUM = 0.9
"""Momentum of `sgd`, which is timm's: Nesterov's method. `momentum` is the heavy ball with one of its own."""


@dataclass(frozen=True)
class Learner:
    """A network with what trains it.

    frozen_norms: batch norms that must stay in eval mode, and with them their running statistics.
    scaler: loss scaling of half precision, where that is used.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    frozen_norms: tuple[nn.Module, ...]
    scaler: torch.amp.GradScaler | None = None


def build_learner(
    recipe: Recipe, settings: FinetuneSettings, task: TaskInfo, config_id: int, precision: str
) -> Learner:
    """Build a pipeline's network and optimizer; its random parts depend on run seed and config alone."""
    network = build_network(recipe, settings, task, config_id)
    if recipe.stoch_norm:
        apply_stochastic_norm(network)
    frozen_norms = tuple(freeze(network, recipe.frozen_fraction))
    if recipe.freeze_norms:
        frozen_norms = tuple(batch_norms(network))
    network = in_fast_layout(network)
    scaler = torch.amp.GradScaler("cuda") if precision == "16-mixed" else None
    return Learner(
        network, build_optimizer(recipe, network, not on_gpu(settings.device)), frozen_norms, scaler
    )


def build_network(recipe: Recipe, settings: FinetuneSettings, task: TaskInfo, config_id: int) -> nn.Module:
    """The config's timm model with a fresh classifier of the task's classes."""
    with seeded(derive_seed(task.seed, config_id, 0, Stream.MODEL)):
        return _create(task.card(recipe.model), task.num_classes, settings, task, drop_rate=recipe.drop)


def build_plain(card: ModelCard, settings: FinetuneSettings, task: TaskInfo) -> nn.Module:
    """A card's pretrained timm model with a classifier of the task's classes that nothing has trained."""
    with seeded(derive_seed(task.seed, 0, 0, Stream.MODEL)):
        return in_fast_layout(_create(card, task.num_classes, settings, task))


def build_source(card: ModelCard, settings: FinetuneSettings, task: TaskInfo) -> nn.Module:
    """A card's pretrained timm model with the classifier that it was pretrained with."""
    with seeded(0):  # every weight comes from the file
        return in_fast_layout(_create(card, None, settings, task)).to(settings.device)


def _create(
    card: ModelCard, num_classes: int | None, settings: FinetuneSettings, task: TaskInfo, **kwargs: Any
) -> nn.Module:
    from qtt.hub.weights import create_model

    kwargs |= size_arguments(card, input_size(card, settings, task.image_size))
    return create_model(
        card, num_classes, weights_dir=task.weights_dir, pretrained=settings.pretrained, **kwargs
    )


def build_optimizer(recipe: Recipe, network: nn.Module, on_cpu: bool = True) -> torch.optim.Optimizer:
    """The recipe's optimizer over the trainable parameters, as timm understands its name.

    So `sgd` and `adamp` are Nesterov's variants, `momentum` is the heavy ball, `adam` decays weights through
    the gradient and `adamw` apart from it.

    Weight decay leaves out biases, norms, what the model itself excludes, and with `sp_reg` the backbone.
    With layer decay d the group of a block that is k blocks from the head gets `lr_scale` = d ** k, which the
    schedule applies.
    """
    skip = getattr(network, "no_weight_decay", None)
    excluded = skip() if callable(skip) else ()
    if recipe.layer_decay is None:
        groups = _optim.param_groups_weight_decay(network, recipe.weight_decay, no_weight_decay_list=excluded)
    else:
        layer_groups(network)  # refuses models whose layers have no order
        groups = _optim.param_groups_layer_decay(
            network, recipe.weight_decay, no_weight_decay_list=excluded, layer_decay=recipe.layer_decay
        )
    if recipe.sp_reg > 0:
        groups = _decay_head_alone(groups, network)
    options: dict[str, Any] = {}
    if recipe.opt in ("adam", "adamw", "adamp"):
        options["betas"] = recipe.opt_betas
    momentum = recipe.momentum if recipe.opt == "momentum" else SGD_MOMENTUM
    if recipe.opt != "adamp" and on_cpu:
        options["fused"] = (
            True  # one pass over the parameters, where a small model's epoch is mostly overhead
        )
    optimizer: torch.optim.Optimizer = _optim.create_optimizer_v2(
        groups, recipe.opt, lr=recipe.lr, weight_decay=0.0, momentum=momentum, **options
    )
    return optimizer


def with_own_flags(state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """An optimizer's saved state for one that may live on another device: how it computes stays its own.

    What Adam counts its updates with lies where its flags say; a checkpoint of a fused optimizer would put it
    where one that is not fused does not look, and the other way round.
    """
    groups = [
        {**saved, **{flag: own[flag] for flag in FLAGS if flag in own}}
        for saved, own in zip(state["param_groups"], optimizer.param_groups, strict=True)
    ]
    return {**state, "param_groups": groups}


def _decay_head_alone(groups: list[dict[str, Any]], network: nn.Module) -> list[dict[str, Any]]:
    """Parameter groups without the backbone's weight decay, in whose place L2-SP comes."""
    names = head_parameters(network)
    head = {id(parameter) for name, parameter in network.named_parameters() if name in names}
    split: list[dict[str, Any]] = []
    for group in groups:
        decayed = [parameter for parameter in group["params"] if id(parameter) in head]
        spared = [parameter for parameter in group["params"] if id(parameter) not in head]
        if decayed:
            split.append(group | {"params": decayed})
        if spared:
            split.append(group | {"params": spared, "weight_decay": 0.0})
    return split


def in_fast_layout(network: nn.Module) -> nn.Module:
    """Channels last where convolutions do the work, on the CPU too (a third faster for mobile nets).

    A transformer has but one, which cuts the image into patches.
    """
    convolutions = sum(isinstance(module, nn.Conv2d) for module in network.modules())
    return network.to(memory_format=torch.channels_last) if convolutions > 4 else network
