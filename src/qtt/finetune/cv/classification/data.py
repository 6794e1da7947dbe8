"""Datasets that stay open, and in which order their images come."""

import json
import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Sampler

from qtt.data.contents import changes, describe_contents
from qtt.data.listed import ImageFolder, stamp_images
from qtt.data.sources import list_task
from qtt.data.splitting import Sample
from qtt.data.user_cache import user_cache
from qtt.errors import ConfigError, DatasetError
from qtt.finetune.cv.classification.cache import ImageCache
from qtt.finetune.cv.classification.crews import Crews
from qtt.finetune.cv.classification.image_file import images_key, open_images
from qtt.finetune.cv.classification.loading import Place, Split
from qtt.finetune.cv.classification.randomness import Stream, derive_seed
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.types import TaskInfo

NEW_SEARCH = "A search is about one dataset: start a new one, in another run folder."


class TrainOrder(Sampler[Place]):
    """One epoch's batches in random order; a last batch of a single image joins the one before it.

    A single image would be no batch for batch norm, and leaving it out would waste it.

    balance: labels (images,) of classes that are to come equally often; None: every image comes once.
    part: images of an epoch, where that is less than a pass over all of them: epochs are then parts of one
        long row of passes, each in an order of its own. None: all.
    """

    def __init__(
        self,
        images: int,
        batch_size: int,
        seed: int,
        config_id: int,
        balance: Tensor | None = None,
        part: int | None = None,
    ) -> None:
        self.images = images
        self.part = images if part is None else min(part, images)
        self.balance = None if balance is None else balance.numpy()
        self.batch_size = batch_size
        self.seed = seed
        self.config_id = config_id
        self.epoch = 1

    def __len__(self) -> int:
        return updates_per_epoch(self.part, self.batch_size)

    def __iter__(self) -> Iterator[Place]:
        order = self._order()
        seeds = np.random.SeedSequence(self._seed(Stream.AUGMENTATION)).generate_state(len(self))
        for batch, seed in enumerate(seeds.tolist()):
            last = batch == len(self) - 1
            yield order[batch * self.batch_size : None if last else (batch + 1) * self.batch_size], seed

    def _order(self) -> NDArray[np.int64]:
        """Positions of the epoch's images; (part,)."""
        if self.balance is not None:
            return balanced_order(self.balance, self._rng(self.epoch))[: self.part]
        begin = (self.epoch - 1) * self.part
        first, last = begin // self.images, (begin + self.part - 1) // self.images
        passes = [self._rng(number + 1).permutation(self.images) for number in range(first, last + 1)]
        skipped = begin - first * self.images
        return np.concatenate(passes)[skipped : skipped + self.part]

    def _rng(self, number: int) -> np.random.Generator:
        """For the order of an epoch, or of a pass over all images."""
        return np.random.default_rng(derive_seed(self.seed, self.config_id, number, Stream.ORDER))

    def _seed(self, stream: Stream) -> int:
        return derive_seed(self.seed, self.config_id, self.epoch, stream)


def balanced_order(labels: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """N positions in n labels, every class equally often but for one, and so is every image of a class."""
    present = rng.permutation(np.unique(labels))
    shares = np.full(len(present), len(labels) // len(present))
    shares[: len(labels) % len(present)] += 1
    drawn = []
    for label, share in zip(present, shares.tolist(), strict=True):
        mine = np.flatnonzero(labels == label)
        rounds = [rng.permutation(mine) for _ in range(math.ceil(share / len(mine)))]
        drawn.append(np.concatenate(rounds or [mine[:0]])[:share])
    return np.asarray(rng.permutation(np.concatenate(drawn)), dtype=np.int64)


class EvalOrder(Sampler[Place]):
    """All images once, in their own order."""

    def __init__(self, images: int, batch_size: int) -> None:
        self.images = images
        self.batch_size = batch_size

    def __len__(self) -> int:
        return math.ceil(self.images / self.batch_size)

    def __iter__(self) -> Iterator[Place]:
        for start in range(0, self.images, self.batch_size):
            yield np.arange(start, min(start + self.batch_size, self.images)), 0


def updates_per_epoch(images: int, batch_size: int) -> int:
    """Number of training batches; see `TrainOrder`."""
    full, rest = divmod(images, batch_size)
    return max(full + (rest > 1 or (rest == 1 and batch_size == 1)), 1)


Listing = tuple[Path, float, int, str]
"""What a dataset's list of images follows from."""


class DataStore:
    """Datasets that stay open between the steps of a search; the latest are kept.

    crews: processes that make their batches, and stay as well.
    """

    def __init__(self, datasets: int = 4) -> None:
        self.crews = Crews()
        self._limit = datasets
        self._folders: OrderedDict[Listing, tuple[ImageFolder, str]] = OrderedDict()
        self._splits: OrderedDict[tuple[object, ...], tuple[Split, Split]] = OrderedDict()

    def folder(self, task: TaskInfo) -> ImageFolder:
        """The task's images, listed once.

        Raises:
            DatasetError: they are not those that the search began with.
        """
        key = _listing(task)
        if key not in self._folders:
            folder = list_task(task)
            self._folders[key] = folder, describe_contents(folder)
            while len(self._folders) > self._limit:
                self._folders.popitem(last=False)
        folder, contents = self._folders[key]
        if task.class_names and folder.class_names != tuple(task.class_names):
            raise DatasetError(
                f"The classes below {task.path} are {_listed(folder.class_names)}, but this search began "
                f"with {_listed(task.class_names)}. {NEW_SEARCH}"
            )
        if task.dataset not in (None, contents):
            raise DatasetError(
                f"The dataset below {task.path} has changed: it holds {contents}, but this search began with "
                f"{task.dataset}. {NEW_SEARCH}"
            )
        return folder

    def check(self, task: TaskInfo) -> None:
        """See whether the images are still those that were listed; takes some milliseconds per thousand.

        Raises:
            DatasetError: images were added, removed or changed.
        """
        folder = self.folder(task)
        now = stamp_images(folder)
        if folder.watched and not now:
            raise DatasetError(f"The images below {task.path} are not there any more.")
        found = changes(folder.watched, now, folder.root)
        if found:
            raise DatasetError(
                f"The dataset below {task.path} has changed since this search listed it: {found}. "
                f"{NEW_SEARCH}"
            )

    def splits(
        self, task: TaskInfo, settings: FinetuneSettings, size: int, interpolation: str
    ) -> tuple[Split, Split]:
        """Training and validation images at one size; the sizes used last stay open, within `cache_mb`."""
        key = (*_listing(task), size, interpolation, settings)
        if key not in self._splits:
            folder = self.folder(task)
            limit = cache_limit(settings)
            scored = share_of(folder.val, settings.val_images, task.seed)
            val = open_split(folder, scored, settings, size, interpolation, limit)
            rest = max(limit - val.images.nbytes, 0)
            train = open_split(folder, folder.train, settings, size, interpolation, rest)
            while self._splits and self._bytes() + train.images.nbytes + val.images.nbytes > limit:
                self._splits.popitem(last=False)
            self._splits[key] = train, val
            if settings.num_workers and train.images.in_memory:
                train.images.fill()  # once, here, and not in every worker
        self._splits.move_to_end(key)
        return self._splits[key]

    def _bytes(self) -> int:
        return sum(split.images.nbytes for pair in self._splits.values() for split in pair)


def _listing(task: TaskInfo) -> Listing:
    return Path(task.path), task.val_fraction, task.seed, json.dumps(dict(task.source), sort_keys=True)


def cache_limit(settings: FinetuneSettings) -> int:
    """Bytes that a dataset's decoded images may take."""
    limit = settings.cache_mb * 2**20
    return min(limit, settings.cache_gb * 2**30) if settings.cache_gb else limit


def share_of(samples: Sequence[Sample], count: int | None, seed: int) -> Sequence[Sample]:
    """So many of a split's images, of each class as large a share as of all; None: all. In their order."""
    if count is None or count >= len(samples):
        return samples
    labels = np.array([label for _, label in samples])
    mixed = np.random.default_rng(seed).permutation(len(samples))
    place = np.empty(len(samples))
    for label in np.unique(labels):
        mine = mixed[labels[mixed] == label]
        place[mine] = (np.arange(len(mine)) + 0.5) / len(mine)
    chosen = np.sort(mixed[np.argsort(place[mixed], kind="stable")[:count]])
    return [samples[i] for i in chosen.tolist()]


def open_split(
    folder: ImageFolder,
    samples: Sequence[Sample],
    settings: FinetuneSettings,
    size: int,
    interpolation: str,
    limit: int,
) -> Split:
    """Images and labels of a split at one size; at most `limit` bytes of images are kept."""
    paths = tuple(path for path, _ in samples)
    stamps = [folder.stamps[str(path)] for path in paths]
    kept = min(len(paths), limit // (3 * size * size))
    key = images_key(folder.root, paths[:kept], stamps[:kept], size, interpolation)
    store = open_images(cache_folder(settings), key, kept, size, settings.cache_gb * 2**30)
    whole = key if kept == len(paths) else images_key(folder.root, paths, stamps, size, interpolation)
    images = ImageCache(paths, size, interpolation, store, stamps, whole)
    return Split(images, torch.tensor([label for _, label in samples], dtype=torch.int64))


def cache_folder(settings: FinetuneSettings) -> Path | None:
    """Where decoded images are kept; None: in memory."""
    if not settings.cache_gb:
        return None
    if settings.cache_dir is not None:
        return Path(settings.cache_dir).expanduser().absolute()
    with suppress(ConfigError):  # a cache that cannot be written is no cache
        return user_cache() / "images"
    return None


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f", … ({len(names)})" if len(names) > 5 else "")
