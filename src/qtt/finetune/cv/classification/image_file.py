"""Decoded images in a file that parallel searches share and later ones find again.

<key>.images: a checksum (uint32) per image, padding up to a page, then the images, (n, s, s, 3) uint8.

The file is as long as all images from the start, with holes where none is written yet. An image counts when
its checksum is right. It is written after the pixels, so a process that is killed, a second one that writes
the same image, and pages lost with the power leave images that are whole or decoded again.
"""

import hashlib
import logging
import mmap
import os
import weakref
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray

from qtt.data.walking import Stamp, name_within

log = logging.getLogger(__name__)

FORMAT = 2
SUFFIX, FEATURES = ".images", ".features"
"""Of decoded images, and of what networks say of them (`frozen`), which share the folder and its bound."""

PAGE = 4096


class MemoryImages:
    """Images in memory alone.

    pixels: (count, size, size, 3) uint8; memory is taken as it is written.
    """

    def __init__(self, count: int, size: int) -> None:
        self.pixels: NDArray[np.uint8] = np.empty((count, size, size, 3), dtype=np.uint8)

    @property
    def to_come(self) -> int:
        """Bytes of memory that it may still take."""
        return self.pixels.nbytes

    def holds(self, index: int) -> bool:
        """Whether an image is there from earlier processes."""
        return False

    def write(self, index: int, image: NDArray[np.uint8]) -> None:
        """Keep an image (size, size, 3)."""
        self.pixels[index] = image


class ImageFile:
    """Images in a file.

    pixels: (count, size, size, 3) uint8, a read-only view of the file.

    Raises:
        OSError: the file cannot be made, or not be written or mapped.
    """

    def __init__(self, path: Path, count: int, size: int) -> None:
        start = -(-4 * count // PAGE) * PAGE
        length = start + count * 3 * size * size
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        self._close = weakref.finalize(self, os.close, descriptor)
        self._descriptor = descriptor
        if os.fstat(descriptor).st_size != length:  # all that name this file want the same length
            os.ftruncate(descriptor, length)
        os.utime(path)  # for `make_room`
        view = mmap.mmap(descriptor, length, prot=mmap.PROT_READ)
        self._start, self._arguments = start, (path, count, size)
        self._sums = np.frombuffer(view, np.uint32, count)
        self.pixels: NDArray[np.uint8] = np.frombuffer(view, np.uint8, length - start, start).reshape(
            count, size, size, 3
        )

    @property
    def to_come(self) -> int:
        """Bytes of disk that it may still take: holes of the file."""
        facts = os.fstat(self._descriptor)
        return max(facts.st_size - 512 * getattr(facts, "st_blocks", 0), 0)

    def __reduce__(self) -> tuple[type["ImageFile"], tuple[Path, int, int]]:
        """Another process opens the same file."""
        return ImageFile, self._arguments

    def holds(self, index: int) -> bool:
        """Whether an image is there, and whole."""
        return bool(self._sums[index]) and _checksum(self.pixels[index]) == self._sums[index]

    def write(self, index: int, image: NDArray[np.uint8]) -> None:
        """Keep an image (size, size, 3).

        Written, not copied into the mapping: a full disk is then an error and not a signal that kills.

        Raises:
            OSError: it could not be written, or is not seen in the mapping.
        """
        content = np.ascontiguousarray(image)
        _write_all(self._descriptor, content.tobytes(), self._start + index * content.nbytes)
        _write_all(self._descriptor, _checksum(content).tobytes(), 4 * index)
        if not self.holds(index):
            raise OSError("the file system does not show in a mapping what is written to its file")


def open_images(folder: Path | None, key: str, count: int, size: int, room: int) -> ImageFile | MemoryImages:
    """The images of a key below `folder`, or in memory where there is no folder or it cannot be used.

    room: bytes that the folder may take; the files used longest ago are removed for a new one. A process that
        still uses one of them keeps it until it ends.
    """
    if folder is None or not count:
        return MemoryImages(count, size)
    path = folder / f"{key}{SUFFIX}"
    try:
        if not hasattr(os, "pwrite"):
            raise OSError("this system cannot write into a file at a position")
        folder.mkdir(parents=True, exist_ok=True)
        make_room(folder, room - count * 3 * size * size, path)
        return ImageFile(path, count, size)
    except (OSError, ValueError) as error:
        log.info("Images are kept in memory: %s cannot be used (%s).", folder, error)
        return MemoryImages(count, size)


def make_room(folder: Path, allowed: int, spared: Path) -> None:
    """Remove the files used longest ago until the others, without `spared`, take at most `allowed` bytes."""
    found = []
    for path in (*folder.glob(f"*{SUFFIX}"), *folder.glob(f"*{FEATURES}")):
        try:
            facts = path.stat()
        except FileNotFoundError:  # another search made room
            continue
        if path != spared:
            found.append((facts.st_mtime_ns, facts.st_size, path))
    taken = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if taken <= allowed:
            return
        path.unlink(missing_ok=True)
        taken -= size


def images_key(
    root: Path, paths: Sequence[Path], stamps: Sequence[Stamp], size: int, interpolation: str
) -> str:
    """Name of the images of these files at one size: it changes with every path, file size and time.

    Only these facts are read and not the files' contents, so that opening a large dataset again takes a
    second and not minutes.
    """
    facts = [f"{FORMAT} {PIL.__version__} {size} {interpolation} {root.resolve()}"]
    facts += [
        f"{name_within(root, path)}\0{length} {time}"
        for path, (length, time) in zip(paths, stamps, strict=True)
    ]
    return hashlib.sha256("\n".join(facts).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _checksum(image: NDArray[np.uint8]) -> np.uint32:
    """CRC-32, never 0, which says that there is no image."""
    return np.uint32(zlib.crc32(image.data) or 1)


def _write_all(descriptor: int, content: bytes, position: int) -> None:
    done = 0
    while done < len(content):
        done += os.pwrite(descriptor, content[done:], position + done)
