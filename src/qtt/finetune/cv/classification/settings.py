"""Settings of the finetuning objective: what concerns all pipelines of a search alike."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from qtt.errors import ConfigError, unknown

DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class FinetuneSettings:
    """Read from `TaskInfo.settings`.

    image_size: side in pixels to which images are resized; None: the input size of the model's card. Models
        that take one size only keep theirs.
    pretrained: start from the card's pretrained weights; False: from random ones.
    device: auto (CUDA where there is one), cpu or cuda.
    num_workers: processes that augment images; 0: the training process itself.
    cache_mb: memory for decoded images; what does not fit is decoded again in every epoch.
    crop_area: training images are random crops of at least this share of the image, resized; 1: no crops.
    hflip: probability that a training image is mirrored. 0 by default: mirroring changes the meaning of
        digits, characters and many signs.
    """

    image_size: int | None = None
    pretrained: bool = True
    device: str = "auto"
    num_workers: int = 0
    cache_mb: int = 2048
    crop_area: float = 0.7
    hflip: float = 0.0

    def __post_init__(self) -> None:
        checks = {
            "image_size": self.image_size is None or _is_int(self.image_size, 8),
            "pretrained": isinstance(self.pretrained, bool),
            "device": self.device in DEVICES,
            "num_workers": _is_int(self.num_workers, 0),
            "cache_mb": _is_int(self.cache_mb, 0),
            "crop_area": _is_number(self.crop_area) and 0 < self.crop_area <= 1,
            "hflip": _is_number(self.hflip) and 0 <= self.hflip <= 1,
        }
        for name, right in checks.items():
            if not right:
                raise ConfigError(
                    f"objective.settings.{name}={getattr(self, name)!r} is impossible. {_HELP[name]}"
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
    "image_size": "Give a side of at least 8 pixels, or null for the model's own.",
    "pretrained": "Give true or false.",
    "device": f"Choose one of {', '.join(DEVICES)}.",
    "num_workers": "Give a whole number from 0.",
    "cache_mb": "Give megabytes, a whole number from 0.",
    "crop_area": "Give a share above 0 and up to 1.",
    "hflip": "Give a probability from 0 to 1.",
}


def _is_int(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
