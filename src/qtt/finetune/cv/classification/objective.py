"""The objective that really trains: resume the pipeline's own checkpoint, train to the fidelity, evaluate.

Between steps of one process the dataset and the latest pipelines stay in memory; with or without them, in one
step or many, a pipeline's learning curve is the same.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors.torch import save_file

from qtt.errors import ConfigError
from qtt.finetune.cv.classification.checkpoint import (
    Progress,
    checkpoint_path,
    fingerprint,
    load_checkpoint,
    save_checkpoint,
)
from qtt.finetune.cv.classification.data import DataStore
from qtt.finetune.cv.classification.epoch import choose_device
from qtt.finetune.cv.classification.pipeline import Pipeline, Stamp, WarmPipelines
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.types import Result, TaskInfo, Trial

_data = DataStore()
_warm = WarmPipelines(limit=4, limit_bytes=2 * 2**30)


def finetune(trial: Trial, task_info: TaskInfo) -> Iterator[Result]:
    """Finetune `trial.config` until epoch `trial.fidelity`, yielding a result per epoch once it is on disk.

    score: top-1 accuracy on the validation split. cost: seconds of training and evaluation, and for the first
    epoch of building or resuming the pipeline. info: train_loss, val_loss (mean cross-entropy), lr (the
    largest at the epoch's end). Epochs that the checkpoint has but this step was asked for are reported from
    there. Weights that beat `task_info.best_score` are left in `task_info.weights_file`.

    Raises:
        ConfigError: config, settings or checkpoint cannot be used.
        DatasetError: the dataset or an image cannot.
        ModelHubError: the model's weights cannot be had.
        TrainingDiverged: a loss is not finite.
    """
    start = time.monotonic()
    step = _Step.of(trial, task_info)
    best = task_info.best_score
    reached = 0
    while True:
        pipeline = step.pipeline()
        if not reached:
            for epoch in pipeline.progress.to_replay(trial.fidelity):
                replayed = step.result(pipeline.progress, epoch)
                best = replayed.score if best is None else max(best, replayed.score)
                reached = epoch
                yield replayed
        if pipeline.progress.epoch >= trial.fidelity:
            step.hold(pipeline)
            return
        step.begin(pipeline)
        record = pipeline.train_epoch()
        pipeline.finish(record | {"cost": time.monotonic() - start})
        if best is None or record["score"] > best:
            best = record["score"]
            step.save_weights(pipeline)
        step.save(pipeline)
        epoch = pipeline.progress.epoch
        result = step.result(pipeline.progress, epoch)
        if epoch > reached:
            reached = epoch
            yield result
        start = time.monotonic()


@dataclass(frozen=True)
class _Step:
    """What stays the same from the first to the last epoch of a step."""

    trial: Trial
    task: TaskInfo
    recipe: Recipe
    settings: FinetuneSettings
    fingerprint: str
    path: Path | None

    @classmethod
    def of(cls, trial: Trial, task: TaskInfo) -> "_Step":
        recipe = Recipe.from_config(trial.config)
        settings = FinetuneSettings.from_mapping(task.settings)
        if trial.fidelity > task.max_fidelity:
            raise ConfigError(
                f"Asked to train until epoch {trial.fidelity}, but schedules end at {task.max_fidelity}."
            )
        if not task.class_names:
            task = replace(task, class_names=_data.folder(task).class_names)
        settings = replace(settings, device=choose_device(settings.device))
        identity = fingerprint(trial, task, settings)
        return cls(trial, task, recipe, settings, identity, checkpoint_path(task, trial.config_id))

    @property
    def key(self) -> str:
        place = self.path or self.task.path
        return f"{place}|{self.trial.config_id}|{self.settings}|{self.fingerprint}"

    def pipeline(self) -> Pipeline:
        """The pipeline as its last checkpoint left it: from memory where that is as new, else from disk."""
        warm = _warm.take(self.key, _stamp(self.path))
        if warm is not None:
            return warm
        found = None if self.path is None else load_checkpoint(self.path, self.fingerprint)
        pipeline = Pipeline(self.recipe, self.settings, self.task, self.trial.config_id, _data)
        if found is not None:
            pipeline.restore(*found)
        return pipeline

    def begin(self, pipeline: Pipeline) -> None:
        """Note at which epoch a step began, unless this one is a repetition."""
        progress = pipeline.progress
        if progress.step_target != self.trial.fidelity:
            pipeline.progress = replace(progress, step_start=progress.epoch, step_target=self.trial.fidelity)

    def save(self, pipeline: Pipeline) -> None:
        """Write the checkpoint, and keep the pipeline in memory."""
        if self.path is not None:
            save_checkpoint(self.path, self.fingerprint, pipeline.progress, pipeline.state())
        self.hold(pipeline)

    def hold(self, pipeline: Pipeline) -> None:
        _warm.put(self.key, _stamp(self.path), pipeline)

    def save_weights(self, pipeline: Pipeline) -> None:
        """Leave the network's weights for the tuner, whole or not at all."""
        path = self.task.weights_file(self.trial.config_id, pipeline.progress.epoch)
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        state = pipeline.learner.network.state_dict()
        try:
            save_file({name: tensor.contiguous() for name, tensor in state.items()}, temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def result(self, progress: Progress, epoch: int) -> Result:
        record = progress.records[epoch - 1]
        return Result(
            self.trial.config_id, epoch, record["score"], max(record["cost"], 1e-6), info=record["info"]
        )


def _stamp(path: Path | None) -> Stamp | None:
    try:
        facts = None if path is None else path.stat()
    except FileNotFoundError:
        return None
    return None if facts is None else (facts.st_ino, facts.st_size, facts.st_mtime_ns)
