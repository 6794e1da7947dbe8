"""What depends on time during an epoch."""

from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from torch import nn

from qtt.finetune.cv.classification.schedule import Schedule


class TrainMode(Callback):
    """Put the network into training mode before an epoch, frozen batch norms excepted."""

    def __init__(self, frozen_norms: tuple[nn.Module, ...]) -> None:
        self.frozen_norms = frozen_norms

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Lightning restores the modes it finds, and sets none itself."""
        pl_module.train()
        for norm in self.frozen_norms:
            norm.eval()


class LearningRates(Callback):
    """Set the learning rates of every update; `updates` were done in earlier epochs."""

    def __init__(self, schedule: Schedule, updates: int) -> None:
        self.schedule = schedule
        self.updates = updates

    def on_train_batch_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Before the forward pass, so that the update uses them."""
        self.schedule.set(self.updates + batch_idx)
