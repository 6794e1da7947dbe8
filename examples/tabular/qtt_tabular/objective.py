"""The objective: trains a learner until an epoch."""

import time
from collections import OrderedDict
from collections.abc import Iterator

import numpy as np

from qtt.statistics.scores import find_metric
from qtt.tasks import objective_of
from qtt.types import Result, TaskInfo, Trial
from qtt_tabular.learners import Learner
from qtt_tabular.tables import read_tables

WARM = 64
"""Learners that a training process keeps; one that it lost is trained again, which takes milliseconds."""

_warm: OrderedDict[str, Learner] = OrderedDict()


@objective_of("tabular")
def train(trial: Trial, task: TaskInfo) -> Iterator[Result]:
    """Train `trial.config` until epoch `trial.fidelity`; weights that reach the best score are left."""
    key = repr(
        (str(task.path), task.val_fraction, task.seed, str(task.work_dir), sorted(trial.config.items()))
    )
    learner = _warm.pop(key, None)
    if learner is None or learner.epoch >= trial.fidelity:
        learner = Learner(trial.config, read_tables(task.path, task.val_fraction, task.seed), task.seed)
    tables = learner.tables
    metric = find_metric(task.metric, len(tables.class_names))
    counts = np.bincount(tables.train.y, minlength=len(tables.class_names))
    known = {"examples": len(tables.val), "baseline": metric.baseline(counts, tables.val.y)}
    begin, best = time.perf_counter(), task.best_score
    while learner.epoch < trial.fidelity:
        told = learner.train()
        score = metric.score(told, tables.val.y)
        info = {"stderr": metric.error(told, tables.val.y), **known}
        weights = task.weights_file(trial.config_id, learner.epoch)
        if weights is not None and (best is None or score >= best):
            learner.save(weights)
            best = score
        now = time.perf_counter()
        yield Result(trial.config_id, learner.epoch, score, max(now - begin, 1e-6), info=info)
        begin = now
    _warm[key] = learner
    while len(_warm) > WARM:
        _warm.popitem(last=False)
