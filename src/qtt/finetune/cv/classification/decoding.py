"""From an image file to pixels: every kind of file that image folders hold, as RGB, upright and square."""

from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from qtt.data.image_types import UNREADABLE, open_image
from qtt.errors import DatasetError

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def decode(path: Path, size: int, interpolation: str) -> NDArray[np.uint8]:
    """Read an image as (size, size, 3): the shorter side resized to `size`, the middle kept.

    Grey becomes three equal channels, 16 bits a pixel become 8, transparency is dropped, and a photo that a
    camera stored sideways (EXIF orientation) is turned upright.

    Raises:
        DatasetError: the file is no image, or a damaged one.
    """
    try:
        with open_image(path) as image:
            image.draft("RGB", (size, size))  # JPEGs are decoded at the nearest larger scale
            image.load()
            with suppress(*UNREADABLE, KeyError, TypeError, ZeroDivisionError):  # damaged EXIF, good pixels
                ImageOps.exif_transpose(image, in_place=True)
            colours = _to_rgb(image)
    except UNREADABLE as error:
        raise unreadable(path, error) from error
    return _square(colours, size, interpolation)


def decode_image(image: Image.Image, size: int, interpolation: str) -> NDArray[np.uint8]:
    """What `decode` makes of an image that is open already, and stays as it is.

    A JPEG that is much larger than `size` is decoded at its full scale here, so pixels differ a little.

    Raises:
        OSError, ValueError, …: see `UNREADABLE`; its file is damaged.
    """
    image.load()
    return _square(_to_rgb(upright(image)), size, interpolation)


def upright(image: Image.Image) -> Image.Image:
    """An image as its EXIF orientation says it is to be seen; itself where that is damaged."""
    with suppress(*UNREADABLE, KeyError, TypeError, ZeroDivisionError):
        return ImageOps.exif_transpose(image)
    return image


def unreadable(path: Path, error: BaseException) -> DatasetError:
    """The error of one line that names an image."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    reason = (reason.replace(f" {str(path)!r}", "").splitlines() or [type(error).__name__])[0]
    return DatasetError(f"Image {path} cannot be read: {reason}. Repair or remove it.")


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits a pixel: Pillow would clip them to 255 where we must scale
        values = np.asarray(image, dtype=np.float64)
        return Image.fromarray(np.clip(values / 257 + 0.5, 0, 255).astype(np.uint8)).convert("RGB")
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _square(image: Image.Image, size: int, interpolation: str) -> NDArray[np.uint8]:
    """The middle square of an RGB image, resized; (size, size, 3)."""
    side = min(image.size)
    left, top = (image.width - side) / 2, (image.height - side) / 2
    box = (left, top, left + side, top + side)
    resized = image.resize((size, size), FILTERS.get(interpolation, Image.Resampling.BICUBIC), box=box)
    return np.array(resized)
