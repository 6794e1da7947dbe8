"""Patches of ten photographs as an image folder: from which photograph, of what, was each one cut?

The photographs come with scikit-image and scikit-learn, for anyone to use: public domain or CC0, two CC BY
2.0 (`temple` by danielbuechele, `flower` by vultilion). It is no benchmark of recognition: all patches of a
class show the same cat or wall. But they are photographs, and training, validation and test come from parts
of them that do not overlap.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from qtt.data.cached_folder import cached_folder
from qtt.errors import DatasetError

VERSION = 1
HEIGHT = 512
"""To which every photograph is resized before patches are cut."""

SIDE = 96
SMALLEST, LARGEST = 80, 128
"""Side of patches in pixels: as stored, and the range that they are cut with."""

PATCHES = {"train": (0.0, 0.5, 40), "val": (0.5, 0.75, 15), "test": (0.75, 1.0, 15)}
"""By split: the part of a photograph's width from left to right, and the number of patches of each class."""

SCIKIT_IMAGE = {
    "brick": "brick",
    "cat": "chelsea",
    "coffee": "coffee",
    "grass": "grass",
    "gravel": "gravel",
    "portrait": "astronaut",
    "rocket": "rocket",
    "tissue": "immunohistochemistry",
}
SCIKIT_LEARN = {"flower": "flower.jpg", "temple": "china.jpg"}


def photo_patches_folder(cache_dir: Path | str | None = None) -> Path:
    """Path of the patches as an image folder: 400 to train on, 150 to validate and 150 to test.

    Written at the first call, and whole or not at all: concurrent calls are safe.

    cache_dir: where to keep it; None: the user's cache, see `qtt.data.user_cache`.

    Raises:
        DatasetError: scikit-image is not installed.
    """
    return cached_folder(f"photo-patches-v{VERSION}", _write, cache_dir)


def _write(folder: Path) -> None:
    for position, (name, photo) in enumerate(sorted(_photos().items())):
        image = Image.fromarray(photo)
        image = image.resize((round(image.width * HEIGHT / image.height), HEIGHT), Image.Resampling.LANCZOS)
        random = np.random.default_rng(position)
        for split, (left, right, count) in PATCHES.items():
            place = folder / split / name
            place.mkdir(parents=True)
            for number in range(count):
                box = _box(random, round(left * image.width), round(right * image.width))
                patch = image.resize((SIDE, SIDE), Image.Resampling.LANCZOS, box=box)
                patch.save(place / f"{number:02d}.png")


def _box(random: np.random.Generator, left: int, right: int) -> tuple[int, int, int, int]:
    """A random square of the photograph between two columns."""
    side = int(random.integers(SMALLEST, min(LARGEST, right - left) + 1))
    x = int(random.integers(left, right - side + 1))
    y = int(random.integers(0, HEIGHT - side + 1))
    return x, y, x + side, y + side


def _photos() -> dict[str, NDArray[np.uint8]]:
    """Photographs by class, (height, width) or (height, width, 3)."""
    try:
        from skimage import data
    except ImportError as error:
        raise DatasetError(
            "The photographs come with scikit-image, which is not installed: pip install 'qtt[photos]'"
        ) from error
    from sklearn.datasets import load_sample_image

    found = {name: getattr(data, function)() for name, function in SCIKIT_IMAGE.items()}
    return found | {name: load_sample_image(file) for name, file in SCIKIT_LEARN.items()}
