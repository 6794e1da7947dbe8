"""Whether policies differ, or datasets happened to: paired differences, tests, critical differences.

Demšar, Statistical comparisons of classifiers over multiple data sets, JMLR 2006, is the source of all of
it. Datasets are the sample; seeds are averaged before.

Notation: p policies, d datasets.
  auc  (p, d)  mean regret over time and seeds, the lower the better
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qtt.benchmarking.searches import Searches

Array = NDArray[np.float64]

LEVEL = 0.05
"""Of tests and of critical differences; intervals hold the rest."""

DRAWS = 10_000
"""Bootstrap samples of datasets."""


@dataclass(frozen=True)
class Difference:
    """A policy against the reference: how much more regret (auc) it has, dataset by dataset.

    mean, low, high: over datasets, and its 95 % bootstrap interval. wins, losses: on how many datasets of all
    the policy has less regret than the reference, and more. p, adjusted: of the signed-rank test, and with
    Holm's correction for all policies.
    """

    policy: str
    mean: float
    low: float
    high: float
    wins: int
    losses: int
    datasets: int
    p: float
    adjusted: float


def paired_differences(searches: Searches, reference: str) -> list[Difference]:
    """All other policies against one, the smallest difference first."""
    base = searches.auc[searches.policies.index(reference)]
    others = [i for i, policy in enumerate(searches.policies) if policy != reference]
    apart = [searches.auc[i] - base for i in others]
    p_values = [signed_rank(values) for values in apart]
    found = [
        Difference(
            searches.policies[i],
            float(values.mean()),
            *bootstrap_interval(values),
            wins=int((values < 0).sum()),
            losses=int((values > 0).sum()),
            datasets=len(values),
            p=p,
            adjusted=adjusted,
        )
        for i, values, p, adjusted in zip(others, apart, p_values, holm(p_values), strict=True)
    ]
    return sorted(found, key=lambda difference: difference.mean)


def bootstrap_interval(values: Array) -> tuple[float, float]:
    """95 % percentile interval of the mean of values (d,); the same draws every time."""
    draws = np.random.default_rng(0).integers(len(values), size=(DRAWS, len(values)))
    low, high = np.quantile(values[draws].mean(axis=1), [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)


def signed_rank(differences: Array) -> float:
    """Two-sided p value of Wilcoxon's signed-rank test (3.1.3); differences (d,) of 0 are left out."""
    from scipy.stats import wilcoxon  # which takes a second to import, and few need

    told = differences[differences != 0]
    return float(wilcoxon(told).pvalue) if len(told) else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: what is below a level then holds together at that level (3.2.2)."""
    count = len(p_values)
    adjusted, highest = [0.0] * count, 0.0
    for place, i in enumerate(np.argsort(p_values, kind="stable").tolist()):
        highest = max(highest, min(1.0, (count - place) * p_values[i]))
        adjusted[i] = highest
    return adjusted


def critical_difference(policies: int, datasets: int) -> float:
    """Of mean ranks, beyond which two of these many policies differ (Nemenyi's test, 3.2.2)."""
    from scipy.stats import studentized_range

    quantile = studentized_range.ppf(1 - LEVEL, policies, np.inf) / np.sqrt(2.0)
    return float(quantile * np.sqrt(policies * (policies + 1) / (6.0 * datasets)))


def cliques(places: Array, difference: float) -> list[tuple[int, int]]:
    """First and last of each maximal group of rising mean ranks that lie within a difference."""
    found: list[tuple[int, int]] = []
    for first in range(len(places)):
        last = int(np.flatnonzero(places <= places[first] + difference)[-1])
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return found
