"""Fits `qtt.predictors.residual.ResidualKernel` by the exact marginal likelihood of one dataset at a time."""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qtt.metatraining.fit_prior import MomentPoints, Task
from qtt.predictors.meta import FRESH_ENDS, STARTED
from qtt.predictors.residual import ResidualKernel, ResidualPoints

STEPS = 1200
RUNS_PER_STEP = 32
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 1e-2
CHECK_EVERY = 100
BATCHES_PER_CHECK = 4


def residual_sets(
    tasks: Sequence[Task], points: Sequence[MomentPoints], residuals: Sequence[NDArray[np.float64]]
) -> list[ResidualPoints]:
    """Each dataset's residuals at the points that a search would have.

    Args:
        tasks: the datasets.
        points: fresh and started ones of all datasets.
        residuals: of these points, in standard deviations, of predictions that had not seen the dataset.
    """
    parts = []
    for position in range(len(tasks)):
        chosen = [(part.task == position) & _is_compared(part) for part in points]
        columns = [
            np.concatenate([values[rows] for values, rows in zip(column, chosen, strict=True)])
            for column in (
                [part.run for part in points],
                [part.start for part in points],
                [part.end for part in points],
                residuals,
            )
        ]
        parts.append(ResidualPoints(columns[0].astype(np.int64), *columns[1:]))
    return parts


def fit_kernel(
    tasks: Sequence[Task], sets: Sequence[ResidualPoints], held_out: NDArray[np.bool_], seed: int
) -> tuple[ResidualKernel, float]:
    """Adam on one dataset's runs a step; the weights that explain the held-out datasets best are kept.

    Args:
        tasks: the datasets.
        sets: their residuals.
        held_out: (len(tasks),) which datasets validate and are never trained on.
        seed: of the initial weights and of the runs drawn.

    Returns:
        The kernel, and its validation loss: negative log likelihood per point, without constants.
    """
    rng = np.random.default_rng(seed)
    kernel = _initial(tasks[0], seed)
    inputs = [_inputs(task) for task in tasks]
    usable = [k for k, points in enumerate(sets) if len(points)]
    training = [k for k in usable if not held_out[k]]
    checks = [(k, _batch(sets[k], rng)) for k in usable if held_out[k] for _ in range(BATCHES_PER_CHECK)]
    optimizer = torch.optim.AdamW(kernel.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    best, best_state = np.inf, copy.deepcopy(kernel.state_dict())
    for step in range(STEPS + 1):
        if step % CHECK_EVERY == 0:
            with torch.no_grad():
                loss = float(np.mean([_loss(kernel, inputs[k], batch).item() for k, batch in checks]))
            if loss < best:
                best, best_state = loss, copy.deepcopy(kernel.state_dict())
        k = training[int(rng.integers(len(training)))]
        optimizer.zero_grad()
        torch.autograd.backward(_loss(kernel, inputs[k], _batch(sets[k], rng)))
        optimizer.step()
        schedule.step()
    kernel.load_state_dict(best_state)
    return kernel, best


def _initial(task: Task, seed: int) -> ResidualKernel:
    features = task.encoded.features
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ResidualKernel(features.pipeline.shape[1], features.model.shape[1], len(features.task))


def _is_compared(points: MomentPoints) -> NDArray[np.bool_]:
    fresh = (points.start == 0) & np.isin(points.end, FRESH_ENDS)
    pairs = (points.start[:, None] == STARTED[:, 0]) & (points.end[:, None] == STARTED[:, 1])
    return np.asarray(fresh | pairs.any(axis=1))


def _inputs(task: Task) -> tuple[Tensor, ...]:
    features = task.encoded.features
    rows = len(task.encoded)
    groups = (features.pipeline, features.model, np.tile(features.task, (rows, 1)))
    return tuple(torch.as_tensor(group) for group in groups)


def _batch(points: ResidualPoints, rng: np.random.Generator) -> ResidualPoints:
    """The points of a few runs."""
    runs = np.unique(points.run)
    kept = np.isin(points.run, rng.choice(runs, min(RUNS_PER_STEP, len(runs)), replace=False))
    return ResidualPoints(points.run[kept], points.start[kept], points.end[kept], points.residual[kept])


def _loss(kernel: ResidualKernel, inputs: tuple[Tensor, ...], points: ResidualPoints) -> Tensor:
    columns = (points.run, points.start, points.end, np.clip(points.residual, -4.0, 4.0))
    return kernel.loss(kernel.static(*inputs), *(torch.as_tensor(column) for column in columns))
