"""Settings of the finetuning objective: what concerns all pipelines of a search alike."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from qtt.errors import ConfigError, unknown
from qtt.support.machine import DEVICE

WHERE_IT_RUNS = (
    *("num_workers", "cache_mb", "cache_dir", "cache_gb"),
    *("device", "deterministic", "oom_accumulation"),
)
"""Settings that change no learning curve but in rounding, or say so in their epochs' records."""

BALANCES = ("class_weights", "sampler")
"""What may be done for rare classes; None by default, so that searches of the time before are the same."""


PACE = ("epoch_images", "val_images")
"""How much of a large dataset an epoch and a score are of; None by default: all."""


@dataclass(frozen=True)
class FinetuneSettings:
    """Read from `TaskInfo.settings`.

    image_size: side in pixels to which images are resized; None: the dataset's own (median shorter side, up
        to the next multiple of 32, at least 64), at most the input size of the model's card. Models that take
        one size only keep theirs.
    max_image_size: bound on every model's side; None: none. Models that take one size only are built for a
        smaller one where timm can resample their weights, and keep theirs where it cannot.
    pretrained: start from the card's pretrained weights; False: from random ones.
    epoch_images: training images of an epoch, which on a large dataset is a part of a pass over all of them;
        epochs go on where the one before has ended. None: all.
    val_images: validation images that scores are of, a fixed share of each class; None: all.
    device: auto (CUDA where there is one), cpu, cuda, or cuda:1 for the second GPU.
    deterministic: on a GPU, use algorithms that give the same bits every time, and full precision in products
        of matrices; slower. The CPU gives the same bits in any case.
    num_workers: processes that prepare images, for all epochs and pipelines: decode what the cache does not
        keep and, where training is on the CPU, augment. A GPU augments by itself. 0: the training process
        does it. Each holds up to two batches in shared memory; where that is too small there will be fewer.
    cache_mb: bound on the decoded images of one dataset, on disk or in memory; what does not fit is decoded
        again in every epoch.
    cache_dir: folder of decoded images, shared by all searches; None: `images` below the cache folder.
    cache_gb: disk that this folder may take; datasets used longest ago give way. 0: keep images in memory.
    oom_accumulation: chunks in which batches go through the network once a pipeline has run out of memory;
        the batch size of an update stays. 1: the pipeline fails instead.
    crop_area: training images are random crops of at least this share of the image, resized; 1: no crops.
    hflip: probability that a training image is mirrored. 0 by default: mirroring changes the meaning of
        digits, characters and many signs.
    class_weights: `balanced`: the training loss of an image is weighted by n / (c · images of its class), for
        n images and c classes; `none` or None: all images weigh the same.
    sampler: `balanced`: an epoch draws every class equally often, n images in all; `none` or None: every
        image once. Not together with balanced weights, which would correct twice.
    """

    image_size: int | None = None
    max_image_size: int | None = None
    pretrained: bool = True
    epoch_images: int | None = None
    val_images: int | None = None
    device: str = "auto"
    deterministic: bool = False
    num_workers: int = 0
    cache_mb: int = 2048
    cache_dir: str | None = None
    cache_gb: int = 20
    oom_accumulation: int = 1
    crop_area: float = 0.7
    hflip: float = 0.0
    class_weights: str | None = None
    sampler: str | None = None

    def __post_init__(self) -> None:
        for name in BALANCES:
            if getattr(self, name) == "none":
                object.__setattr__(self, name, None)
        checks = {
            "image_size": self.image_size is None or _is_int(self.image_size, 8),
            "max_image_size": self.max_image_size is None or _is_int(self.max_image_size, 8),
            "pretrained": isinstance(self.pretrained, bool),
            "epoch_images": self.epoch_images is None or _is_int(self.epoch_images, 1),
            "val_images": self.val_images is None or _is_int(self.val_images, 1),
            "device": isinstance(self.device, str) and DEVICE.fullmatch(self.device) is not None,
            "deterministic": isinstance(self.deterministic, bool),
            "num_workers": _is_int(self.num_workers, 0),
            "cache_mb": _is_int(self.cache_mb, 0),
            "cache_dir": self.cache_dir is None or isinstance(self.cache_dir, str),
            "cache_gb": _is_int(self.cache_gb, 0),
            "oom_accumulation": _is_int(self.oom_accumulation, 1),
            "crop_area": _is_number(self.crop_area) and 0 < self.crop_area <= 1,
            "hflip": _is_number(self.hflip) and 0 <= self.hflip <= 1,
            **{name: getattr(self, name) in (None, "balanced") for name in BALANCES},
        }
        for name, right in checks.items():
            if not right:
                raise ConfigError(
                    f"objective.settings.{name}={getattr(self, name)!r} is impossible. {_HELP[name]}"
                )
        if self.class_weights and self.sampler:
            raise ConfigError(
                "objective.settings.class_weights=balanced and sampler=balanced together would correct for "
                "rare classes twice. Choose one of them."
            )

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any]) -> Self:
        """Read settings; an unknown name is an error with close matches."""
        known = {item.name for item in fields(cls)}
        for name in data:
            if name not in known:
                raise ConfigError(unknown("setting of the finetuning objective", name, known))
        return cls(**data)


_HELP = {
    "image_size": "Give a side of at least 8 pixels, or null for the dataset's own.",
    "max_image_size": "Give a side of at least 8 pixels, or null for no bound.",
    "pretrained": "Give true or false.",
    "epoch_images": "Give a number of images from 1, or null for all.",
    "val_images": "Give a number of images from 1, or null for all.",
    "device": "Choose auto, cpu, cuda, or cuda:1 for the second GPU.",
    "deterministic": "Give true or false.",
    "num_workers": "Give a whole number from 0.",
    "cache_mb": "Give megabytes, a whole number from 0.",
    "cache_dir": "Give the path of a folder, or null for the usual one.",
    "cache_gb": "Give gigabytes, a whole number from 0.",
    "oom_accumulation": "Give a number of chunks, a whole number from 1.",
    "crop_area": "Give a share above 0 and up to 1.",
    "hflip": "Give a probability from 0 to 1.",
    "class_weights": "Choose none or balanced.",
    "sampler": "Choose none or balanced.",
}


def _is_int(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
