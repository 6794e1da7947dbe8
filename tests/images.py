"""Small seeded image folders for tests: classes differ in colour, images of a class by noise."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CLASSES = ("amber", "blue", "coral")


def write_image(path: Path, colour: Sequence[float], side: int, rng: np.random.Generator) -> None:
    """A noisy square of one colour (0 to 255)."""
    noise = rng.normal(0, 25, (side, side, 3))
    pixels = np.clip(np.asarray(colour) + noise, 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_image_folder(
    root: Path,
    images: Mapping[str, int] | None = None,
    classes: Sequence[str] = CLASSES,
    side: int = 32,
    seed: int = 0,
) -> Path:
    """Write `root/<split>/<class>/<n>.png`; images: per split and class, default 8 train, 4 val, 4 test."""
    rng = np.random.default_rng(seed)
    colours = rng.uniform(40, 215, (len(classes), 3))
    for split, count in (images or {"train": 8, "val": 4, "test": 4}).items():
        for name, colour in zip(classes, colours, strict=True):
            for number in range(count):
                write_image(root / split / name / f"{number:03d}.png", colour, side, rng)
    return root


def photos(count: int, side: int, seed: int = 0) -> NDArray[np.uint8]:
    """Images (count, side, side, 3) of soft colours and noise, each in a range of grey levels."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        coarse = rng.integers(0, 256, (int(rng.integers(2, 9)), int(rng.integers(2, 9)), 3), dtype=np.uint8)
        soft = np.asarray(Image.fromarray(coarse).resize((side, side))).astype(int)
        low, high = sorted(rng.integers(0, 256, 2).tolist())
        made.append(np.clip(soft + rng.integers(-20, 21, soft.shape), low, high + 1).clip(0, 255))
    return np.stack(made).astype(np.uint8)
