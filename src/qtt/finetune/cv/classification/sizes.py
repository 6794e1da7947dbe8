"""How large the images are that a model gets, and how a model is built for a size that is not its own."""

import logging
import math
from typing import Any

from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.types import ModelCard

log = logging.getLogger(__name__)

STEP = 32
"""Sides are multiples of it: the product of the strides of most networks."""

LEAST = 64
"""Side that the images of a dataset get at least: smaller ones leave deep layers nothing to look at."""

TRIES = 3
"""Sizes that are tried below a bound."""

_largest: dict[str, int | None] = {}


def input_size(card: ModelCard, settings: FinetuneSettings, dataset_size: int | None = None) -> int:
    """Side in pixels of the square images that a model gets.

    dataset_size: median shorter side of the training images, where it is known (`TaskInfo.image_size`).
    """
    bound = settings.max_image_size
    if card.fixed_input_size:
        if bound is None or card.input_size <= bound:
            return card.input_size
        return _bounded(card, bound) or card.input_size
    if settings.image_size is not None:
        size = settings.image_size
    elif dataset_size is None:
        size = card.input_size
    else:
        size = min(max(math.ceil(dataset_size / STEP) * STEP, LEAST), card.input_size)
    return size if bound is None else min(size, bound)


def size_arguments(card: ModelCard, size: int) -> dict[str, Any]:
    """What `timm.create_model` must be told so that the model takes images of this side.

    Nothing where the card's model does already; convolutional networks take any.
    """
    told = dict(card.create_kwargs).get("img_size")
    if size == (card.input_size if told is None else told):
        return {}
    return {"img_size": size} if card.fixed_input_size or told is not None else {}


def _bounded(card: ModelCard, bound: int) -> int | None:
    """The largest side within a bound for which a model of fixed size can be built; None: there is none."""
    key = f"{card} {bound}"
    if key not in _largest:
        _largest[key] = next((size for size in _sides(card, bound) if takes(card, size)), None)
        if _largest[key] is None:
            log.info(
                "%s keeps its %d pixels: timm cannot build it for at most %d.",
                card.name,
                card.input_size,
                bound,
            )
    return _largest[key]


def _sides(card: ModelCard, bound: int) -> list[int]:
    """Sides to try, the largest first: multiples of 32, or of the patches where they do not divide 32."""
    patch = getattr(getattr(_on_meta(card), "patch_embed", None), "patch_size", STEP)
    patch = patch if isinstance(patch, int) else patch[0]
    step = patch if STEP % patch else STEP
    return list(range(bound // step * step, 0, -step))[:TRIES]


def takes(card: ModelCard, size: int) -> bool:
    """Whether timm builds a card's model for images of this side, and fits its pretrained weights to it.

    Tried on torch's meta device, where weights take no memory and layers compute nothing but shapes.
    """
    import torch

    from qtt.hub.weights import fitted, mismatches

    try:
        model = _on_meta(card, img_size=size)
        with torch.device("meta"), torch.no_grad():
            model(torch.empty(1, 3, size, size))
        own, wanted = _on_meta(card).state_dict(), model.state_dict()
        # only what changes its shape is computed with
        state = {
            name: tensor
            if name in wanted and wanted[name].shape == tensor.shape
            else torch.zeros(tensor.shape)
            for name, tensor in own.items()
        }
        return not mismatches(model, fitted(state, model, card))
    except (RuntimeError, TypeError, ValueError, AssertionError, IndexError, KeyError, AttributeError):
        return False


def _on_meta(card: ModelCard, **kwargs: Any) -> Any:
    import timm
    import torch

    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        arguments = {**dict(card.create_kwargs), **kwargs}
        model = timm.create_model(card.timm_name, pretrained=False, num_classes=card.num_classes, **arguments)
    return model.eval()
