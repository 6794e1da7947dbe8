"""timm's tiny models as cards and as networks, without pretrained weights."""

from typing import Any

import timm
import torch
from torch import nn

from qtt.types import ModelCard

FAMILIES = (
    "test_vit",
    "test_resnet",
    "test_convnext",
    "test_efficientnet",
    "test_byobnet",
    "test_mambaout",
    "test_vit_relpos",
    "test_coatnet",
)

SOURCE_CLASSES = 10
"""Classes of pretrained weights that tests make themselves."""


def side(name: str) -> int:
    """Side in pixels of the images that tests give to a model: as small as its architecture allows."""
    return 64 if name == "test_coatnet" else 32


def make_card(name: str) -> ModelCard:
    """A card of one of the families."""
    resizes = name in ("test_vit", "test_vit_relpos", "test_coatnet")
    kwargs: tuple[tuple[str, Any], ...] = (("img_size", side(name)),) if resizes else ()
    return ModelCard(name, name, name, params=0.3, input_size=side(name), create_kwargs=kwargs)


def build(name: str, num_classes: int = 3) -> nn.Module:
    """The model with weights of seed 0; `test_size` is the height and width of its images."""
    kwargs = dict(make_card(name).create_kwargs)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = timm.create_model(name, num_classes=num_classes, **kwargs)
    model.test_size = (side(name), side(name))
    return model
