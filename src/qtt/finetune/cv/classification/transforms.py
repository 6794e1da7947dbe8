"""Augmentation of batches of uint8 images, image by image on the CPU; `batch_augment` does the same on a GPU.

The base transform is conservative, for the datasets are small and of any kind: a random crop of most of the
image, resized back, and mirroring only where the user says that it keeps the meaning. The augmentations of
the search space work on single images, as their papers define them.
"""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from qtt.finetune.cv.classification.cache import channels_first
from qtt.finetune.cv.classification.randomness import seeded
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.settings import FinetuneSettings

ASPECT = 10 / 9
"""Random crops have a ratio of width to height between 1 / ASPECT and ASPECT."""

ImageTransform = Callable[[Image.Image], Image.Image]

Transform = Callable[[Tensor, int], Any]
"""Images (b, 3, s, s) uint8 and a seed to what training takes: such images, or images with a plan."""


class Box(NamedTuple):
    """A part of an image, in pixels."""

    left: int
    top: int
    width: int
    height: int


def crop_boxes(count: int, side: int, least_area: float, rng: np.random.Generator) -> list[Box]:
    """Random crops of images of `side` pixels.

    The crop's share of the image's area is uniform in [least_area, 1], its position uniform.
    """
    draws = rng.random((count, 4))
    areas = least_area + (1 - least_area) * draws[:, 0]
    ratios = np.exp(np.log(ASPECT) * (2 * draws[:, 1] - 1))
    widths = np.clip(np.rint(side * np.sqrt(areas * ratios)), 1, side).astype(int)
    heights = np.clip(np.rint(side * np.sqrt(areas / ratios)), 1, side).astype(int)
    lefts = np.floor(draws[:, 2] * (side - widths + 1)).astype(int)
    tops = np.floor(draws[:, 3] * (side - heights + 1)).astype(int)
    return list(map(Box, lefts.tolist(), tops.tolist(), widths.tolist(), heights.tolist()))


def random_crops(images: Tensor, least_area: float, rng: np.random.Generator) -> Tensor:
    """Crop every image at random and resize the crop back; (b, 3, s, s) uint8, changed in place."""
    side = images.shape[-1]
    for index, (left, top, width, height) in enumerate(crop_boxes(len(images), side, least_area, rng)):
        if (width, height) != (side, side):
            crop = images[index : index + 1, :, top : top + height, left : left + width]
            images[index] = functional.interpolate(crop, (side, side), mode="bilinear", antialias=True)[0]
    return images


def random_mirrors(images: Tensor, probability: float, rng: np.random.Generator) -> Tensor:
    """Mirror every image left to right with a probability; changed in place."""
    chosen = torch.from_numpy(np.flatnonzero(rng.random(len(images)) < probability))
    images[chosen] = images[chosen].flip(-1)
    return images


def fill_color(mean: tuple[float, ...]) -> list[int]:
    """The colour (0 to 255) of what a rotation or a shift uncovers."""
    return [round(255 * value) for value in mean]


def image_transform(recipe: Recipe, mean: tuple[float, ...], size: int) -> ImageTransform | None:
    """The augmentation that a recipe asks for, None where it asks for none.

    TrivialAugment (Müller and Hutter 2021) and RandAugment (Cubuk et al. 2020; magnitude out of 31) come from
    torchvision, AutoAugment's policies (Cubuk et al. 2019) from timm.

    mean: colour (0 to 1) of what a rotation or a shift uncovers; size: side of the images in pixels.
    """
    fill = fill_color(mean)
    transform: Any
    if recipe.data_augmentation == "trivial_augment":
        from torchvision.transforms import TrivialAugmentWide

        transform = TrivialAugmentWide(fill=fill)
    elif recipe.data_augmentation == "random_augment":
        from torchvision.transforms import RandAugment

        transform = RandAugment(recipe.ra_num_ops, recipe.ra_magnitude, fill=fill)
    elif recipe.data_augmentation == "auto_augment" and recipe.auto_augment is not None:
        transform = _auto_augment(recipe.auto_augment, tuple(fill), size)
    else:
        return None
    return transform  # type: ignore[no-any-return]


def _auto_augment(name: str, fill: tuple[int, ...], size: int) -> Any:
    """Timm's policy, with shifts that fit the image, as timm's own training sets them."""
    timm: Any = import_module("timm.data.auto_augment")
    policy = timm.auto_augment_policy(name, {"img_mean": fill, "translate_const": round(0.45 * size)})
    for operation in (operation for operations in policy for operation in operations):
        if operation.name == "Posterize":
            operation.level_fn = partial(_at_least_a_bit, operation.level_fn)
    return timm.AutoAugment(policy)


def _at_least_a_bit(bits: Callable[..., tuple[int]], level: float, hparams: Any) -> tuple[int]:
    """Policy v0 posterizes to 0 bits at times: a black image, and an error with today's Pillow."""
    return (max(bits(level, hparams)[0], 1),)


class TrainTransform:
    """Everything that happens to a batch of training images before it is normalised."""

    def __init__(
        self, recipe: Recipe, settings: FinetuneSettings, mean: tuple[float, ...], size: int
    ) -> None:
        self.crop_area = settings.crop_area
        self.hflip = settings.hflip if recipe.hflip is None else recipe.hflip
        self.each = image_transform(recipe, mean, size)

    def __call__(self, images: Tensor, seed: int) -> Tensor:
        """Augment (b, 3, s, s) uint8 in place; the same seed gives the same result in any process."""
        rng = np.random.default_rng(seed)
        if self.crop_area < 1:
            images = random_crops(images, self.crop_area, rng)
        if self.hflip > 0:
            images = random_mirrors(images, self.hflip, rng)
        if self.each is not None:
            with seeded(seed):
                images = _transform_each(images, self.each)
        return images


def _transform_each(images: Tensor, transform: ImageTransform) -> Tensor:
    pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
    return channels_first(np.stack([np.asarray(transform(Image.fromarray(image))) for image in pixels]))
