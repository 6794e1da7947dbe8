"""Learning-rate schedules over the full horizon, stepped once per update.

Notation: T = horizon in epochs (50), u = updates done, n = updates per epoch, t = u / n epochs done,
W = warmup_epochs, w = warmup_lr, η = lr of a parameter group before layer decay. Where a pipeline has a
horizon of its own (`schedule_epochs`), warm-up, decays and patience are in proportion.

    warm-up    t < W: w + (η − w) · t / W
    none       η
    cosine     η · (1 + cos(π t / T)) / 2
    step       η · decay_rate ^ ⌊t / decay_epochs⌋
    multistep  η · decay_rate ^ (number of milestones ≤ t), milestones T − 2 · decay_epochs, T − decay_epochs
    plateau    η · decay_rate ^ (number of plateaus so far)

Everything is multiplied by the group's `lr_scale` (layer decay). timm's schedulers do that; stepping them per
update instead of per epoch lets the first epoch learn even where warm-up starts at 0. A run that stops at
epoch 7 has seen the first 7 epochs of the same curve.
"""

from typing import Any

import torch
from timm.scheduler.cosine_lr import CosineLRScheduler
from timm.scheduler.multistep_lr import MultiStepLRScheduler
from timm.scheduler.scheduler import Scheduler
from timm.scheduler.step_lr import StepLRScheduler

from qtt.finetune.cv.classification.recipe import Recipe


def milestones(horizon: int, decay: int) -> list[int]:
    """When `multistep` decays, twice within the horizon: (30, 40) or (10, 30) of 50 epochs; or in updates."""
    return [time for time in (horizon - 2 * decay, horizon - decay) if time > 0]


class PlateauScheduler(Scheduler):
    """Lower the learning rate whenever the score has not risen for more than `patience` epochs.

    As torch's ReduceLROnPlateau (mode max, relative threshold 1e-4), on top of timm's `lr_scale`: timm's own
    is deprecated and loses count of the patience in checkpoints. Epochs of the warm-up do not count.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        decay_rate: float,
        patience: int,
        warmup_t: int,
        warmup_lr_init: float,
    ) -> None:
        self.best: float | None = None
        self.bad_epochs = 0
        self.plateaus = 0
        self.decay_rate = decay_rate
        self.patience = patience
        self.warmup_t = warmup_t
        self.warmup_lr_init = warmup_lr_init
        super().__init__(optimizer, "lr", t_in_epochs=False)
        self.update_groups(self._get_lr(0))

    def observe(self, score: float) -> None:
        """Take an epoch's score into account."""
        if self.best is None or score > self.best * (1 + 1e-4):
            self.best, self.bad_epochs = score, 0
        else:
            self.bad_epochs += 1
        if self.bad_epochs > self.patience:
            self.plateaus, self.bad_epochs = self.plateaus + 1, 0

    def _get_lr(self, t: int) -> list[float]:
        if t < self.warmup_t:
            start = self.warmup_lr_init
            return [start + (value - start) * t / self.warmup_t for value in self.base_values]
        return [value * self.decay_rate**self.plateaus for value in self.base_values]


class Schedule:
    """A recipe's learning rates: set for every update, told every score, saved in every checkpoint."""

    def __init__(
        self, recipe: Recipe, optimizer: torch.optim.Optimizer, updates_per_epoch: int, horizon: int
    ) -> None:
        self._scheduler = _build(recipe, optimizer, updates_per_epoch, horizon)
        self._warmup_updates = _updates(recipe, recipe.warmup_epochs, updates_per_epoch, horizon)

    def set(self, updates: int) -> None:
        """Set the learning rates for the update that follows `updates` others."""
        self._scheduler.step_update(updates)

    def observe(self, updates: int, score: float) -> None:
        """End an epoch of which `updates` others and itself are done."""
        if isinstance(self._scheduler, PlateauScheduler) and updates > self._warmup_updates:
            self._scheduler.observe(score)

    def state_dict(self) -> dict[str, Any]:
        """What cannot be computed from the number of updates."""
        if not isinstance(self._scheduler, PlateauScheduler):
            return {}
        return {name: getattr(self._scheduler, name) for name in ("best", "bad_epochs", "plateaus")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self._scheduler.__dict__.update(state)


def _updates(recipe: Recipe, epochs: int, updates_per_epoch: int, horizon: int) -> int:
    return round(recipe.scaled(epochs, horizon) * updates_per_epoch)


def _build(recipe: Recipe, optimizer: torch.optim.Optimizer, n: int, horizon: int) -> Scheduler:
    warmup: dict[str, Any] = {
        "warmup_t": _updates(recipe, recipe.warmup_epochs, n, horizon),
        "warmup_lr_init": recipe.warmup_lr,
    }
    decay = max(_updates(recipe, recipe.decay_epochs, n, horizon), 1)
    common = warmup | {"warmup_prefix": False, "t_in_epochs": False}
    if recipe.sched == "cosine":
        return CosineLRScheduler(optimizer, t_initial=horizon * n, **common)
    if recipe.sched == "step":
        return StepLRScheduler(optimizer, decay, recipe.decay_rate, **common)
    if recipe.sched == "multistep":
        updates = [t + 1 for t in milestones(horizon * n, decay)]  # which timm compares with t + 1
        return MultiStepLRScheduler(optimizer, updates, recipe.decay_rate, **common)
    if recipe.sched == "plateau":
        patience = round(recipe.scaled(recipe.patience_epochs, horizon))
        return PlateauScheduler(optimizer, recipe.decay_rate, patience, **warmup)
    return StepLRScheduler(optimizer, horizon * n, 1.0, **common)
