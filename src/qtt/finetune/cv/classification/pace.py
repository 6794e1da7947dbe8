"""Epochs of large datasets: so many images that a search of some minutes sees the end of several."""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from qtt.finetune.cv.classification.settings import PACE
from qtt.support.machine import trains_on_cpu
from qtt.types import MetaFeatures, TaskInfo

EPOCHS = 30.0
"""Epochs of a usual model that a budget is to hold."""

LEAST = 2000
"""Images of an epoch, and of a score, in any case."""

ON_A_CORE, ON_A_GPU = 40.0, 1000.0
"""Images a second in training, roughly, for small models at 128 pixels and for larger ones."""

WORTH = 1.5
"""A dataset that is larger by less than this factor is used whole."""


def paced(
    task: TaskInfo, metafeatures: MetaFeatures, seconds: float, begun: Mapping[str, Any] | None = None
) -> tuple[TaskInfo, MetaFeatures]:
    """The task with `epoch_images` and `val_images`, where these are not given, and the images of its epochs.

    seconds: the budget. begun: settings of a search that goes on, which stay.
    """
    settings = dict(task.settings)
    chosen = _suitable(metafeatures.train_images, seconds, settings) if begun is None else begun
    settings |= {name: chosen.get(name) for name in PACE if settings.get(name) is None}
    epoch = min(metafeatures.train_images, settings[PACE[0]] or metafeatures.train_images)
    return replace(task, settings=settings), replace(metafeatures, train_images=epoch)


def _suitable(images: int, seconds: float, settings: Mapping[str, Any]) -> dict[str, int]:
    """What a training split of so many images needs; nothing where all of them suit the budget."""
    on_cpu = trains_on_cpu(settings.get("device"))
    rate = ON_A_CORE * (os.cpu_count() or 1) if on_cpu else ON_A_GPU
    part = max(LEAST, round(rate * seconds / EPOCHS))
    return {} if images <= WORTH * part else dict.fromkeys(PACE, part)
