"""Decoded and resized images in memory, so that every image file is read once and not once an epoch."""

import struct
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from qtt.errors import DatasetError

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

UNREADABLE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow raises on damaged files, depending on where the damage is."""


class ImageCache:
    """Images as uint8, (3, size, size), decoded at first touch.

    limit: bytes that may be kept. Images beyond it are decoded whenever they are asked for.
    """

    def __init__(self, paths: Sequence[Path], size: int, interpolation: str, limit: int) -> None:
        self.paths = paths
        self.size = size
        self.interpolation = interpolation
        kept = min(len(paths), limit // (3 * size * size))
        self._images = torch.empty((kept, 3, size, size), dtype=torch.uint8)
        self._filled = np.zeros(kept, dtype=bool)

    @property
    def nbytes(self) -> int:
        """Memory that the cache may come to use."""
        return self._images.nbytes

    def batch(self, indices: NDArray[np.int64]) -> Tensor:
        """Images in the order of `indices`, (b, 3, size, size) uint8, a copy.

        Raises:
            DatasetError: an image cannot be read.
        """
        kept = indices < len(self._filled)
        for index in indices[kept]:
            if not self._filled[index]:
                self._fill(int(index))
        if kept.all():
            return self._images[torch.from_numpy(indices)]
        images = [self._images[i] if i < len(self._filled) else self._decode(int(i)) for i in indices]
        return torch.stack(images)

    def fill(self, threads: int) -> None:
        """Decode all that is kept and not yet there."""
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(self._fill, map(int, np.flatnonzero(~self._filled))))

    def _fill(self, index: int) -> None:
        self._images[index] = self._decode(index)
        self._filled[index] = True

    def _decode(self, index: int) -> Tensor:
        pixels = decode(self.paths[index], self.size, self.interpolation)
        return torch.from_numpy(pixels).permute(2, 0, 1)


def decode(path: Path, size: int, interpolation: str) -> NDArray[np.uint8]:
    """Read an image as (size, size, 3): the shorter side resized to `size`, the middle kept.

    Raises:
        DatasetError: the file is no image, or a damaged one.
    """
    try:
        with Image.open(path) as image:
            image.draft("RGB", (size, size))  # JPEGs are decoded at the nearest larger scale
            image.load()
            colours = _to_rgb(image)
    except UNREADABLE as error:
        raise DatasetError(f"Image {path} cannot be read: {error}. Repair or remove it.") from error
    side = min(colours.size)
    left, top = (colours.width - side) / 2, (colours.height - side) / 2
    box = (left, top, left + side, top + side)
    resized = colours.resize((size, size), FILTERS.get(interpolation, Image.Resampling.BICUBIC), box=box)
    return np.array(resized)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits a pixel: Pillow would clip them to 255 where we must scale
        values = np.asarray(image, dtype=np.float64)
        return Image.fromarray(np.clip(values / 257 + 0.5, 0, 255).astype(np.uint8)).convert("RGB")
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")
