"""The objective that really trains: resume the pipeline's own checkpoint, train to the fidelity, evaluate.

Between steps of one process the dataset and the latest pipelines stay in memory; with or without them, in one
step or many, a pipeline's learning curve is the same.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from qtt.errors import ConfigError, DamagedFileError
from qtt.evaluation.step import describe
from qtt.finetune.cv.classification import memory, rehearsal
from qtt.finetune.cv.classification.checkpoint import (
    EpochRecord,
    Progress,
    checkpoint_path,
    fingerprint,
    first_line,
    load_checkpoint,
)
from qtt.finetune.cv.classification.crews import WorkersLost, tells_of_lost_workers
from qtt.finetune.cv.classification.data import DataStore
from qtt.finetune.cv.classification.loss_terms import NotApplicable
from qtt.finetune.cv.classification.memory import OutOfMemory
from qtt.finetune.cv.classification.probing import Probe, Probes, probed_network
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.finetune.cv.classification.warm import WarmPipelines
from qtt.finetune.cv.classification.writer import Checkpoint, CheckpointError, CheckpointWriter
from qtt.space.horizon import last_epoch
from qtt.support.files import usual_permissions
from qtt.support.machine import choose_device
from qtt.tasks.preflight import Said
from qtt.types import Candidates, Result, TaskInfo, Trial

if TYPE_CHECKING:
    from qtt.finetune.cv.classification.pipeline import Pipeline

log = logging.getLogger(__name__)

_data = DataStore()
_probes = Probes()
_warm = WarmPipelines(limit=4, limit_bytes=2 * 2**30)
_writer = CheckpointWriter()


def finetune(trial: Trial, task_info: TaskInfo) -> Iterator[Result]:
    """Finetune `trial.config` until epoch `trial.fidelity`, yielding a result per epoch.

    A linear probe (`qtt.space.horizon`) has one epoch and no checkpoint: nothing is trained. The `pace` of
    its result is the seconds that its features took when they were made.

    score: `task_info.metric`, by default top-1 accuracy, on the validation images. cost: seconds of
    training and evaluation, and for the first epoch of building or resuming the pipeline. info: train_loss,
    val_loss (mean cross-entropy), lr (the largest at the epoch's end), stderr, examples and baseline of the
    score (see `Result`), accuracy where the score is another metric, on a GPU max_memory_mb, and accumulate
    (see `FinetuneSettings`) where memory ran out.

    A checkpoint is written while its epoch's result is already known; one at a time, and the last of all,
    that of the pipeline's last epoch, before its result. A process that dies meanwhile leaves the checkpoint
    before it, from which the same epoch comes again: to the bit on a CPU, and on a GPU with
    `FinetuneSettings.deterministic`. Epochs that the checkpoint has but this step was asked for are reported
    from there. Weights that reach `best_score` are in `weights_file` before their result is reported.

    Raises:
        ConfigError: config, settings or checkpoint cannot be used.
        DatasetError: the dataset or an image cannot.
        ModelHubError: the model's weights cannot be had.
        TrainingDiverged: a loss is not finite.
        CheckpointError: the checkpoint of the epoch before, or weights, could not be written.
        OutOfMemory: the pipeline needs more memory than there is.
    """
    start = time.monotonic()
    step = _Step.of(trial, task_info)
    if step.recipe.is_probe:
        yield step.probe(start)
        return
    best = task_info.best_score
    reached = 0
    while True:
        pipeline, checkpoint = step.pipeline()
        if not reached:
            for epoch in pipeline.progress.to_replay(trial.fidelity):
                replayed = step.result(pipeline.progress, epoch)
                best = replayed.score if best is None else max(best, replayed.score)
                reached = epoch
                yield replayed
        if pipeline.progress.epoch >= trial.fidelity:
            _warm.put(step.key, pipeline, checkpoint)
            return
        record = step.train(pipeline)
        if isinstance(record, OutOfMemory | WorkersLost):
            del pipeline
            memory.release()
            step.relieve(record)
            continue
        pipeline.finish(record | {"cost": time.monotonic() - start})
        if best is None or record["score"] >= best:
            best = record["score"]
            step.save_weights(pipeline.learner.network, pipeline.progress.epoch)
        step.save(pipeline)
        epoch = pipeline.progress.epoch
        if epoch > reached:
            reached = epoch
            yield step.result(pipeline.progress, epoch)
        start = time.monotonic()


def rehearse(candidates: Candidates, task_info: TaskInfo) -> Iterator[Said]:
    """See `rehearsal.rehearse`; the images that it opens stay open for `finetune`."""
    return rehearsal.rehearse(candidates, task_info, _data)


def _made_room() -> bool:
    """Let go of pipelines that wait in memory; returns whether there were any."""
    if not _warm.clear():
        return False
    memory.release()
    return True


@dataclass
class _Step:
    """One step, from its first epoch to its last.

    failed_in, chunked_from: epoch in which memory ran out, and epoch from which batches are split.
    """

    trial: Trial
    task: TaskInfo
    recipe: Recipe
    settings: FinetuneSettings
    fingerprint: str
    path: Path | None
    _failed_in: int = field(default=0, init=False)
    _chunked_from: int | None = field(default=None, init=False)

    @classmethod
    def of(cls, trial: Trial, task: TaskInfo) -> "_Step":
        recipe = Recipe.from_config(trial.config)
        settings = FinetuneSettings.from_mapping(task.settings)
        last = last_epoch(trial.config, task.max_fidelity)
        if trial.fidelity > last:
            raise ConfigError(f"Asked to train until epoch {trial.fidelity}, but schedules end at {last}.")
        if not task.class_names:
            task = replace(task, class_names=_data.folder(task).class_names)
        _data.check(task)
        settings = replace(settings, device=choose_device(settings.device))
        identity = fingerprint(trial, task, settings)
        return cls(trial, task, recipe, settings, identity, checkpoint_path(task, trial.config_id))

    @property
    def key(self) -> str:
        place = self.path or self.task.path
        return f"{place}|{self.trial.config_id}|{self.settings}|{self.fingerprint}"

    def pipeline(self) -> "tuple[Pipeline, Checkpoint | None]":
        """The pipeline after its last epoch: from memory, or from disk where it or its checkpoint is gone.

        Raises:
            OutOfMemory: there is none to build it, also without other pipelines in memory.
        """
        warm = _warm.take(self.key)
        if warm is not None:
            return warm
        _writer.wait()
        try:
            return self._build()
        except Exception as error:
            if not memory.is_out_of_memory(error):
                raise
            problem = memory.explain_building(error, self.recipe, self.settings)
        if not _made_room():
            raise problem
        return self.pipeline()

    def _build(self) -> "tuple[Pipeline, Checkpoint | None]":
        from qtt.finetune.cv.classification.pipeline import Pipeline  # with Lightning: no probe needs it

        found = self._found()
        pipeline = Pipeline(self.recipe, self.settings, self.task, self.trial.config_id, _data)
        if found is not None:
            pipeline.restore(*found)
        elif pipeline.begins_with_probe:
            try:
                self._probe().found.head.into(pipeline.learner.network)
            except NotApplicable as reason:
                pipeline.without("head_init", str(reason))
        return pipeline, None if self.path is None else Checkpoint(self.path)

    def _found(self) -> "tuple[Progress, dict[str, Any]] | None":
        """What the checkpoint says; None where there is none, or a disk has damaged it."""
        if self.path is None:
            return None
        try:
            return load_checkpoint(self.path, self.fingerprint)
        except DamagedFileError as error:
            log.warning("%s The pipeline is trained anew, and gives what it gave.", error)
            return None

    def probe(self, start: float) -> Result:
        """The one result of a pipeline whose classifier is solved for, and its weights.

        Raises:
            ConfigError: the model has no probe.
        """
        model = self.recipe.model
        try:
            probe = self._probe()
        except NotApplicable as reason:
            raise ConfigError(f"There is no linear probe of {model}: {reason}.") from reason
        best = self.task.best_score
        if best is None or probe.record["score"] >= best:
            self.save_weights(probed_network(probe, model, self.settings, self.task), 1)
        return self.result(Progress(({**probe.record, "cost": time.monotonic() - start},)), 1)

    def _probe(self) -> Probe:
        """The probe of this pipeline's model, also where other pipelines must leave memory for it.

        Raises:
            NotApplicable: there is none.
        """
        try:
            return _probes.of(self.recipe.model, self.settings, self.task, _data)
        except RuntimeError as error:
            if not memory.is_out_of_memory(error) or not _made_room():
                raise
        return _probes.of(self.recipe.model, self.settings, self.task, _data)

    def train(self, pipeline: "Pipeline") -> EpochRecord | OutOfMemory | WorkersLost:
        """Train the next epoch; a problem that another try may not have is given back."""
        progress = pipeline.progress
        if progress.step_target != self.trial.fidelity:  # else this step is a repetition
            pipeline.progress = replace(progress, step_start=progress.epoch, step_target=self.trial.fidelity)
        pipeline.module.accumulate = self._chunks(progress)
        others = memory.begin_measuring(pipeline)
        try:
            record = pipeline.train_epoch()
        except Exception as error:
            _writer.wait()  # the caller may remove the folder of a failed pipeline
            if isinstance(error, WorkersLost):
                return error
            if tells_of_lost_workers(error):
                return _data.crews.lost(describe(error))
            if not memory.is_out_of_memory(error):
                raise
            self._failed_in = progress.epoch + 1
            return memory.explain(error, pipeline)
        return record | {"info": record["info"] | memory.measured(pipeline, others)}

    def relieve(self, problem: OutOfMemory | WorkersLost) -> None:
        """Give the epoch another chance: without other pipelines in memory, then with batches in chunks.

        Of processes that make batches there are fewer already.

        Raises:
            OutOfMemory: both were tried.
        """
        if isinstance(problem, WorkersLost):
            return
        if _made_room():
            return
        if problem.chunks >= self.settings.oom_accumulation:
            raise problem
        self._chunked_from = self._failed_in

    def _chunks(self, progress: Progress) -> int:
        """Chunks of a batch in the next epoch: as many as in the last one, or more where memory ran out."""
        if self._chunked_from is not None and progress.epoch + 1 >= self._chunked_from:
            return self.settings.oom_accumulation
        return int(progress.records[-1]["info"].get("accumulate", 1)) if progress.records else 1

    def save(self, pipeline: "Pipeline") -> None:
        """Begin to write the checkpoint, and keep the pipeline in memory."""
        checkpoint = None
        if self.path is not None:
            checkpoint = _writer.submit(self.path, self.fingerprint, pipeline.progress, pipeline.state())
            if pipeline.progress.epoch == self._waits_at():
                _writer.wait()
        _warm.put(self.key, pipeline, checkpoint)

    def _waits_at(self) -> int:
        """The epoch whose checkpoint must be there before its result is told.

        The last one, for a tuner removes the folder of a finished pipeline; and where several workers train,
        the last one of the step, for another of them may have the next.
        """
        return (
            self.trial.fidelity
            if self.task.workers > 1
            else last_epoch(self.trial.config, self.task.max_fidelity)
        )

    def save_weights(self, network: nn.Module, epoch: int) -> None:
        """Leave the network's weights for the tuner, whole or not at all."""
        path = self.task.weights_file(self.trial.config_id, epoch)
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        state = network.state_dict()
        try:
            with usual_permissions(temporary):
                save_file({name: tensor.contiguous() for name, tensor in state.items()}, temporary)
            temporary.replace(path)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(
                f"The weights {path} could not be written ({first_line(error)}). Is the disk full?"
            ) from error
        finally:
            temporary.unlink(missing_ok=True)

    def result(self, progress: Progress, epoch: int) -> Result:
        record = progress.records[epoch - 1]
        return Result(
            self.trial.config_id, epoch, record["score"], max(record["cost"], 1e-6), info=record["info"]
        )
