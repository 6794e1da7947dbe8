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
    *filter(timm.is_model, ("test_vit_relpos", "test_coatnet")),
)
"""The oldest timm that qtt works with lacks the last two."""

SOURCE_CLASSES = 10
"""Classes of pretrained weights that tests make themselves."""

TABLE4_FAMILIES: dict[str, dict[str, Any]] = {
    "beit_base_patch16_224": {"img_size": 32, "depth": 5, "embed_dim": 48, "num_heads": 2},
    "deit3_small_patch16_224": {"img_size": 32, "depth": 5, "embed_dim": 48, "num_heads": 2},
    "deit_tiny_distilled_patch16_224": {"img_size": 32, "depth": 5, "embed_dim": 48, "num_heads": 2},
    "dla46x_c": {},
    "edgenext_xx_small": {"depths": (1, 1, 2, 1), "dims": (16, 24, 32, 48)},
    "mobilevit_xxs": {},
    "mobilevitv2_050": {},
    "swinv2_tiny_window8_256": {
        "img_size": 32,
        "window_size": 2,
        "embed_dim": 24,
        "depths": (1, 1, 1, 1),
        "num_heads": (1, 2, 2, 2),
    },
    "volo_d1_224": {"img_size": 32},  # its width and depth are fixed
    "xcit_nano_12_p8_224": {"img_size": 32, "depth": 3, "embed_dim": 32, "num_heads": 2},
}
"""The architectures of Table 4 that timm has no tiny model of, as small as they get; one is distilled."""


def side(name: str) -> int:
    """Side in pixels of the images that tests give to a model: as small as its architecture allows."""
    return 64 if name == "test_coatnet" else 32


def make_card(name: str) -> ModelCard:
    """A card of one of the families."""
    kwargs = dict(TABLE4_FAMILIES.get(name, {}))
    if name in ("test_vit", "test_vit_relpos", "test_coatnet"):
        kwargs["img_size"] = side(name)
    pairs = tuple(sorted(kwargs.items()))
    return ModelCard(name, name, name, params=0.3, input_size=side(name), create_kwargs=pairs)


def build(name: str, num_classes: int = 3) -> nn.Module:
    """The model with weights of seed 0; `test_size` is the height and width of its images."""
    kwargs = dict(make_card(name).create_kwargs)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = timm.create_model(name, num_classes=num_classes, **kwargs)
    model.test_size = (side(name), side(name))
    return model
