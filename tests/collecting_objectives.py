"""Objectives for tests of collections, importable by their training processes."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from qtt.errors import DatasetError
from qtt.types import Result, TaskInfo, Trial


def score(config_id: int, epoch: int) -> float:
    """A curve that differs from run to run and epoch to epoch."""
    return round((config_id * 37 % 11 + epoch) / 100, 6)


def recording(trial: Trial, task: TaskInfo) -> Iterator[Result]:
    """Trains with a checkpoint; `epochs.log` beside it lists every epoch that was trained.

    While there is a file `settings["held"]`, no epoch after the second one begins; while there is a file
    `settings["gone"]`, the dataset is.
    A config's `fate` says what happens in its second epoch: `raise`, `die`, `hang` or `stop`; or in its
    first: `broken`.
    """
    folder = task.pipeline_dir(trial.config_id)
    assert folder is not None
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "last.json"
    done = json.loads(checkpoint.read_text()) if checkpoint.exists() else 0
    fate = str(trial.config.get("fate", ""))
    if fate == "broken":
        raise ValueError("a library is broken")
    for epoch in range(1, trial.fidelity + 1):
        if epoch > done:
            if epoch == 2 and "gone" in task.settings and Path(task.settings["gone"]).exists():
                raise DatasetError("The dataset is gone.")
            if epoch == 2 and not (folder.parent / "healed").exists():
                _suffer(fate)
                if fate == "stop":
                    return
            while epoch > 2 and "held" in task.settings and Path(task.settings["held"]).exists():
                time.sleep(0.01)
            time.sleep(float(task.settings.get("seconds", 0.0)))
            with (folder.parent / "epochs.log").open("a") as log:
                log.write(f"{trial.config_id} {epoch}\n")
            temporary = checkpoint.with_suffix(".tmp")
            temporary.write_text(json.dumps(epoch))
            temporary.replace(checkpoint)
        info = {
            "val_loss": 0.5 * epoch,
            "max_memory_mb": 10 + epoch,
            "threads": os.environ["OMP_NUM_THREADS"],
            "gpus": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        }
        yield Result(trial.config_id, epoch, score(trial.config_id, epoch), 0.01 * epoch, info=info)


def _suffer(fate: str) -> None:
    if fate == "raise":
        raise RuntimeError("CUDA out of memory")
    if fate == "die":
        os._exit(3)
    if fate == "hang":
        time.sleep(60)
