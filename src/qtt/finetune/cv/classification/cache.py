"""Decoded and resized images, so that every image file is read once and not once an epoch."""

import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import get_worker_info

from qtt.data.walking import Stamp
from qtt.errors import DatasetError
from qtt.finetune.cv.classification.decoding import decode, unreadable
from qtt.finetune.cv.classification.image_file import ImageFile, MemoryImages
from qtt.support.machine import available_cores

log = logging.getLogger(__name__)

T = TypeVar("T")

THREADS = 8
"""Most threads that decode; Pillow lets others run while it does."""


class ImageCache:
    """Images as uint8, decoded at first touch.

    store: keeps the first images; those beyond it are decoded whenever they are asked for. None: in memory.
    stamps: of the files when they were listed; an image that has changed since is an error.
    key: names these images at this size; see `images_key`.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        size: int,
        interpolation: str,
        store: ImageFile | MemoryImages | None = None,
        stamps: Sequence[Stamp] | None = None,
        key: str = "",
    ) -> None:
        self.key = key
        self.paths = paths
        self.size = size
        self.interpolation = interpolation
        self._store = MemoryImages(len(paths), size) if store is None else store
        self._stamps = stamps
        self._ready = np.zeros(len(self._store.pixels), dtype=bool)
        self._lock = Lock()

    def __getstate__(self) -> dict[str, object]:
        """For workers that start as new processes; a lock stays with its own."""
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state, _lock=Lock())

    @property
    def nbytes(self) -> int:
        """Memory or disk that the cache may come to use."""
        return self._store.pixels.nbytes

    @property
    def to_come(self) -> int:
        """Bytes of memory or disk that it may still take."""
        return self._store.to_come

    @property
    def in_memory(self) -> bool:
        """Whether other processes do not see what this one decodes."""
        return isinstance(self._store, MemoryImages)

    def batch(self, indices: NDArray[np.int64]) -> Tensor:
        """Images in the order of `indices`, (b, 3, size, size) uint8 in channels_last, a copy.

        Raises:
            DatasetError: an image cannot be read, or has changed.
        """
        kept = indices < len(self._ready)
        known = indices[kept]
        if not self._ready[known].all():
            self._each(self._load, np.unique(known[~self._ready[known]]))
        if kept.all():
            return channels_first(np.take(self._store.pixels, indices, axis=0))
        images = np.empty((len(indices), self.size, self.size, 3), dtype=np.uint8)
        images[kept] = self._store.pixels[known]
        images[~kept] = np.stack(self._each(self._decode, indices[~kept]))
        return channels_first(images)

    def fill(self) -> None:
        """Decode all that is kept and not yet there."""
        self.prepare(np.arange(len(self._ready)))

    def prepare(self, indices: NDArray[np.int64]) -> None:
        """Decode those of some images that are kept and not yet there."""
        kept = indices[indices < len(self._ready)]
        self._each(self._load, kept[~self._ready[kept]])

    def _load(self, index: int) -> None:
        with self._lock:  # the store may be replaced
            if self._store.holds(index):
                self._ready[index] = True
                return
        image = self._decode(index)
        with self._lock:
            try:
                self._store.write(index, image)
            except OSError as error:
                log.info("Further images are kept in memory, because a file cannot take them: %s.", error)
                memory = MemoryImages(len(self._ready), self.size)
                for ready in np.flatnonzero(self._ready):
                    memory.pixels[ready] = self._store.pixels[ready]
                memory.write(index, image)
                self._store = memory
            self._ready[index] = True

    def _decode(self, index: int) -> NDArray[np.uint8]:
        path = self.paths[index]
        image = decode(path, self.size, self.interpolation)
        if self._stamps is not None and _stamp(path) != self._stamps[index]:
            raise DatasetError(
                f"Image {path} has changed since this search listed it. Start a new search for the changed "
                "dataset."
            )
        return image

    def _each(self, function: Callable[[int], T], indices: Iterable[np.int64]) -> list[T]:
        """A function of every index, in threads; workers of a loader are as many processes already."""
        threads = 1 if get_worker_info() is not None else min(THREADS, available_cores())
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(function, map(int, indices)))


def channels_first(images: NDArray[np.uint8]) -> Tensor:
    """Images (b, s, s, 3) as (b, 3, s, s) with the same memory, which is torch's channels_last."""
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def _stamp(path: Path) -> Stamp:
    try:
        facts = path.stat()
    except OSError as error:
        raise unreadable(path, error) from error
    return facts.st_size, facts.st_mtime_ns
