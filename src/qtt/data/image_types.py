"""Which files are images, and how Pillow opens them: formats of photos alone, within a bound of pixels."""

import importlib
import struct
import zlib
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

from PIL import Image

FIRST_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""The file types that torchvision's ImageFolder reads; those of searches under the first `Rules`."""

LATER_EXTENSIONS = (".gif", ".jfif", ".jpe", ".avif", ".heic", ".heif", ".jp2")
"""Further types, each of which is used where the Pillow here can open it."""

OTHER_PICTURES = (
    ".svg",
    ".psd",
    ".raw",
    ".dng",
    ".cr2",
    ".cr3",
    ".nef",
    ".arw",
    ".jxl",
    ".eps",
    ".pdf",
    ".mp4",
    ".mov",
)
"""Pictures that are not used, so that a folder of them is worth a warning."""

FORMATS = ("JPEG", "MPO", "PNG", "GIF", "BMP", "DIB", "PPM", "TIFF", "WEBP", "AVIF", "HEIF", "JPEG2000")
"""Pillow's names. What else it knows stays closed: a PostScript file named .png would start Ghostscript."""


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


@cache
def image_extensions() -> tuple[str, ...]:
    """Lower-case file name extensions of the images that can be opened here."""
    known = _registered()
    return FIRST_EXTENSIONS + tuple(extension for extension in LATER_EXTENSIONS if extension in known)


@cache
def image_formats() -> tuple[str, ...]:
    """Those of `FORMATS` that the Pillow here can open."""
    _registered()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def open_image(source: Path | str | BinaryIO) -> Image.Image:
    """An image file whose header is read and whose pixels are not; close it.

    Raises:
        OSError, ValueError, …: it is none of `FORMATS`, damaged, or has more pixels than Pillow allows; see
            `limit_pixels`.
    """
    image = Image.open(source, formats=image_formats())
    most = Image.MAX_IMAGE_PIXELS
    if _bounds and most is not None and image.width * image.height > most:
        image.close()
        raise Image.DecompressionBombError(f"{image.width} × {image.height} pixels are more than {most}")
    return image


def limit_pixels(most: int | None) -> None:
    """Refuse images of more pixels in this process, against files that are small but fill the memory.

    most: None: Pillow's own bound, 178,956,970, or what the process has set in its place.
    """
    if most is not None:
        _bounds.setdefault("before", Image.MAX_IMAGE_PIXELS)
        Image.MAX_IMAGE_PIXELS = most  # beyond which Pillow only warns: `open_image` refuses
    elif _bounds:
        Image.MAX_IMAGE_PIXELS = _bounds.pop("before")


_bounds: dict[str, int | None] = {}
"""Pillow's bound before the first limit; the setting is the process's, for Pillow knows no other."""


def how_to_open(extension: str) -> str:
    """What lets images of this type be used, in words."""
    if extension in (".heic", ".heif"):
        return "pip install pillow-heif, or convert them"
    if extension == ".avif":
        return "install Pillow 11.3 or newer, or convert them"
    return "convert them to JPEG or PNG"


def _registered() -> dict[str, str]:
    with suppress(ImportError):
        importlib.import_module("pillow_heif").register_heif_opener()
    return Image.registered_extensions()
