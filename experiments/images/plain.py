"""One plain finetune, without a search: what one writes down in an hour.

tf_efficientnet_lite0 with a new classifier of small weights (timm's `reset_classifier`; the one that timm
builds starts with losses of 9 to 23); AdamW with 1e-3 for the classifier and 1e-4 for the rest, weight decay
0.01; batches of 32; random crops of 70 to 100 % of the image (torchvision's RandomResizedCrop), never
mirrored; cross-entropy. The first epoch, at full rate, tells how many fit into the budget; over the others
the rates fall as a cosine. The epoch that does best on validation counts.
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pixels import Pixels, normalized, outputs
from points import IMAGE_SIZE, Job, Point, answer, job_of, parser
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import RandomResizedCrop

from qtt.data.image_folder import scan_image_folder
from qtt.evaluation.memory import keep_memory
from qtt.finetune.cv.classification.model import in_fast_layout
from qtt.hub.model_hub import load_hub
from qtt.hub.weights import create_model
from qtt.types import ModelCard

MODEL = "tf_efficientnet_lite0"
HEAD_RATE, BODY_RATE, DECAY = 1e-3, 1e-4, 0.01
BATCH = 32
SMALLEST_CROP = 0.7

CROP = RandomResizedCrop(IMAGE_SIZE, scale=(SMALLEST_CROP, 1.0), interpolation=InterpolationMode.BICUBIC)


def plain(job: Job) -> Iterator[Point]:
    """A point after each epoch that is better on validation than those before it."""
    torch.manual_seed(job.seed)
    card = load_hub("folder", [MODEL], job.hub).cards[0]
    pixels = Pixels(scan_image_folder(job.images))
    classes = len(pixels.folder.class_names)
    network = in_fast_layout(create_model(card, classes, weights_dir=job.hub))
    finetuning = Finetuning(network, card, pixels, optimizer_of(network))
    for split in ("train", "val"):
        pixels.images(split, card)  # decoded now, and not in the epoch that is timed
    best, epochs, epoch = -1.0, 1, 0
    while epoch < epochs:
        begun = time.monotonic()
        finetuning.train(epoch, epochs)
        epoch += 1
        score = finetuning.accuracy("val")
        if epoch == 1:
            left = job.seconds - job.clock.seconds
            epochs += max(0, math.floor(left / (time.monotonic() - begun)))
        if score > best:
            best, reached = score, job.clock.seconds
            with job.clock.standing():
                test = finetuning.accuracy("test")
            yield Point(reached, score, test, f"{card.name} epoch {epoch} of {epochs}")


def optimizer_of(network: Any) -> torch.optim.Optimizer:
    """AdamW, with larger steps for the classifier, which is new."""
    head = list(network.get_classifier().parameters())
    body = [parameter for parameter in network.parameters() if all(parameter is not other for other in head)]
    groups = [{"params": head, "lr": HEAD_RATE}, {"params": body, "lr": BODY_RATE}]
    return torch.optim.AdamW(groups, weight_decay=DECAY)


def share_of_rate(step: int, first: int, total: int) -> float:
    """1 within the `first` steps, then a cosine that reaches 0 after `total`."""
    return 0.5 + 0.5 * math.cos(math.pi * max(0, step - first) / max(1, total - first))


@dataclass
class Finetuning:
    """A network on its way."""

    network: nn.Module
    card: ModelCard
    pixels: Pixels
    optimizer: torch.optim.Optimizer

    def __post_init__(self) -> None:
        self._rates = [group["lr"] for group in self.optimizer.param_groups]

    def train(self, epoch: int, epochs: int) -> None:
        """The next one of so many epochs."""
        self.network.train()
        images, labels = self.pixels.images("train", self.card), self._labels("train")
        batches = torch.split(torch.randperm(len(images)), BATCH)
        for number, chosen in enumerate(batches):
            if len(chosen) == 1 and number:  # batch norm can make nothing of one image
                continue
            step = epoch * len(batches) + number
            self._set_rates(share_of_rate(step, len(batches), epochs * len(batches)))
            crops = torch.stack([CROP(image) for image in images[chosen]])
            loss = functional.cross_entropy(self.network(normalized(crops, self.card)), labels[chosen])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()

    def accuracy(self, split: str) -> float:
        """Of a split's images."""
        self.network.eval()
        logits: NDArray[np.float32] = outputs(self.network, self.pixels.images(split, self.card), self.card)
        return float((logits.argmax(1) == self.pixels.labels(split)).mean())

    def _set_rates(self, share: float) -> None:
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = share * rate

    def _labels(self, split: str) -> Tensor:
        return torch.from_numpy(self.pixels.labels(split))


if __name__ == "__main__":
    keep_memory()
    answer(plain, job_of(parser(__doc__).parse_args()))
