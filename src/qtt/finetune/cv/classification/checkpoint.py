"""A pipeline's last checkpoint: what it takes to go on, and what its epochs gave."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch

from qtt.errors import ConfigError, DamagedFileError
from qtt.finetune.cv.classification.settings import BALANCES, PACE, WHERE_IT_RUNS, FinetuneSettings
from qtt.types import ACCURACY, TaskInfo, Trial

FORMAT = 1
NAME = "last.ckpt"
EpochRecord = dict[str, Any]
"""`score`, `cost` and `info` of a finished epoch, JSON-able."""


@dataclass(frozen=True)
class Progress:
    """How far a pipeline is.

    records: one per finished epoch, from epoch 1.
    step_start, step_target: epochs at which the step that wrote this began, and where it was to end.
    """

    records: tuple[EpochRecord, ...] = ()
    step_start: int = 0
    step_target: int = 0

    @property
    def epoch(self) -> int:
        """Epochs finished."""
        return len(self.records)

    def to_replay(self, target: int) -> range:
        """Epochs to report again when a step until `target` begins from here.

        A step that is asked for twice was cut off between its checkpoint and the journal: all it finished is
        reported again. So is everything, where the caller knows less than the checkpoint.

        The caller may also know more, for results are reported while checkpoints are still being written.
        Then nothing is reported from here: training goes on from the checkpoint, and gives what it gave.
        """
        if target == self.step_target:
            return range(self.step_start + 1, min(self.epoch, target) + 1)
        return range(1, target + 1) if target <= self.epoch else range(0)


def checkpoint_path(task: TaskInfo, config_id: int) -> Path | None:
    """Where a pipeline's checkpoint lies, None where the task keeps nothing on disk."""
    return None if task.work_dir is None else Path(task.work_dir) / f"{config_id:04d}" / NAME


def fingerprint(trial: Trial, task: TaskInfo, settings: FinetuneSettings) -> str:
    """Hash of everything that determines a pipeline's learning curve.

    Metric, balances and pace are part of it where they are not what they always were.
    """
    chosen = asdict(settings)
    for name in (*WHERE_IT_RUNS, *(name for name in (*BALANCES, *PACE) if chosen[name] is None)):
        del chosen[name]
    metric = {} if task.metric == ACCURACY else {"metric": task.metric}
    content = {
        "config": dict(trial.config),
        "card": task.card(trial.config["model"]).trained(),
        "classes": list(task.class_names),
        "val_fraction": task.val_fraction,
        "seed": task.seed,
        "horizon": task.max_fidelity,
        "image_size": task.image_size,
        "settings": chosen,
        **metric,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def save_checkpoint(path: Path, print_: str, progress: Progress, state: Mapping[str, Any]) -> None:
    """Replace the checkpoint: at any moment the old one or the new one is there, whole."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            torch.save({"format": FORMAT, "fingerprint": print_, "progress": asdict(progress), **state}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)  # where the disk is full, the half of it that was written


def load_checkpoint(path: Path, print_: str) -> tuple[Progress, dict[str, Any]] | None:
    """Progress and state of a checkpoint on the CPU; None where there is none.

    Raises:
        DamagedFileError: it is not as it was written.
        ConfigError: it belongs to another config, dataset, seed or settings.
    """
    try:
        _check_sums(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except Exception as error:  # zip, torch and its unpickler raise whatever the damage leads to
        raise DamagedFileError(f"Checkpoint {path} cannot be read ({first_line(error)}).") from error
    if content.get("format") != FORMAT or content.get("fingerprint") != print_:
        raise ConfigError(
            f"Checkpoint {path} was written for another pipeline, dataset, seed or setting than is asked for "
            "now. Use another run folder, or remove the checkpoint to train this pipeline anew."
        )
    progress = content["progress"]
    return Progress(**{**progress, "records": tuple(progress["records"])}), content


def _check_sums(path: Path) -> None:
    """Compare a checkpoint's contents with the CRCs of its zip archive, which torch passes over."""
    with ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise OSError(f"the checksum of its part {damaged} differs")


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its kind; torch hides that of the system behind its own."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__cause__ or cause.__context__
    return (str(cause or error).splitlines() or [type(error).__name__])[0]
