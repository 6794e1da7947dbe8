"""Images as the methods of our own see them, decoded as qtt does for validation and test."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from points import IMAGE_SIZE
from torch import Tensor

from qtt.data.image_folder import ImageFolder
from qtt.finetune.cv.classification.decoding import decode
from qtt.types import ModelCard

BATCH = 64


@dataclass(frozen=True)
class Pixels:
    """The splits of a dataset, each decoded when it is first asked for and then kept."""

    folder: ImageFolder
    _kept: dict[tuple[str, str], Tensor] = field(default_factory=dict)

    def images(self, split: str, card: ModelCard) -> Tensor:
        """A split as (n, 3, s, s) uint8."""
        key = split, card.interpolation
        if key not in self._kept:
            samples = self.folder.split(split)
            decoded = np.stack([decode(path, IMAGE_SIZE, card.interpolation) for path, _ in samples])
            self._kept[key] = torch.from_numpy(decoded).permute(0, 3, 1, 2).contiguous()
        return self._kept[key]

    def labels(self, split: str) -> NDArray[np.int64]:
        """Positions (n,) of a split's classes."""
        return np.array([label for _, label in self.folder.split(split)])


def normalized(images: Tensor, card: ModelCard) -> Tensor:
    """What the card's network takes, of images (b, 3, s, s) uint8."""
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (card.mean, card.std))
    return (images.float() / 255 - mean) / std


@torch.inference_mode()
def outputs(function: Callable[[Tensor], Tensor], images: Tensor, card: ModelCard) -> NDArray[np.float32]:
    """`function` of normalised images (n, 3, s, s), in batches; (n, d)."""
    parts = [function(normalized(part, card)) for part in torch.split(images, BATCH)]
    found: NDArray[np.float32] = torch.cat(parts).numpy()
    return found
