"""From a dataset's folder to what objectives and optimizers must know of it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from qtt.data.contents import describe_contents
from qtt.data.image_folder import Sample, scan_image_folder
from qtt.finetune.cv.classification.decoding import UNREADABLE, unreadable
from qtt.types import MetaFeatures, TaskInfo

INSPECTED = 200
"""Images whose headers are read."""

GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N", "F"})
"""Pillow's modes of one channel."""


def extract_task_info_metafeat(
    path: Path | str, val_fraction: float = 0.2, seed: int = 0
) -> tuple[TaskInfo, MetaFeatures]:
    """Describe the image folder at `path` as task and as meta-features.

    `train_images` counts the training split alone, after validation was split off; `image_size` is the median
    shorter side of up to 200 training images drawn with `seed`; `channels` is 1 where all of them are grey.

    Raises:
        DatasetError: the folder cannot be used, or an image cannot be read.
    """
    folder = scan_image_folder(path, val_fraction, seed)
    sides, grey = _inspect(folder.train, seed)
    image_size = round(float(np.median(sides)))
    task = TaskInfo(
        folder.root.resolve(),
        folder.class_names,
        val_fraction,
        seed,
        image_size=image_size,
        dataset=describe_contents(folder),
    )
    features = MetaFeatures(
        train_images=len(folder.train),
        num_classes=len(folder.class_names),
        image_size=image_size,
        channels=1 if grey else 3,
    )
    return task, features


def _inspect(samples: Sequence[Sample], seed: int) -> tuple[list[int], bool]:
    """Shorter sides of a sample of images, and whether all of them are grey; reads headers only."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(samples), size=min(INSPECTED, len(samples)), replace=False)
    sides, modes = [], set()
    for index in chosen:
        path = samples[index][0]
        try:
            with Image.open(path) as image:
                sides.append(min(image.size))
                modes.add(image.mode)
        except UNREADABLE as error:
            raise unreadable(path, error) from error
    return sides, modes <= GREY_MODES
