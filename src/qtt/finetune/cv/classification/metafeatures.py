"""From a dataset to what objectives and optimizers must know of it."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from qtt.data.contents import describe_contents
from qtt.data.image_types import UNREADABLE, open_image
from qtt.data.scan import scan_images
from qtt.data.sources import Source, list_dataset, list_task, open_dataset
from qtt.data.sources.source import MAX_BAD
from qtt.data.splitting import Sample
from qtt.data.survey import Survey, survey
from qtt.finetune.cv.classification.decoding import unreadable
from qtt.types import MetaFeatures, TaskInfo

logger = logging.getLogger("qtt")

INSPECTED = 200
"""Images whose headers are read."""

GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N", "F"})
"""Pillow's modes of one channel."""


def extract_task_info_metafeat(
    path: os.PathLike[str] | str,
    val_fraction: float = 0.2,
    seed: int = 0,
    *,
    images: Path | str | None = None,
    file_column: str | None = None,
    label_column: str | None = None,
    split_column: str | None = None,
    group_column: str | None = None,
    max_bad: float = MAX_BAD,
    max_pixels: int | None = None,
) -> tuple[TaskInfo, MetaFeatures]:
    """Describe the images at `path` as task and as meta-features.

    Every image is read once, unless an earlier call found it in order; what should make one stop is logged as
    warnings of the logger `qtt`. `train_images` counts the training split alone, after validation was split
    off; `image_size` is the median shorter side of up to 200 training images drawn with `seed`; `channels` is
    1 where all of them are grey.

    Args:
        path: a folder (split folders, class folders, one of these in a folder, or a table with its images), a
            table of files and labels, or a saved Hugging Face dataset.
        val_fraction: share of every class that validates, where the dataset does not say which images do.
        seed: of that split.
        images: folder that the files of a table are relative to; default: the table's own.
        file_column: of a table or saved dataset; default: recognised by its name.
        label_column: the same.
        split_column: the same; default where none is recognised: a share is split off.
        group_column: images of a group stay on one side of that split.
        max_bad: share of images that may be unreadable and are left out.
        max_pixels: images of more pixels count as unreadable; None: 178,956,970.

    Raises:
        DatasetError: the dataset cannot be used, or too many images cannot be read.
        ConfigError: options that do not fit it.
    """
    options = {
        "images": images,
        "file_column": file_column,
        "label_column": label_column,
        "split_column": split_column,
        "group_column": group_column,
        "max_bad": max_bad,
        "max_pixels": max_pixels,
    }
    source = path if isinstance(path, Source) else Source.of(path, **options)
    task, metafeatures, found = describe(source, val_fraction, seed)
    for warning in found.warnings:
        logger.warning("%s", warning)
    return task, metafeatures


def describe(
    path: os.PathLike[str] | str, val_fraction: float = 0.2, seed: int = 0
) -> tuple[TaskInfo, MetaFeatures, Survey]:
    """See `extract_task_info_metafeat`; here with what the dataset holds, and nothing is logged."""
    opened = open_dataset(Source.of(path), val_fraction, seed)
    folder = opened.images
    sides, grey = _inspect(folder.train, seed)
    image_size = round(float(np.median(sides)))
    task = TaskInfo(
        opened.path,
        folder.class_names,
        val_fraction,
        seed,
        image_size=image_size,
        dataset=describe_contents(folder),
        source=opened.source,
    )
    features = MetaFeatures(
        train_images=len(folder.train),
        num_classes=len(folder.class_names),
        image_size=image_size,
        channels=1 if grey else 3,
    )
    return task, features, survey(opened.path, folder, opened.facts)


def survey_task(task: TaskInfo) -> Survey:
    """What the dataset of a described task holds.

    Raises:
        DatasetError: it is gone or has changed.
    """
    everything = {key: value for key, value in task.source.items() if key != "skip"}
    listing = list_dataset(Path(task.path), everything, task.val_fraction, task.seed)
    facts = scan_images(listing, task.source.get("max_pixels"))
    return survey(Path(task.path), list_task(task) if "skip" in task.source else listing, facts)


def _inspect(samples: Sequence[Sample], seed: int) -> tuple[list[int], bool]:
    """Shorter sides of a sample of images, and whether all of them are grey; reads headers only."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(samples), size=min(INSPECTED, len(samples)), replace=False)
    sides, modes = [], set()
    for index in chosen:
        path = samples[index][0]
        try:
            with open_image(path) as image:
                sides.append(min(image.size))
                modes.add(image.mode)
        except UNREADABLE as error:
            raise unreadable(path, error) from error
    return sides, modes <= GREY_MODES
