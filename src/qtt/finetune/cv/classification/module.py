"""The Lightning module: forward and loss of a batch, and sums over an epoch."""

from collections.abc import Sequence
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from qtt.finetune.cv.classification.batch_augment import PlannedImages
from qtt.finetune.cv.classification.forward import ForwardStep, Regularizer, TrainingDiverged, input_scaling
from qtt.finetune.cv.classification.mixing import Mixer
from qtt.finetune.cv.classification.strategies.features import FeatureReader

CHECK_EVERY = 32
"""Updates between two looks at the loss on a GPU, each of which waits for it."""


class ClassificationModule(lightning.LightningModule):
    """Trains a network on mixed uint8 images; sums of loss and hits are read after each epoch.

    mean, std: of the network's inputs, for images from 0 to 1.
    regularizers: added to the cross-entropy; they are no part of this module's state.
    class_weights: (k,) of the classes in the loss; None: all weigh the same.
    gather: keep what the network says of the validation images, in `told`.
    accumulate: chunks in which a batch goes forwards and backwards, for less memory, with one update a batch
        all the same. Batch norms and BSS, which look at many images together, then see a chunk at a time.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        mixer: Mixer,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        regularizers: Sequence[Regularizer] = (),
        accumulate: int = 1,
        class_weights: Tensor | None = None,
        gather: bool = False,
    ) -> None:
        super().__init__()
        self.network: Any = network
        self.optimizer = optimizer
        self.mixer = mixer
        self.regularizers = tuple(regularizers)
        self.accumulate = accumulate
        self.rng = np.random.default_rng()
        self.mean: Tensor
        self.scale: Tensor
        for name, tensor in zip(("mean", "scale"), input_scaling(mean, std), strict=True):
            self.register_buffer(name, tensor)
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.sums: dict[str, Any] = {}
        self.gather = gather
        self.told: list[tuple[Tensor, Tensor]] = []
        read = any(regularizer.needs_features for regularizer in self.regularizers)
        self._features = FeatureReader(network) if read else None
        # images in a chunk: batch norms refuse a single one whose maps have shrunk to a pixel
        self._least = 2 if any(isinstance(module, _BatchNorm) for module in network.modules()) else 1

    def normalize(self, images: Tensor) -> Tensor:
        """What the network takes, (b, 3, s, s), of floats from 0 to 255."""
        if images.device.type == "cpu" and images.is_contiguous(memory_format=torch.channels_last):
            side = images.shape[-1]  # whole rows at once: four times as fast as three channels at a time
            mean, scale = (tensor.flatten().repeat(side) for tensor in (self.mean, self.scale))
            rows = (images.permute(0, 2, 3, 1).flatten(2) - mean) * scale
            return rows.view(-1, side, side, 3).permute(0, 3, 1, 2)
        return (images - self.mean) * self.scale

    def forward(self, images: Tensor) -> Tensor:
        """Logits (b, k) of images (b, 3, s, s), floats from 0 to 255."""
        logits: Tensor = self.network(self.normalize(images))
        return logits

    def forward_step(self, images: Tensor, targets: Tensor) -> ForwardStep:
        """Forward pass of mixed images (b, 3, s, s), floats from 0 to 255, with targets (b, k)."""
        images = self.normalize(images)
        if self._features is None:
            return ForwardStep(images, targets, self.network(images).float())
        maps = self.network.forward_features(images)
        logits = self.network.forward_head(maps).float()
        return ForwardStep(images, targets, logits, self._features(maps))

    def training_step(self, batch: tuple[Tensor | PlannedImages, Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy with the mixed targets, and the regularisers; planned augmentation is done here.

        With `accumulate`, all chunks but the last are propagated backwards here, and the last by Lightning.

        Raises:
            TrainingDiverged: the loss is not finite.
        """
        images, labels = batch
        if isinstance(images, PlannedImages):
            with torch.autocast(labels.device.type, enabled=False):
                images = images.augmented()
        mixed, targets = self.mixer(images.float(), labels, self.rng)
        chunks = max(min(self.accumulate, len(labels) // self._least), 1)
        if self.accumulate > 1:
            self.optimizer.zero_grad()
        *first, last = zip(mixed.tensor_split(chunks), targets.tensor_split(chunks), strict=True)
        for chunk in first:
            self._propagate(self._loss(*chunk, len(labels)))
        loss = self._loss(*last, len(labels))
        if loss.device.type == "cpu" or batch_idx % CHECK_EVERY == 0:
            total = self.sums["train_loss"] + self.sums.get("penalty", 0)
            if not torch.isfinite(total):
                raise TrainingDiverged(f"The training loss became {total.item()}.")
        return loss

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        """Lightning calls this between forward and backward, when chunks have left their gradients."""
        if self.accumulate == 1:
            super().optimizer_zero_grad(epoch, batch_idx, optimizer)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Add up loss and hits, and keep the logits where they are wanted."""
        images, labels = batch
        logits = self(images.float()).float()
        self._add("val_loss", functional.cross_entropy(logits, labels, reduction="sum"))
        self._add("val_hits", (logits.argmax(1) == labels).sum())
        self._add("val_images", len(labels))
        if self.gather:
            self.told.append((logits.cpu(), labels.cpu()))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimizer that was built with the network."""
        return self.optimizer

    def _loss(self, images: Tensor, targets: Tensor, batch_size: int) -> Tensor:
        """A chunk's part in the mean loss of its batch.

        `train_loss` counts the cross-entropy alone, so that pipelines can be compared.
        """
        step = self.forward_step(images, targets)
        loss = functional.cross_entropy(step.logits, targets, self.class_weights)
        self._add("train_loss", loss.detach() * len(targets))
        self._add("train_images", len(targets))
        if self.regularizers:
            penalty = torch.stack([regularizer(step) for regularizer in self.regularizers]).sum()
            self._add("penalty", penalty.detach() * len(targets))
            loss = loss + penalty
        return loss if len(targets) == batch_size else loss * (len(targets) / batch_size)

    def _propagate(self, loss: Tensor) -> None:
        """Backward pass of a chunk, with the loss scaling of half precision where that is used."""
        with torch.autocast(loss.device.type, enabled=False):
            self.trainer.strategy.backward(loss, None)

    def _add(self, name: str, value: Any) -> None:
        self.sums[name] = self.sums.get(name, 0) + value
