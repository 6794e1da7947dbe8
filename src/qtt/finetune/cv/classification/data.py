"""Batches of one epoch: in which order images come, how they are augmented, and where they are kept."""

import logging
import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from qtt.data.image_folder import ImageFolder, Sample, scan_image_folder
from qtt.errors import DatasetError
from qtt.finetune.cv.classification.cache import ImageCache
from qtt.finetune.cv.classification.randomness import Stream, derive_seed
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.finetune.cv.classification.transforms import TrainTransform
from qtt.types import TaskInfo

log = logging.getLogger(__name__)

Request = tuple[NDArray[np.int64], int]
"""Positions of a batch's images, and the seed of its augmentation."""


@dataclass(frozen=True)
class Split:
    """A split's images at one size, and their labels (n,)."""

    images: ImageCache
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


class BatchDataset(Dataset[tuple[Tensor, Tensor]]):
    """Whole batches at once: images (b, 3, s, s) uint8 and labels (b,)."""

    def __init__(self, split: Split, transform: TrainTransform | None) -> None:
        self.split = split
        self.transform = transform

    def __getitem__(self, request: Request) -> tuple[Tensor, Tensor]:
        indices, seed = request
        images = self.split.images.batch(indices)
        if self.transform is not None:
            images = self.transform(images, seed)
        return images, self.split.labels[torch.from_numpy(indices)]


class TrainOrder(Sampler[Request]):
    """One epoch's batches in random order; a last batch of a single image joins the one before it.

    A single image would be no batch for batch norm, and leaving it out would waste it.
    """

    def __init__(self, images: int, batch_size: int, seed: int, config_id: int) -> None:
        self.images = images
        self.batch_size = batch_size
        self.seed = seed
        self.config_id = config_id
        self.epoch = 1

    def __len__(self) -> int:
        return updates_per_epoch(self.images, self.batch_size)

    def __iter__(self) -> Iterator[Request]:
        order = np.random.default_rng(self._seed(Stream.ORDER)).permutation(self.images)
        seeds = np.random.SeedSequence(self._seed(Stream.AUGMENTATION)).generate_state(len(self))
        for batch, seed in enumerate(seeds.tolist()):
            last = batch == len(self) - 1
            yield order[batch * self.batch_size : None if last else (batch + 1) * self.batch_size], seed

    def _seed(self, stream: Stream) -> int:
        return derive_seed(self.seed, self.config_id, self.epoch, stream)


class EvalOrder(Sampler[Request]):
    """All images once, in their own order."""

    def __init__(self, images: int, batch_size: int) -> None:
        self.images = images
        self.batch_size = batch_size

    def __len__(self) -> int:
        return math.ceil(self.images / self.batch_size)

    def __iter__(self) -> Iterator[Request]:
        for start in range(0, self.images, self.batch_size):
            yield np.arange(start, min(start + self.batch_size, self.images)), 0


def updates_per_epoch(images: int, batch_size: int) -> int:
    """Number of training batches; see `TrainOrder`."""
    full, rest = divmod(images, batch_size)
    return max(full + (rest > 1 or (rest == 1 and batch_size == 1)), 1)


def loader(
    split: Split, order: Sampler[Request], transform: TrainTransform | None, workers: int, pin: bool
) -> DataLoader[tuple[Tensor, Tensor]]:
    """A loader of whole batches; its workers, if any, live as long as the loader."""
    return DataLoader(
        BatchDataset(split, transform),
        sampler=order,
        batch_size=None,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin,
    )


class DataStore:
    """Datasets that stay in memory between the steps of a search; the latest are kept."""

    def __init__(self, datasets: int = 4) -> None:
        self._limit = datasets
        self._folders: OrderedDict[tuple[Path, float, int], ImageFolder] = OrderedDict()
        self._splits: OrderedDict[tuple[object, ...], tuple[Split, Split]] = OrderedDict()

    def folder(self, task: TaskInfo) -> ImageFolder:
        """The task's images, listed once.

        Raises:
            DatasetError: the folder's classes are not the task's.
        """
        key = (Path(task.path), task.val_fraction, task.seed)
        if key not in self._folders:
            self._folders[key] = scan_image_folder(*key)
            while len(self._folders) > self._limit:
                self._folders.popitem(last=False)
        folder = self._folders[key]
        if task.class_names and folder.class_names != tuple(task.class_names):
            raise DatasetError(
                f"The classes below {task.path} are {_listed(folder.class_names)}, but this search began "
                f"with {_listed(task.class_names)}. Start a new search for the changed dataset."
            )
        return folder

    def splits(
        self, task: TaskInfo, settings: FinetuneSettings, size: int, interpolation: str
    ) -> tuple[Split, Split]:
        """Training and validation images at one size; the size used last is kept, within `cache_mb`."""
        key = (Path(task.path), task.val_fraction, task.seed, size, interpolation, settings.cache_mb)
        if key not in self._splits:
            folder = self.folder(task)
            limit = settings.cache_mb * 2**20
            val = _split(folder.val, size, interpolation, limit)
            train = _split(folder.train, size, interpolation, max(limit - val.images.nbytes, 0))
            while self._splits and self._bytes() + train.images.nbytes + val.images.nbytes > limit:
                self._splits.popitem(last=False)
            self._splits[key] = train, val
            if settings.num_workers:
                for split in (train, val):
                    split.images.fill(settings.num_workers)
        self._splits.move_to_end(key)
        return self._splits[key]

    def _bytes(self) -> int:
        return sum(split.images.nbytes for pair in self._splits.values() for split in pair)


def _split(samples: Sequence[Sample], size: int, interpolation: str, limit: int) -> Split:
    paths = tuple(path for path, _ in samples)
    labels = torch.tensor([label for _, label in samples], dtype=torch.int64)
    return Split(ImageCache(paths, size, interpolation, limit), labels)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f", … ({len(names)})" if len(names) > 5 else "")
