"""What searches under faults train with: synthetic curves, well-behaved or not.

Imported by training processes too, so it imports little itself.
"""

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from qtt.support.files import write_text
from qtt.testing import SyntheticCurves
from qtt.types import Result, TaskInfo, Trial


def table(trial: Trial, task: TaskInfo) -> Iterator[Result]:
    """Synthetic curves, a few milliseconds an epoch, with a checkpoint; reports all epochs from the first."""
    curves, folder = SyntheticCurves(noise=0.02), task.pipeline_dir(trial.config_id)
    assert folder is not None
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "last.txt"
    done = int(checkpoint.read_text()) if checkpoint.exists() else 0
    for result in curves.results(trial):
        if result.fidelity > done:
            time.sleep(float(task.settings.get("seconds", 0.004)))
            write_text(checkpoint, str(result.fidelity))
            weights = task.weights_file(trial.config_id, result.fidelity)
            if weights is not None and (task.best_score is None or result.score >= task.best_score):
                write_text(weights, f"{trial.config_id} {result.fidelity}")
        yield replace(result, cost=float(task.settings.get("cost", result.cost)))


def misdoing(trial: Trial, task: TaskInfo) -> Iterator[Any]:
    """As `table`, but one pipeline does at one epoch what `settings` name."""
    config_id, epoch = task.settings["where"]
    for result in table(trial, task):
        if (trial.config_id, result.fidelity) == (config_id, epoch):
            yield from DEEDS[task.settings["deed"]](result)
            return
        yield result


def _raises(result: Result) -> Iterator[Any]:
    raise ValueError("no such luck")
    yield result


def _changed(**values: Any) -> Callable[[Result], Iterator[Any]]:
    return lambda result: iter([result.to_dict() | values])


def _said(value: Any) -> Callable[[Result], Iterator[Any]]:
    return lambda result: iter([value])


def _hangs(result: Result) -> Iterator[Any]:
    time.sleep(10_000)
    yield result


def _forks(result: Result) -> Iterator[Any]:
    if os.fork() == 0:
        time.sleep(10_000)
    os.kill(os.getpid(), signal.SIGKILL)
    yield result


def _exits(result: Result) -> Iterator[Any]:
    os._exit(0)
    yield result


def _late(result: Result) -> Iterator[Any]:
    """More epochs than were asked for."""
    return iter([result.to_dict() | {"fidelity": 1000}])


def _again(result: Result) -> Iterator[Any]:
    return iter([result.to_dict() | {"fidelity": result.fidelity - 1}])


DEEDS: dict[str, Callable[[Result], Iterator[Any]]] = {
    "raises": _raises,
    "NaN": _changed(score=math.nan),
    "infinity": _changed(score=-math.inf),
    "no score": _changed(score=None),
    "a word for a score": _changed(score="good"),
    "no cost": _changed(cost=0.0),
    "infinite cost": _changed(cost=math.inf),
    "a wrong id": _changed(config_id=99),
    "a negative id": _changed(config_id=-1),
    "an id that is a word": _changed(config_id="first"),
    "epoch 0": _changed(fidelity=0),
    "an unknown status": _changed(status="maybe"),
    "info that is no mapping": _changed(info=3),
    "NaN in info": _changed(info={"loss": math.nan}),
    "a thing in info": _changed(info={"x": object()}),
    "a failure": _changed(status=False),
    "a string": _said("0.5"),
    "None": _said(None),
    "a number": _said(0.5),
    "a list": _said([]),
    "too many epochs": _late,
    "an epoch twice": _again,
    "too few epochs": lambda result: iter(()),
    "a timeout": _changed(status="timeout"),
    "hangs": _hangs,
    "forks and dies": _forks,
    "exits": _exits,
}
APART = ("hangs", "forks and dies", "exits")
"""Those that need a process of their own."""


def timed(trial: Trial, task: TaskInfo) -> Iterator[Result]:
    """An epoch takes `settings["seconds"]`; `settings["way"]` says what it does about being cut off."""
    seconds, way = float(task.settings["seconds"]), task.settings["way"]
    if way == "thread":
        threading.Thread(target=time.sleep, args=(60.0,)).start()
    for epoch in range(1, trial.fidelity + 1):
        begin = time.monotonic()
        try:
            while (left := begin + seconds - time.monotonic()) > 0:
                _sleep(left, catch=way == "catches")
        finally:
            if way == "cleans up" and time.monotonic() < begin + seconds:
                time.sleep(60.0)
        yield Result(trial.config_id, epoch, 0.5, max(time.monotonic() - begin, 1e-6))


def _sleep(seconds: float, catch: bool) -> None:
    try:
        time.sleep(min(seconds, 0.2))
    except BaseException:
        if not catch:
            raise
