"""What timm itself knows of a model: names, preprocessing, size and multiply-adds, without any download."""

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from qtt.errors import ModelHubError, unknown
from qtt.types import ModelCard

_PRETRAINING = (
    ("jft", "jft300m-ns"),
    ("lvd", "lvd"),
    ("webli", "webli"),
    ("laion", "laion"),
    ("in22k", "in21k"),
    ("in21k", "in21k"),
    ("in12k", "in12k"),
    ("dist", "in1k-dist"),
    ("usi", "in1k-dist"),
    ("in1k", "in1k"),
)


def pretraining_of(tag: str) -> str:
    """The pretraining data that a timm tag such as `fb_in22k_ft_in1k` names; the tag itself where unclear."""
    return next((data for part, data in _PRETRAINING if part in tag), tag or "unknown")


def resolve(name: str) -> tuple[str, str]:
    """Architecture and tag of a timm name; deprecated names lead to today's, a missing tag to timm's first.

    Raises:
        ModelHubError: timm knows no such model or no such tag of it.
    """
    from timm.models import get_deprecated_models, get_pretrained_cfg, is_model, list_models

    current = get_deprecated_models().get(name) or name
    arch, _, tag = current.partition(".")
    if not is_model(arch):
        close = get_close_matches(name, [*list_models(), *get_deprecated_models()], n=3)
        hint = f"Did you mean {' or '.join(map(repr, close))}?" if close else "See timm.list_models()."
        raise ModelHubError(f"Unknown timm model '{name}'. {hint}")
    tags = [full.partition(".")[2] for full in list_models(f"{arch}.*", pretrained=True)]
    if tag and tag not in tags:
        raise ModelHubError(unknown(f"pretraining of timm's '{arch}'", tag, tags))
    config = get_pretrained_cfg(current)
    return arch, tag or (config.tag if config else "") or ""


def is_pretraining(name: str) -> bool:
    """Whether `name` is an architecture with one of timm's own pretraining tags."""
    from timm.models import list_models

    return "." in name and name in list_models(f"{name.partition('.')[0]}.*", pretrained=True)


def timm_card(name: str, **create_kwargs: Any) -> ModelCard:
    """The card of any timm model, named as the caller wrote it; `params` without the classifier.

    create_kwargs: of `timm.create_model`; an `img_size` among them is the card's input size.

    Raises:
        ModelHubError: timm knows no such model; the message names close matches.
    """
    from timm.models import get_pretrained_cfg, model_entrypoint

    arch, tag = resolve(name)
    full = f"{arch}.{tag}" if tag else arch
    config = get_pretrained_cfg(full)
    if config is None:
        raise ModelHubError(f"timm has no preprocessing for '{name}'; write a card for it in a YAML hub.")
    card = ModelCard(
        name=name,
        timm_name=full,
        family=model_entrypoint(arch).__module__.rpartition(".")[2],
        params=0.0,
        input_size=create_kwargs.get("img_size", config.input_size[-1]),
        fixed_input_size=config.fixed_input_size,
        pretraining=pretraining_of(tag),
        num_classes=config.num_classes,
        mean=tuple(config.mean),
        std=tuple(config.std),
        interpolation=config.interpolation,
        licence=config.license,
        create_kwargs=tuple(sorted(create_kwargs.items())),
    )
    params, macs = measure(card)
    return replace(card, params=params, macs=macs)


def measure(card: ModelCard) -> tuple[float, float | None]:
    """Size of a card's backbone: (millions of parameters, giga multiply-adds of one image at `input_size`).

    Counted on torch's meta device, so nothing is allocated or computed; the classifier is left out. The
    multiply-adds are those of matrix products and convolutions; None where the model cannot run there.
    """
    import torch
    from timm import create_model
    from torch.utils.flop_counter import FlopCounterMode

    with torch.random.fork_rng(devices=[]), torch.device("meta"), torch.no_grad():
        model = create_model(card.timm_name, pretrained=False, num_classes=0, **dict(card.create_kwargs))
        params = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        counter = FlopCounterMode(display=False)
        try:
            with counter:
                model.eval().requires_grad_(False)(torch.empty(1, 3, card.input_size, card.input_size))
        except RuntimeError:  # an operation without a meta kernel
            return params, None
    return params, counter.get_total_flops() / 2e9


def classifier_size(timm_name: str, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Classes of the head in a weights file with these tensor shapes; 0 for a backbone alone."""
    from timm.models import get_pretrained_cfg

    config: Any = get_pretrained_cfg(timm_name)
    names = config.classifier if config else None
    first = names[0] if isinstance(names, list | tuple) else names
    shape = shapes.get(f"{first}.bias") or shapes.get(f"{first}.weight")
    return shape[0] if shape else 0
