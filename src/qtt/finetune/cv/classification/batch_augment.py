"""Augmentation of whole batches on the device that trains: drawn on the CPU, done on a GPU.

The loader hands over the images as they are with a plan of what is to happen to them; both are moved to the
device together. The plan is a function of the batch's seed: the same in any process and for any device.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qtt.finetune.cv.classification.batch_operations import NAMES, OPERATIONS, crop
from qtt.finetune.cv.classification.batch_policies import (
    VALUES,
    Policy,
    Round,
    auto_augment,
    rand_augment,
    trivial_augment,
)
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.finetune.cv.classification.transforms import Box, crop_boxes, fill_color, image_transform

PIXELS = 2**21
"""At most so many go through an operation at once; intermediate results take some 200 bytes for each."""


@dataclass(frozen=True)
class PlannedImages:
    """A batch before its augmentation.

    images: (b, 3, s, s) uint8.
    boxes: (b, 2, 4) float32 of `batch_operations.crop`; None: images stay whole.
    order: (m,) int64, which image each operation is for, and values (m, 7) float64, with what.
    steps: operations in turn, each with the range of `order` and `values` that it is for.
    fill: (3,) uint8, colour of what a rotation or shift uncovers.
    """

    images: Tensor
    boxes: Tensor | None
    order: Tensor
    values: Tensor
    steps: tuple[tuple[str, int, int], ...]
    fill: Tensor

    def augmented(self) -> Tensor:
        """The images after all that is planned, (b, 3, s, s) uint8; nothing waits for the device."""
        images = torch.empty_like(self.images) if self.boxes is not None else self.images.clone()
        side = images.shape[-1]
        if self.boxes is not None:
            for first, last in _chunks(0, len(images), side):
                images[first:last] = crop(self.images[first:last], self.boxes[first:last])
        for name, start, stop in self.steps:
            for first, last in _chunks(start, stop, side):
                chosen = self.order[first:last]
                result = OPERATIONS[name](images.index_select(0, chosen), self.values[first:last], self.fill)
                images.index_copy_(0, chosen, result)
        return images

    def to(self, device: torch.device) -> Self:
        """All tensors on a device, without waiting for them where they are pinned."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Self:
        """All tensors in memory that a GPU reads while others work; a loader asks for that."""
        return self._each(Tensor.pin_memory)

    def share_memory_(self) -> Self:
        """All tensors in memory that processes share; a worker hands them over so."""
        return self._each(Tensor.share_memory_)

    def _each(self, function: Callable[[Tensor], Tensor]) -> Self:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        tensors: dict[str, Any] = {
            name: function(value) for name, value in values.items() if isinstance(value, Tensor)
        }
        return replace(self, **tensors)


class BatchTransform:
    """Plans what `TrainTransform` does, with the same crops and mirrors for the same seed.

    Automatic augmentations are the same in distribution; the libraries draw theirs image by image.
    """

    def __init__(
        self, recipe: Recipe, settings: FinetuneSettings, mean: tuple[float, ...], size: int
    ) -> None:
        self.crop_area = settings.crop_area
        self.hflip = settings.hflip if recipe.hflip is None else recipe.hflip
        self.fill = torch.tensor(fill_color(mean), dtype=torch.uint8)
        self.policy = policy_of(recipe, mean, size)

    def __call__(self, images: Tensor, seed: int) -> PlannedImages:
        """Images (b, 3, s, s) uint8 with their plan; the same seed gives the same plan in any process."""
        count, side = len(images), images.shape[-1]
        rng = np.random.default_rng(seed)
        boxes = [Box(0, 0, side, side)] * count
        if self.crop_area < 1:
            boxes = crop_boxes(count, side, self.crop_area, rng)
        mirrored = rng.random(count) < self.hflip if self.hflip > 0 else np.zeros(count, dtype=bool)
        moved = _positions(boxes, mirrored, side) if self.crop_area < 1 or self.hflip > 0 else None
        rounds = [] if self.policy is None else self.policy.draw(count, rng)
        return PlannedImages(images, moved, *_grouped(rounds), fill=self.fill)


def policy_of(recipe: Recipe, mean: tuple[float, ...], size: int) -> Policy | None:
    """The augmentation that a recipe asks for, None where it asks for none; see `image_transform`."""
    if recipe.data_augmentation == "trivial_augment":
        return trivial_augment(size)
    if recipe.data_augmentation == "random_augment":
        return rand_augment(recipe.ra_num_ops, recipe.ra_magnitude, size)
    timm: Any = image_transform(recipe, mean, size)
    return None if timm is None else auto_augment(timm.policy, size)


def _positions(boxes: list[Box], mirrored: NDArray[np.bool_], side: int) -> Tensor:
    """Boxes as `crop` takes them: an output pixel's centre lies where it does in an enlarged crop."""
    left, top, width, height = np.array(boxes, dtype=np.float64).T
    rows = []
    for start, length, backwards in (
        (left, width, mirrored),
        (top, height, np.zeros(len(boxes), dtype=bool)),
    ):
        step = length / side
        first = start + step / 2 - 0.5
        at = np.where(backwards, first + (side - 1) * step, first)
        rows.append(np.stack([at, np.where(backwards, -step, step), start, start + length - 1], 1))
    return torch.from_numpy(np.stack(rows, 1).astype(np.float32))


def _grouped(rounds: list[Round]) -> tuple[Tensor, Tensor, tuple[tuple[str, int, int], ...]]:
    """`order`, `values` and `steps` of a plan: every round operation by operation."""
    order, values, steps, done = [np.zeros(0, dtype=np.int64)], [np.zeros((0, VALUES))], [], 0
    for drawn in rounds:
        for position, name in enumerate(NAMES):
            chosen = np.flatnonzero(drawn.operations == position)
            if len(chosen):
                order.append(chosen)
                values.append(drawn.values[chosen])
                steps.append((name, done, done + len(chosen)))
                done += len(chosen)
    return torch.from_numpy(np.concatenate(order)), torch.from_numpy(np.concatenate(values)), tuple(steps)


def _chunks(start: int, stop: int, side: int) -> Iterator[tuple[int, int]]:
    size = max(PIXELS // side**2, 1)
    for first in range(start, stop, size):
        yield first, min(first + size, stop)
