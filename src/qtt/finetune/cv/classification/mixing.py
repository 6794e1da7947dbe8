"""Mixup (Zhang et al. 2018), CutMix (Yun et al. 2019) and label smoothing on a batch.

Notation: b images, k classes; λ the share of the image that stays its own.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from qtt.finetune.cv.classification.recipe import Recipe


def soft_labels(labels: Tensor, num_classes: int, smoothing: float) -> Tensor:
    """Class probabilities (b, k): 1 − ε + ε/k for the label, ε/k for the others."""
    off = smoothing / num_classes
    targets = torch.full((len(labels), num_classes), off, device=labels.device)
    return targets.scatter_(1, labels[:, None], 1 - smoothing + off)


def mix(images: Tensor, targets: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Mixup: λ · x + (1 − λ) · x reversed along the batch, and the same of the targets."""
    return images.lerp(images.flip(0), 1 - share), targets.lerp(targets.flip(0), 1 - share)


def cut_and_mix(
    images: Tensor, targets: Tensor, share: float, centre: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """CutMix: a box of 1 − λ of the area, centred at `centre` (0 to 1), comes from the batch reversed.

    The box is clipped at the border, and targets are mixed by the area that it really covers.
    """
    height, width = images.shape[-2:]
    (top, bottom), (left, right) = (
        _extent(side, at, (1 - share) ** 0.5) for side, at in zip((height, width), centre, strict=True)
    )
    mixed = images.clone()
    mixed[..., top:bottom, left:right] = images.flip(0)[..., top:bottom, left:right]
    foreign = (bottom - top) * (right - left) / (height * width)
    return mixed, targets.lerp(targets.flip(0), foreign)


def _extent(side: int, centre: float, ratio: float) -> tuple[int, int]:
    length, middle = round(side * ratio), int(side * centre)
    start = middle - length // 2
    return max(start, 0), min(start + length, side)


@dataclass(frozen=True)
class Mixer:
    """Targets of a batch, mixed with probability `prob`: by mixup or cutmix, at equal odds if both are on."""

    num_classes: int
    mixup: float
    cutmix: float
    prob: float
    smoothing: float

    @classmethod
    def of(cls, recipe: Recipe, num_classes: int) -> "Mixer":
        """What a recipe asks for; a Beta parameter of 0 is off."""
        return cls(num_classes, recipe.mixup, recipe.cutmix, recipe.mixup_prob, recipe.smoothing)

    def __call__(self, images: Tensor, labels: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Float images (b, 3, s, s) and labels (b,) to mixed images and targets (b, k), rows summing to 1."""
        targets = soft_labels(labels, self.num_classes, self.smoothing)
        methods = [name for name, alpha in (("mixup", self.mixup), ("cutmix", self.cutmix)) if alpha > 0]
        if not methods or rng.random() >= self.prob:
            return images, targets
        method = methods[rng.integers(len(methods))]
        if method == "mixup":
            return mix(images, targets, float(rng.beta(self.mixup, self.mixup)))
        row, column = rng.random(2)
        return cut_and_mix(images, targets, float(rng.beta(self.cutmix, self.cutmix)), (row, column))
