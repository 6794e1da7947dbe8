"""Freezing the first blocks of a pretrained model.

A model's blocks are timm's own layer groups in forward order, the stem first; parameters without a block of
their own (class token, position embedding) belong to the group where timm puts them. The classifier is no
block and always trains.
"""

import math
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from qtt.errors import ConfigError


@dataclass(frozen=True)
class LayerGroups:
    """Names of a model's parameters: the backbone's blocks in forward order, and the classifier."""

    blocks: tuple[tuple[str, ...], ...]
    head: tuple[str, ...]


def layer_groups(model: nn.Module) -> LayerGroups:
    """Group a timm model's parameters as its `group_matcher` says.

    Raises:
        ConfigError: the model has no such matcher.
    """
    from timm.models import group_parameters

    if not hasattr(model, "group_matcher"):
        raise ConfigError(
            f"{type(model).__name__} does not tell its layers apart (no group_matcher), "
            "so it can be neither frozen in part nor given layer-wise learning rates."
        )
    head = head_parameters(model)
    matcher: Any = model.group_matcher
    groups = group_parameters(model, matcher(coarse=False))
    blocks = (tuple(name for name in names if name not in head) for _, names in sorted(groups.items()))
    return LayerGroups(tuple(block for block in blocks if block), tuple(sorted(head)))


def head_parameters(model: nn.Module) -> set[str]:
    """Names of the classifier's parameters: of all of them where there are several.

    Distilled models have two; VOLO's second one, over its patches, is named by timm's config alone.
    """
    get_classifier: Any = model.get_classifier
    found = get_classifier()
    modules = list(found) if isinstance(found, list | tuple) else [found]
    config: Any = getattr(model, "default_cfg", {})
    listed = config.get("classifier") or ()
    for name in (listed,) if isinstance(listed, str) else listed:
        modules += [module for path, module in model.named_modules() if path == name]
    mine = {id(parameter) for module in modules for parameter in module.parameters()}
    return {name for name, parameter in model.named_parameters() if id(parameter) in mine}


def frozen_blocks(fraction: float, count: int) -> int:
    """How many of `count` blocks a fraction freezes: the nearest whole number, halves rounded up."""
    return math.floor(fraction * count + 0.5)


def freeze(model: nn.Module, fraction: float) -> list[nn.Module]:
    """Freeze the first share of the blocks; at 0 everything trains, at 1 only the classifier.

    Frozen parameters take no gradient, so nothing is computed backwards below the first trainable block.

    Returns:
        The batch norms that are frozen: they must be kept in eval mode, so that their statistics stay too.
    """
    if fraction == 0:
        return []
    blocks = layer_groups(model).blocks
    frozen = {name for block in blocks[: frozen_blocks(fraction, len(blocks))] for name in block}
    for name, parameter in model.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)
    return [module for module in model.modules() if _is_frozen_norm(module)]


def batch_norms(model: nn.Module) -> list[nn.Module]:
    """All of its batch norms."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


def _is_frozen_norm(module: nn.Module) -> bool:
    """Batch norms keep running statistics; without weights of their own nothing says where they belong."""
    parameters = list(module.parameters(recurse=False))
    return (
        isinstance(module, _BatchNorm) and bool(parameters) and not any(p.requires_grad for p in parameters)
    )
