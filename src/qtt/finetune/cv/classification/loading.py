"""Splits, and the making of their batches: images, augmentation, labels."""

import logging
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from qtt.evaluation.step import describe
from qtt.finetune.cv.classification.batch_augment import PlannedImages
from qtt.finetune.cv.classification.cache import ImageCache
from qtt.finetune.cv.classification.transforms import Transform

log = logging.getLogger(__name__)

Place = tuple[NDArray[np.int64], int]
"""Positions of a batch's images, and the seed of its augmentation."""

Request = tuple[NDArray[np.int64], int, Transform | None]
"""The same, and the augmentation. It travels with every request, so that any pipeline may ask any worker."""

Batch = tuple[Tensor | PlannedImages, Tensor]
"""Images (b, 3, s, s) uint8, or such with what is still to be done to them, and labels (b,)."""


@dataclass(frozen=True)
class Split:
    """A split's images at one size, and their labels (n,)."""

    images: ImageCache
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


class BatchDataset(Dataset[Batch]):
    """Whole batches at once."""

    def __init__(self, split: Split) -> None:
        self.split = split

    def __getitem__(self, request: Request) -> Batch:
        indices, seed, transform = request
        images = self.split.images.batch(indices)
        if transform is not None:
            images = transform(images, seed)
        return images, self.split.labels[torch.from_numpy(indices)]


@dataclass(frozen=True)
class Trouble:
    """An error on its way from a worker; lost: where the batch is there, and cannot be handed over."""

    error: Exception
    lost: bool = False


class WorkerDataset(BatchDataset):
    """Batches for a loader with workers, in shared memory: errors are handed over and not raised.

    Raised, they would arrive in a report of many lines, as another error; and a batch that finds no room in
    shared memory, where the loader itself puts it there, is one that the training process awaits for ever.
    """

    def __getitem__(self, request: Request) -> Any:
        try:
            batch = super().__getitem__(request)
        except Exception as error:
            return Trouble(_fit_to_travel(error))
        try:
            return tuple(tensor.share_memory_() for tensor in batch)
        except Exception as error:
            return Trouble(_fit_to_travel(error), lost=True)


def _fit_to_travel(error: Exception) -> Exception:
    """An error that can be pickled, with its traceback as a note."""
    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))  # as the queue between the processes will
    except Exception:
        error = RuntimeError(describe(error))
    error.add_note(traceback.format_exc())
    return error


class Requests(Sampler[Request]):
    """Whatever requests one epoch has; a loader asks for them anew in every epoch."""

    def __init__(self) -> None:
        self.of_epoch: Iterable[Request] = ()

    def __iter__(self) -> Iterator[Request]:
        return iter(self.of_epoch)


def plain_loader(split: Split, requests: Iterable[Request], pin: bool) -> DataLoader[Batch]:
    """A loader without workers."""
    sampler = Requests()
    sampler.of_epoch = requests
    return DataLoader(BatchDataset(split), sampler=sampler, batch_size=None, pin_memory=pin)
