"""A pipeline before its first step: network, frozen layers, parameter groups, optimizer.

Everything that does not depend on time happens here, once.
"""

from dataclasses import dataclass
from typing import Any

import timm.optim
import torch
from torch import nn

from qtt.finetune.cv.classification.randomness import Stream, derive_seed, seeded
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.finetune.cv.classification.strategies.freezing import freeze, layer_groups
from qtt.types import ModelCard, TaskInfo

_optim: Any = timm.optim  # does not declare what it exports

SGD_MOMENTUM = 0.9
"""Momentum of `sgd`, which is timm's: Nesterov's method. `momentum` is the heavy ball with one of its own."""


@dataclass(frozen=True)
class Learner:
    """A network with what trains it.

    frozen_norms: batch norms that must stay in eval mode.
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
    frozen_norms = tuple(freeze(network, recipe.frozen_fraction))
    if _is_convolutional(network):  # faster on the CPU too: a third for mobile nets
        network = network.to(memory_format=torch.channels_last)
    scaler = torch.amp.GradScaler("cuda") if precision == "16-mixed" else None
    return Learner(network, build_optimizer(recipe, network, settings.device == "cpu"), frozen_norms, scaler)


def build_network(recipe: Recipe, settings: FinetuneSettings, task: TaskInfo, config_id: int) -> nn.Module:
    """The config's timm model with a fresh classifier of the task's classes."""
    from qtt.weights import create_model

    with seeded(derive_seed(task.seed, config_id, 0, Stream.MODEL)):
        return create_model(
            task.card(recipe.model),
            task.num_classes,
            weights_dir=task.weights_dir,
            pretrained=settings.pretrained,
            drop_rate=recipe.drop,
        )


def build_optimizer(recipe: Recipe, network: nn.Module, on_cpu: bool = True) -> torch.optim.Optimizer:
    """The recipe's optimizer over the trainable parameters, as timm understands its name.

    So `sgd` and `adamp` are Nesterov's variants, `momentum` is the heavy ball, `adam` decays weights through
    the gradient and `adamw` apart from it.

    Weight decay leaves out biases, norms, and what the model itself excludes. With layer decay d the group of
    a block that is k blocks from the head gets `lr_scale` = d ** k, which the schedule applies.
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


def input_size(card: ModelCard, settings: FinetuneSettings) -> int:
    """Side in pixels of the images that a model gets."""
    if card.fixed_input_size or settings.image_size is None:
        return card.input_size
    return settings.image_size


def _is_convolutional(network: nn.Module) -> bool:
    """Whether convolutions do the work: a transformer has one, which cuts the image into patches."""
    return sum(isinstance(module, nn.Conv2d) for module in network.modules()) > 4
