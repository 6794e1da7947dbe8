"""What automatic augmentation draws for every image of a batch: operations, strengths, signs, interpolation.

The same operations, ranges and probabilities as torchvision's TrivialAugmentWide (Müller and Hutter 2021) and
RandAugment (Cubuk et al. 2020) and timm's AutoAugment (Cubuk et al. 2019), as `batch_operations` takes them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from qtt.finetune.cv.classification.batch_operations import NAMES
from qtt.finetune.cv.classification.randomness import seeded

NOTHING = -1
"""In place of an operation: the image stays as it is."""

VALUES = 7
"""Most values that an operation takes."""

Matrix = tuple[float, float, float, float, float, float]
Choice = list[float]
"""Position of an operation in `NAMES`, and its values, filled up with zeros."""


@dataclass(frozen=True)
class Round:
    """One operation for each of b images: positions in `NAMES` (b,) int64, and values (b, 7) float64."""

    operations: NDArray[np.int64]
    values: NDArray[np.float64]


class Policy(Protocol):
    """Draws operations."""

    def draw(self, count: int, rng: np.random.Generator) -> list[Round]:
        """Rounds for `count` images, to be applied one after the other."""


class UniformPolicy:
    """Operations at equal odds, each of one of its strengths at equal odds, in either direction at even odds.

    choices: operations × strengths × 2 directions of `Choice`.
    rounds: operations for each image.
    """

    def __init__(self, choices: ArrayLike, rounds: int = 1) -> None:
        self.rounds = rounds
        self.choices = np.asarray(choices, dtype=np.float64)

    def draw(self, count: int, rng: np.random.Generator) -> list[Round]:
        """See `Policy`."""
        drawn = []
        for _ in range(self.rounds):
            operation, strength, sign = (rng.integers(size, size=count) for size in self.choices.shape[:3])
            drawn.append(_round(self.choices[operation, strength, sign]))
        return drawn


class PairPolicy:
    """Pairs of operations at equal odds; either operation of a pair is applied with its probability.

    choices: pairs × 2 operations × 2 directions × 2 interpolations of `Choice`, the latter at even odds.
    probabilities: pairs × 2.
    """

    def __init__(self, choices: ArrayLike, probabilities: ArrayLike) -> None:
        self.choices = np.asarray(choices, dtype=np.float64)
        self.probabilities = np.asarray(probabilities, dtype=np.float64)

    def draw(self, count: int, rng: np.random.Generator) -> list[Round]:
        """See `Policy`."""
        pair = rng.integers(len(self.choices), size=count)
        drawn = []
        for place in range(2):
            sign, interpolation = rng.integers(2, size=(2, count))
            rows = self.choices[pair, place, sign, interpolation]
            rows[rng.random(count) >= self.probabilities[pair, place], 0] = NOTHING
            drawn.append(_round(rows))
        return drawn


def trivial_augment(side: int) -> UniformPolicy:
    """One operation of any strength, for images of `side` pixels."""
    strengths = _strengths(slope=0.99, pixels=32.0, degrees=135.0, factor=0.99, bits=6)
    return UniformPolicy(
        [
            [[_choice(name, sign * value, side) for sign in (1, -1)] for value in values.tolist()]
            for name, values in strengths.items()
        ]
    )


def rand_augment(count: int, magnitude: int, side: int) -> UniformPolicy:
    """`count` operations of one strength, `magnitude` out of 30, for images of `side` pixels."""
    strengths = _strengths(slope=0.3, pixels=150.0 / 331.0 * side, degrees=30.0, factor=0.9, bits=4)
    return UniformPolicy(
        [
            [[_choice(name, sign * float(values[magnitude]), side) for sign in (1, -1)]]
            for name, values in strengths.items()
        ],
        count,
    )


def auto_augment(policy: Sequence[Sequence[Any]], side: int) -> PairPolicy:
    """Timm's policy, pairs of its `AugmentOp`, for images of `side` pixels."""
    choices: list[list[list[list[Choice]]]] = []
    for pair in policy:
        choices.append([])
        for operation in pair:
            strength = _timm_strength(operation)
            choices[-1].append([_timm_choices(operation.name, sign * strength, side) for sign in (1, -1)])
    return PairPolicy(choices, [[operation.prob for operation in pair] for pair in policy])


def shear(axis: int, slope: float) -> Matrix:
    """Shear along columns (axis 0) or rows (axis 1), about the upper left corner."""
    return (1, slope, 0, 0, 1, 0) if axis == 0 else (1, 0, 0, slope, 1, 0)


def shift(axis: int, pixels: float) -> Matrix:
    """Read `pixels` to the right (axis 0) or below (axis 1)."""
    return (1, 0, pixels, 0, 1, 0) if axis == 0 else (1, 0, 0, 0, 1, pixels)


def rotation(degrees: float, side: int) -> Matrix:
    """Rotation anticlockwise about the centre, rounded to 15 digits as Pillow does."""
    angle, centre = -math.radians(degrees % 360), side / 2
    cosine, sine, minus = (round(value, 15) for value in (math.cos(angle), math.sin(angle), -math.sin(angle)))
    right, down = cosine * -centre + sine * -centre, minus * -centre + cosine * -centre
    return cosine, sine, right + centre, minus, cosine, down + centre


def posterize_mask(bits: int) -> int:
    """A mask of the highest `bits` of eight."""
    return int(256 - 2 ** (8 - bits))


SIGNED = (
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Rotate",
    "Brightness",
    "Color",
    "Contrast",
    "Sharpness",
)
"""Torchvision's operations that have two directions."""


def _strengths(
    slope: float, pixels: float, degrees: float, factor: float, bits: int, bins: int = 31
) -> dict[str, torch.Tensor]:
    """Torchvision's table of strengths (31,), from the largest of each kind."""
    none = torch.zeros(bins)
    largest = {
        "ShearX": slope,
        "ShearY": slope,
        "TranslateX": pixels,
        "TranslateY": pixels,
        "Rotate": degrees,
    }
    largest |= dict.fromkeys(("Brightness", "Color", "Contrast", "Sharpness"), factor)
    return {
        "Identity": none,
        **{name: torch.linspace(0.0, value, bins) for name, value in largest.items()},
        "Posterize": 8 - (torch.arange(bins) / ((bins - 1) / bits)).round().int(),
        "Solarize": torch.linspace(255.0, 0.0, bins),
        "AutoContrast": none,
        "Equalize": none,
    }


def _choice(name: str, strength: float, side: int) -> Choice:
    """An operation of torchvision."""
    if name not in SIGNED:
        strength = abs(strength)
    axis = int(name.endswith("Y"))
    if name == "Identity":
        return _row(None)
    if name.startswith("Shear"):
        return _row("nearest", *shear(axis, strength))
    if name.startswith("Translate"):
        return _row("nearest", *shift(axis, -int(strength)))
    if name == "Rotate":
        return _row("nearest", *rotation(strength, side))
    if name == "Posterize":
        return _row("posterize", posterize_mask(int(strength)))
    return _row(name.lower(), 1 + strength if name in SIGNED else strength)


def _timm_choices(name: str, strength: float, side: int) -> list[Choice]:
    """An operation of timm with both of its interpolations."""
    axis = int(name.endswith(("Y", "YRel")))
    matrix: Matrix | None = None
    if name.startswith("Shear"):
        matrix = shear(axis, strength)
    elif name in ("TranslateXRel", "TranslateYRel"):
        matrix = shift(axis, strength * side)
    elif name == "Rotate":
        matrix = rotation(strength, side)
    if matrix is not None:
        return [_row("interpolated", *matrix, cubic) for cubic in (0, 1)]
    if name in ("Posterize", "PosterizeOriginal"):
        return [_row("posterize", posterize_mask(int(abs(strength))))] * 2
    return [_row({"SolarizeAdd": "solarize_add"}.get(name, name.lower()), abs(strength))] * 2


def _timm_strength(operation: Any) -> float:
    """Without its sign, which timm draws where an operation has two directions."""
    if operation.level_fn is None:
        return 0.0
    with seeded(0):
        return float(abs(operation.level_fn(operation.magnitude, operation.hparams)[0]))


def _row(name: str | None, *values: float) -> Choice:
    position = NOTHING if name is None else NAMES.index(name)
    return [position, *map(float, values), *[0.0] * (VALUES - len(values))]


def _round(rows: NDArray[np.float64]) -> Round:
    return Round(rows[:, 0].astype(np.int64), rows[:, 1:])
