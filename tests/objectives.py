"""Objectives for tests of the tuner, importable by the training process."""

import ctypes
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qtt.errors import ConfigError, DatasetError
from qtt.tasks.preflight import Said
from qtt.types import Candidates, Result, TaskInfo, Trial


def score(config_id: int, epoch: int) -> float:
    """A curve that rises with the epoch, higher for higher ids."""
    return round((config_id + 1) / 20 + 0.3 * (1 - 0.8**epoch), 6)


def rehearsing(candidates: Candidates, task: TaskInfo) -> Iterator[Said]:
    """Finds all in order, or breaks as `settings['rehearsal']` says."""
    yield Said("counting")
    yield Said(f"{len(candidates)} pipelines", fact=True)
    how = task.settings.get("rehearsal")
    if how == "die":
        os._exit(3)
    if how is not None:
        raise {"mistake": ConfigError, "gone": DatasetError, "unexplained": RuntimeError}[str(how)](how)
    yield Said(f"process {os.getpid()}", fact=True)


def good(trial: Trial, task: TaskInfo) -> dict[str, Any]:
    """One result, at the fidelity that was asked for."""
    return {
        "config_id": trial.config_id,
        "score": score(trial.config_id, trial.fidelity),
        "cost": 0.01,
        "fidelity": trial.fidelity,
        "status": True,
    }


def remembering(trial: Trial, task: TaskInfo) -> Iterator[Result]:
    """As `continuing`, and reports the last epoch alone."""
    *_, last = continuing(trial, task)
    yield last


def continuing(trial: Trial, task: TaskInfo) -> Iterator[Result]:
    """Trains with a checkpoint and takes its time; `epochs.log` counts every epoch that was trained."""
    folder = task.pipeline_dir(trial.config_id)
    assert folder is not None
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "last.json"
    done = json.loads(checkpoint.read_text()) if checkpoint.exists() else 0
    for epoch in range(1, trial.fidelity + 1):
        result = Result(trial.config_id, epoch, score(trial.config_id, epoch), 0.01)
        if epoch > done:
            time.sleep(float(task.settings.get("seconds", 0.0)))
            with (folder.parent / "epochs.log").open("a") as log:
                log.write(f"{trial.config_id} {epoch}\n")
            temporary = checkpoint.with_suffix(".tmp")
            temporary.write_text(json.dumps(epoch))
            temporary.replace(checkpoint)
            weights = task.weights_file(trial.config_id, epoch)
            if weights is not None and (task.best_score is None or result.score >= task.best_score):
                weights.write_text(f"{trial.config_id} {epoch}")
        yield result


def level(trial: Trial, task: TaskInfo) -> Iterator[Result]:
    """Every epoch of every pipeline is as good, and leaves its weights where that is wanted."""
    for epoch in range(1, trial.fidelity + 1):
        weights = task.weights_file(trial.config_id, epoch)
        if weights is not None and (task.best_score is None or task.best_score <= 0.5):
            weights.parent.mkdir(parents=True, exist_ok=True)
            weights.write_text(f"{trial.config_id} {epoch}")
        yield Result(trial.config_id, epoch, 0.5, 0.01)


def reporting_all(trial: Trial, task: TaskInfo) -> Iterator[Result]:
    """Reports every epoch from the first one in each step; with `hang` it stops answering in the last one."""
    for epoch in range(1, trial.fidelity + 1):
        if task.settings.get("hang") and epoch == trial.fidelity:
            time.sleep(60)
        yield Result(trial.config_id, epoch, score(trial.config_id, epoch), 0.01)


def raising(trial: Trial, task: TaskInfo) -> Iterator[Result]:
    """Finishes the first epoch and fails in the second."""
    if trial.fidelity > 1:
        raise RuntimeError("CUDA out of memory")
    yield Result(trial.config_id, 1, 0.5, 0.1)


def failing(trial: Trial, task: TaskInfo) -> Result:
    """Never succeeds."""
    raise ValueError("no such luck")


def sleeping(trial: Trial, task: TaskInfo) -> Iterator[Result]:
    """Finishes all epochs but the last quickly, then hangs."""
    for epoch in range(1, trial.fidelity):
        yield Result(trial.config_id, epoch, 0.5, 0.1)
    time.sleep(60)


def hanging_first(trial: Trial, task: TaskInfo) -> Iterator[Result]:
    """The first pipeline finishes one epoch, then hangs; the others are well."""
    for epoch in range(1, trial.fidelity + 1):
        if trial.config_id == 0 and epoch == 2:
            time.sleep(10_000)
        yield Result(trial.config_id, epoch, 0.5, 0.1)


def dying(trial: Trial, task: TaskInfo) -> Result:
    """Pipelines with odd ids kill their process."""
    if trial.config_id % 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return Result(trial.config_id, trial.fidelity, 0.5, 0.1, info={"pid": os.getpid()})


def leaving_files(trial: Trial, task: TaskInfo) -> Result:
    """Leaves a temporary file."""
    handle, file = tempfile.mkstemp()
    os.close(handle)
    return Result(trial.config_id, trial.fidelity, 0.5, 0.1, info={"pid": os.getpid(), "file": file})


def ending(trial: Trial, task: TaskInfo) -> Result:
    """Ends as `settings['how']` says."""
    if task.settings["how"] == "memory":
        raise MemoryError
    if task.settings["how"] == "exit":
        os._exit(3)
    os.kill(os.getpid(), signal.Signals[task.settings["how"]])
    raise AssertionError("not reached")


def writing(trial: Trial, task: TaskInfo) -> Iterator[Result]:
    """Reports at once and hangs, while it writes a file as soon as there is `file.go`.

    With `deaf` it hangs in compiled code; `file.deaf` says that it is about to.
    """
    file = Path(task.settings["file"])
    threading.Thread(target=_write_late, args=(file,)).start()
    yield Result(trial.config_id, 1, 0.5, 0.1)
    if task.settings.get("deaf"):
        file.with_suffix(".deaf").touch()
        ctypes.PyDLL(None).sleep(60)  # does not let other threads run
    time.sleep(60)


def _write_late(file: Path) -> None:
    while not file.with_suffix(".go").exists():
        time.sleep(0.01)
    time.sleep(0.5)
    file.write_text("whole")


def chatty(trial: Trial, task: TaskInfo) -> Result:
    """Prints where libraries would, also below Python."""
    sys.stdout.write("chatter on stdout\n")
    os.write(1, b"chatter below Python\n")
    return Result(trial.config_id, trial.fidelity, 0.5, 0.1)


def marking(trial: Trial, task: TaskInfo) -> Result:
    """Leaves its process id in a file, then hangs."""
    Path(task.settings["mark"]).write_text(str(os.getpid()))
    time.sleep(60)
    raise AssertionError("not reached")


class NotAResult:
    """Something that no objective may return."""


def wrong(trial: Trial, task: TaskInfo) -> Any:
    """Returns what `settings['returns']` names."""
    good_result = good(trial, task)
    return {
        "nothing": None,
        "number": 0.5,
        "empty": [],
        "other id": good_result | {"config_id": trial.config_id + 1},
        "too far": good_result | {"fidelity": trial.fidelity + 1},
        "nan": good_result | {"score": float("nan")},
        "no cost": good_result | {"cost": 0.0},
        "no key": {"score": 0.5},
        "not json": good_result | {"info": {"x": NotAResult()}},
        "nan info": good_result | {"info": {"loss": float("inf")}},
    }[task.settings["returns"]]


def meeting(trial: Trial, task: TaskInfo) -> Result:
    """Leaves a file, and waits for that of another pipeline."""
    Path(str(trial.config["own"])).touch()
    while not Path(str(trial.config["other"])).exists():
        time.sleep(0.01)
    return Result(trial.config_id, trial.fidelity, 0.5, 0.01)


def telling_cores(trial: Trial, task: TaskInfo) -> Result:
    """Says which processor cores it may use."""
    return Result(trial.config_id, trial.fidelity, 0.5, 0.01, info={"cores": sorted(os.sched_getaffinity(0))})


def gated(trial: Trial, task: TaskInfo) -> Iterator[Result]:
    """As `continuing`, while the file `settings["gate"]` is there; without it the data are away."""
    if not Path(str(task.settings["gate"])).exists():
        raise DatasetError("the data are away")
    yield from continuing(trial, task)
