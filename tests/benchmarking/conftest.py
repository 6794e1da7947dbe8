"""Comparisons whose figures can be worked out by hand."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from qtt.benchmarking.replay import Replay
from qtt.benchmarking.tables import Comparison

Compared = Callable[..., Comparison]

LIMIT = 960.0
"""Simulated seconds, so that the grid begins after one of them."""


def _compared(
    regret: dict[str, Sequence[float]], datasets: Sequence[str] = (), seeds: int = 1, decision: float = 0.002
) -> Comparison:
    """Searches of one epoch, before the grid begins: regret of each policy on each dataset, at all times."""
    names = list(datasets) or [f"D{i}" for i in range(len(next(iter(regret.values()))))]
    replays = {
        (policy, name, seed): Replay(
            np.array([0.5]), np.array([1.0 - value]), np.array([0]), np.array([decision])
        )
        for policy, values in regret.items()
        for name, value in zip(names, values, strict=True)
        for seed in range(seeds)
    }
    extremes = dict.fromkeys(names, (1.0, 0.0))
    return Comparison(tuple(regret), tuple(names), tuple(range(seeds)), replays, extremes, LIMIT)


@pytest.fixture
def compared() -> Compared:
    return _compared
