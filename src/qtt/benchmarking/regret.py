"""Normalised regret over time, and what is averaged from it (Quick-Tune, section 5.1).

Notation: p policies, d datasets, s seeds, t times.
  regret  (p, d, s, t)  (y_max - best score so far) / (y_max - y_min), 1 before the first finished epoch;
                        y_max, y_min: extreme scores of the dataset over all epochs of all candidates
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SECONDS = 57_600.0
"""Sixteen hours: the longest of the papers' simulated budgets."""


def summary_times(limit: float = SECONDS) -> Array:
    """Four times that quadruple up to the limit: 900, 3600, 14400 and 57600 s by default."""
    return limit / np.array([64.0, 16.0, 4.0, 1.0])


def grid(limit: float = SECONDS) -> Array:
    """Fifty log-spaced times up to the limit; from 60 s by default."""
    return np.asarray(np.geomspace(limit / 960.0, limit, 50))


def regret_curve(scores: Array, best: float, worst: float) -> Array:
    """Regret after each of k epochs with these scores; (k,). Where all scores are equal, it is 0."""
    if best == worst:
        return np.zeros(len(scores))
    return np.asarray((best - np.maximum.accumulate(scores)) / (best - worst))


def regret_at(times: Array, seconds: Array, regret: Array) -> Array:
    """Regret at any times (t,), given its values at the seconds (k,), rising, at which epochs ended."""
    steps = np.concatenate([[1.0], regret])
    return np.asarray(steps[np.searchsorted(seconds, times, side="right")])


def ranks(regret: Array) -> Array:
    """Rank of each policy on each dataset, seed and time, 1 the best, ties averaged; as `regret`."""
    others, own = regret[:, None], regret[None]
    return np.asarray(1.0 + (others < own).sum(axis=0) + 0.5 * ((others == own).sum(axis=0) - 1.0))


@dataclass(frozen=True)
class Average:
    """Mean over seeds, then over datasets; (p, t) both.

    stderr: s/√d over the datasets' means; NaN where there is one dataset.
    """

    mean: Array
    stderr: Array

    @classmethod
    def of(cls, values: Array) -> "Average":
        """Average values (p, d, s, t)."""
        by_dataset = values.mean(axis=2)
        count = by_dataset.shape[1]
        spread = by_dataset.std(axis=1, ddof=1) if count > 1 else np.full_like(by_dataset[:, 0], np.nan)
        return cls(by_dataset.mean(axis=1), spread / np.sqrt(count))
