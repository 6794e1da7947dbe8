"""An objective that takes time and does nothing, in a module that training processes can import."""

import time
from collections.abc import Iterator

import numpy as np

from qtt.testing import SyntheticCurves
from qtt.types import Result, TaskInfo, Trial


def sleeping(trial: Trial, task: TaskInfo) -> Iterator[Result]:
    """One epoch with a synthetic score; it sleeps .2 to 2 s, as long each time for one pipeline and epoch."""
    epoch = trial.fidelity
    seconds = 0.2 + 1.8 * float(np.random.default_rng((trial.config_id, epoch)).random())
    time.sleep(seconds)
    yield Result(trial.config_id, epoch, SyntheticCurves().score(trial.config, epoch), seconds)
