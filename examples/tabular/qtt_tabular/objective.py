"""The objective: trains a learner until an epoch."""

import time
from collections import OrderedDict
from collections.abc import Iterator

from qtt.tasks import objective_of
from qtt.types import Result, TaskInfo, Trial
from qtt_tabular.learners import Learner
from qtt_tabular.tables import read_tables

WARM = 64
"""Learners that a training process keeps; one that it lost is trained again, which takes milliseconds."""

_warm: OrderedDict[str, Learner] = OrderedDict()


@objective_of("tabular")
def train(trial: Trial, task: TaskInfo) -> Iterator[Result]:
    """Train `trial.config` until epoch `trial.fidelity`; weights of epochs that beat the best are left."""
    key = repr(
        (str(task.path), task.val_fraction, task.seed, str(task.work_dir), sorted(trial.config.items()))
    )
    learner = _warm.pop(key, None)
    if learner is None or learner.epoch >= trial.fidelity:
        tables = read_tables(task.path, task.val_fraction, task.seed)
        learner = Learner(trial.config, tables, task.seed)
    begin, best = time.perf_counter(), task.best_score
    while learner.epoch < trial.fidelity:
        score = learner.train()
        weights = task.weights_file(trial.config_id, learner.epoch)
        if weights is not None and (best is None or score > best):
            learner.save(weights)
            best = score
        now = time.perf_counter()
        yield Result(trial.config_id, learner.epoch, score, max(now - begin, 1e-6))
        begin = now
    _warm[key] = learner
    while len(_warm) > WARM:
        _warm.popitem(last=False)
