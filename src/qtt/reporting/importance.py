"""Which hyperparameters the score depends on, by permutation in a random forest (Breiman 2001).

Notation: p pipelines, m observations (finished epochs), h hyperparameters and the epoch.
A tree is fitted to pipelines drawn with replacement and judged on those that were not drawn, so that no epoch
of a pipeline helps to predict another epoch of the same one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtt.types import Config

Array = NDArray[np.float64]
Features = NDArray[np.float32]
Indices = NDArray[np.int64]

LEAST_PIPELINES = 10
TREES, REPEATS = 200, 5
EPOCH = "epoch"


@dataclass(frozen=True, eq=False)
class Importance:
    """What the forest says.

    names: most important first. drop: (h,) by how much R² on unseen pipelines falls when the values are
    shuffled among pipelines; spread: (h,) standard deviation over shuffles. r2: on unseen pipelines, 1 at
    most. pipelines, observations: how many there were.
    """

    names: tuple[str, ...]
    drop: Array
    spread: Array
    r2: float
    pipelines: int
    observations: int


def varying(configs: Sequence[Config]) -> list[str]:
    """Hyperparameters that differ between the configs, in order of first mention."""
    names = dict.fromkeys(name for config in configs for name in config)
    return [name for name in names if len({repr(config.get(name, ...)) for config in configs}) > 1]


def hyperparameter_importance(
    configs: Sequence[Config],
    pipeline: Sequence[int],
    epoch: Sequence[int],
    scores: Sequence[float],
    seed: int = 0,
) -> Importance | None:
    """Importance of every hyperparameter that differs, and of the epoch.

    configs: (p,). pipeline: (m,) positions in configs; epoch, scores: (m,). Every pipeline weighs the same.
    None where there are fewer than `LEAST_PIPELINES`, or nothing differs.
    """
    names = varying(configs)
    y, of, epochs = np.asarray(scores, dtype=float), np.asarray(pipeline), np.asarray(epoch, dtype=float)
    if len(configs) < LEAST_PIPELINES or not names or np.ptp(y) == 0:
        return None
    blocks = [_encode([config.get(name, ...) for config in configs])[of] for name in names]
    if np.ptp(epochs) > 0:
        names, blocks = [*names, EPOCH], [*blocks, epochs[:, None].astype(np.float32)]
    weights = 1.0 / np.bincount(of, minlength=len(configs))[of]
    generator = np.random.default_rng(seed)
    shuffled = _shuffles(blocks, of, len(configs), generator)
    fits = _out_of_bag(np.hstack(blocks), shuffled, y, of, weights, generator)
    r2 = np.array([_r_squared(y, prediction, weights) for prediction in fits])
    drops = r2[0] - r2[1:].reshape(len(names), REPEATS)
    drop = drops.mean(1)
    order = np.argsort(-drop, kind="stable")
    return Importance(
        tuple(names[i] for i in order), drop[order], drops.std(1)[order], float(r2[0]), len(configs), len(y)
    )


def _encode(values: Sequence[Any]) -> Features:
    """Values of one hyperparameter as columns: numbers as they are, others one column an option.

    Where it is None or absent (...), a number lies below all others.
    """
    present = [v for v in values if v is not None and v is not ...]
    if present and all(isinstance(v, int | float) and not isinstance(v, bool) for v in present):
        below = min(present) - 1.0
        numbers = [[float(v) if isinstance(v, int | float) else below, v is ...] for v in values]
        return np.array(numbers, dtype=np.float32)
    options = sorted({repr(v) for v in values})
    return np.array([[repr(v) == option for option in options] for v in values], dtype=np.float32)


def _shuffles(
    blocks: Sequence[Features], of: Indices, pipelines: int, generator: np.random.Generator
) -> list[Features]:
    """The observations with one block after the other shuffled, `REPEATS` times each.

    A hyperparameter keeps one value a pipeline; the epoch, which is no property of pipelines, is shuffled
    among observations.
    """
    first = np.array([np.flatnonzero(of == i)[0] for i in range(pipelines)])
    shuffled = []
    for j, block in enumerate(blocks):
        constant = bool((block == block[first][of]).all())
        for _ in range(REPEATS):
            rows = first[generator.permutation(pipelines)][of] if constant else generator.permutation(len(of))
            shuffled.append(np.hstack([*blocks[:j], block[rows], *blocks[j + 1 :]]))
    return shuffled


def _out_of_bag(
    x: Features,
    shuffled: Sequence[Features],
    y: Array,
    of: Indices,
    weights: Array,
    generator: np.random.Generator,
) -> Array:
    """Mean predictions (1 + shuffles, m) of trees that did not see the pipeline, for x and each shuffle."""
    from sklearn.tree import DecisionTreeRegressor

    inputs = np.stack([x, *shuffled])
    total, count = np.zeros(inputs.shape[:2]), np.zeros(len(y))
    pipelines = int(of.max()) + 1
    for _ in range(TREES):
        drawn = np.bincount(generator.integers(pipelines, size=pipelines), minlength=pipelines)[of]
        seen = drawn > 0
        if seen.all():
            continue
        tree = DecisionTreeRegressor(max_features=1 / 3, random_state=int(generator.integers(2**31)))
        tree.fit(x[seen], y[seen], sample_weight=(drawn * weights)[seen])
        unseen = inputs[:, ~seen]
        total[:, ~seen] += tree.predict(unseen.reshape(-1, x.shape[1])).reshape(unseen.shape[:2])
        count[~seen] += 1
    mean = np.average(y, weights=weights)
    return np.where(count > 0, total / np.maximum(count, 1), mean)


def _r_squared(y: Array, predicted: Array, weights: Array) -> float:
    """Share of the weighted variance of y (m,) that predictions (m,) explain."""
    left = np.average((y - predicted) ** 2, weights=weights)
    return float(1.0 - left / np.average((y - np.average(y, weights=weights)) ** 2, weights=weights))
