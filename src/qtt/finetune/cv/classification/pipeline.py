"""A live pipeline: what is in memory between two of its epochs."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from qtt.finetune.cv.classification.batch_augment import BatchTransform
from qtt.finetune.cv.classification.callbacks import LearningRates, TrainMode
from qtt.finetune.cv.classification.checkpoint import EpochRecord, Progress
from qtt.finetune.cv.classification.crews import Batches
from qtt.finetune.cv.classification.data import DataStore, EvalOrder, TrainOrder
from qtt.finetune.cv.classification.epoch import choose_precision, run_epoch, say_once
from qtt.finetune.cv.classification.forward import TrainingDiverged
from qtt.finetune.cv.classification.loss_terms import NotApplicable
from qtt.finetune.cv.classification.mixing import Mixer
from qtt.finetune.cv.classification.model import build_learner, with_own_flags
from qtt.finetune.cv.classification.module import ClassificationModule
from qtt.finetune.cv.classification.probe import NOT_PRETRAINED, linear_classifier
from qtt.finetune.cv.classification.randomness import Stream, derive_seed, seeded
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.regularizers import build_regularizers
from qtt.finetune.cv.classification.schedule import Schedule
from qtt.finetune.cv.classification.scoring import Scorer, balanced_weights
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.finetune.cv.classification.sizes import input_size
from qtt.finetune.cv.classification.transforms import TrainTransform
from qtt.support.machine import on_gpu
from qtt.types import TaskInfo

EVAL_BATCH = 64
"""Least number of images in a batch without gradients."""


class Pipeline:
    """Trains one config epoch by epoch.

    settings: with `device` already chosen.
    accumulate: chunks in which a batch goes forwards and backwards; see `ClassificationModule`.
    augment_in_batches: augment on the device, whole batches at once, and not image by image in the loader.
        None: on GPUs. A CPU is several times slower with batches than Pillow is with images.
    """

    def __init__(
        self,
        recipe: Recipe,
        settings: FinetuneSettings,
        task: TaskInfo,
        config_id: int,
        store: DataStore,
        accumulate: int = 1,
        augment_in_batches: bool | None = None,
    ) -> None:
        self.recipe = recipe
        self.settings = settings
        self.task = task
        self.config_id = config_id
        self.progress = Progress()
        card = task.card(recipe.model)
        self.precision = choose_precision(recipe.amp, settings.device)
        self.image_size = size = input_size(card, settings, task.image_size)
        train, val = store.splits(task, settings, size, card.interpolation)
        self.learner = build_learner(recipe, settings, task, config_id, self.precision)
        balance = train.labels if settings.sampler else None
        self.order = TrainOrder(
            len(train), recipe.batch_size, task.seed, config_id, balance, settings.epoch_images
        )
        self.updates = len(self.order)
        horizon = recipe.horizon(task.max_fidelity)
        self.schedule = Schedule(recipe, self.learner.optimizer, self.updates, horizon)
        self.scorer = Scorer.of(task.metric, train.labels, val.labels, task.num_classes)
        mixer = Mixer.of(recipe, task.num_classes)
        self.regularizers = build_regularizers(recipe, settings, task, self.learner.network, train)
        self.not_applicable: dict[str, str] = {}
        for name, reason in {**self._head_trouble(), **self.regularizers.not_applicable}.items():
            self.without(name, reason)
        self.module = ClassificationModule(
            self.learner.network,
            self.learner.optimizer,
            mixer,
            card.mean,
            card.std,
            self.regularizers.terms,
            accumulate,
            balanced_weights(train.labels, task.num_classes) if settings.class_weights else None,
            gather=not self.scorer.counts_alone,
        )
        gpu = on_gpu(settings.device)
        in_batches = gpu if augment_in_batches is None else augment_in_batches
        transform = (BatchTransform if in_batches else TrainTransform)(recipe, settings, card.mean, size)
        self.train_loader = Batches(train, self.order, transform, store.crews, settings.num_workers, gpu)
        eval_order = EvalOrder(len(val), max(recipe.batch_size, EVAL_BATCH))
        self.val_loader = Batches(val, eval_order, None, store.crews, 0, gpu)

    def without(self, name: str, reason: str) -> None:
        """Go on without what a hyperparameter asks for, and say why."""
        self.not_applicable[name] = reason
        say_once(f"{name} is not applicable: {reason}. Training goes on without it.")

    def train_epoch(self) -> EpochRecord:
        """Train and evaluate the next epoch; the record has no cost yet.

        Raises:
            TrainingDiverged: a loss is not finite.
            DatasetError: an image cannot be read.
            WorkersLost: processes that make batches were lost; the pipeline is of no use any more.
        """
        epoch = self.progress.epoch + 1
        done = (epoch - 1) * self.updates
        self.order.epoch = epoch
        self.module.sums, self.module.told = {}, []
        self.module.rng = np.random.default_rng(self._seed(epoch, Stream.MIXING))
        with seeded(self._seed(epoch, Stream.NETWORK)):
            run_epoch(
                self.module,
                self.train_loader,
                self.val_loader,
                [TrainMode(self.learner.frozen_norms), LearningRates(self.schedule, done)],
                device=self.settings.device,
                deterministic=self.settings.deterministic,
                precision=self.precision,
                clip_grad=self.recipe.clip_grad,
                scaler=self.learner.scaler,
            )
        sums = {name: float(value) for name, value in self.module.sums.items()}
        score, known = self.scorer.score(sums["val_hits"], sums["val_images"], self.module.told)
        self.module.told = []
        info = {
            "train_loss": sums["train_loss"] / sums["train_images"],
            "val_loss": sums["val_loss"] / sums["val_images"],
            "lr": max(group["lr"] for group in self.learner.optimizer.param_groups),
        }
        for name, value in (info | {"penalty": sums.get("penalty", 0.0)}).items():
            if not math.isfinite(value):
                raise TrainingDiverged(f"The {name} of epoch {epoch} is {value}.")
        info |= known
        self.schedule.observe(done + self.updates, score)
        not_applicable = {"not_applicable": self.not_applicable} if self.not_applicable else {}
        return {"score": score, "info": info | not_applicable}

    @property
    def begins_with_probe(self) -> bool:
        """Whether its classifier is to be that of its model's probe before the first epoch."""
        return self.recipe.head_init == "probe" and "head_init" not in self.not_applicable

    def _head_trouble(self) -> dict[str, str]:
        """Why the classifier cannot be a probe's, where it is to be."""
        if self.recipe.head_init != "probe":
            return {}
        if not self.settings.pretrained:
            return {"head_init": NOT_PRETRAINED}
        try:
            linear_classifier(self.learner.network)
        except NotApplicable as reason:
            return {"head_init": str(reason)}
        return {}

    def finish(self, record: EpochRecord) -> None:
        """Count an epoch as done."""
        self.progress = replace(self.progress, records=(*self.progress.records, record))

    @property
    def nbytes(self) -> int:
        """Memory of network, optimizer and regularisers."""
        states = self.learner.optimizer.state.values()
        held = [value for state in states for value in state.values() if isinstance(value, Tensor)]
        held += self.learner.network.state_dict().values()
        return sum(tensor.nbytes for tensor in held) + self.regularizers.nbytes

    def state(self) -> dict[str, Any]:
        """All that changes while training, for `restore`."""
        scaler = self.learner.scaler
        return {
            "network": self.learner.network.state_dict(),
            "optimizer": self.learner.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
        }

    def restore(self, progress: Progress, state: Mapping[str, Any]) -> None:
        """Go on where a checkpoint was written."""
        self.progress = progress
        self.learner.network.load_state_dict(state["network"])
        self.learner.optimizer.load_state_dict(with_own_flags(state["optimizer"], self.learner.optimizer))
        self.schedule.load_state_dict(state["schedule"])
        if self.learner.scaler is not None and state["scaler"]:
            self.learner.scaler.load_state_dict(state["scaler"])

    def _seed(self, epoch: int, stream: Stream) -> int:
        return derive_seed(self.task.seed, self.config_id, epoch, stream)
