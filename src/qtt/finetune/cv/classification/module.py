"""The Lightning module: forward and loss of a batch, and sums over an epoch."""

from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from qtt.errors import QTTError
from qtt.finetune.cv.classification.mixing import Mixer

CHECK_EVERY = 32
"""Updates between two looks at the loss on a GPU, each of which waits for it."""


class TrainingDiverged(QTTError, FloatingPointError):  # noqa: N818 - says what happened, as FloatingPointError
    """The training loss is not a finite number any more."""


class ClassificationModule(lightning.LightningModule):
    """Trains a network on mixed uint8 images; sums of loss and hits are read after each epoch.

    mean, std: of the network's inputs, for images from 0 to 1.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        mixer: Mixer,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> None:
        super().__init__()
        self.network = network
        self.optimizer = optimizer
        self.mixer = mixer
        self.rng = np.random.default_rng()
        self.mean: Tensor
        self.scale: Tensor
        self.register_buffer("mean", 255 * torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("scale", 1 / (255 * torch.tensor(std).view(-1, 1, 1)))
        self.sums: dict[str, Any] = {}

    def forward(self, images: Tensor) -> Tensor:
        """Logits (b, k) of images (b, 3, s, s), floats from 0 to 255."""
        logits: Tensor = self.network((images - self.mean) * self.scale)
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy with the mixed targets.

        Raises:
            TrainingDiverged: the loss is not finite.
        """
        images, labels = batch
        mixed, targets = self.mixer(images.float(), labels, self.rng)
        loss = functional.cross_entropy(self(mixed).float(), targets)
        self._add("train_loss", loss.detach() * len(labels))
        self._add("train_images", len(labels))
        on_cpu = loss.device.type == "cpu"
        if (on_cpu or batch_idx % CHECK_EVERY == 0) and not torch.isfinite(self.sums["train_loss"]):
            raise TrainingDiverged(f"The training loss became {self.sums['train_loss'].item()}.")
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Add up loss and hits."""
        images, labels = batch
        logits = self(images.float()).float()
        self._add("val_loss", functional.cross_entropy(logits, labels, reduction="sum"))
        self._add("val_hits", (logits.argmax(1) == labels).sum())
        self._add("val_images", len(labels))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimizer that was built with the network."""
        return self.optimizer

    def _add(self, name: str, value: Any) -> None:
        self.sums[name] = self.sums.get(name, 0) + value
