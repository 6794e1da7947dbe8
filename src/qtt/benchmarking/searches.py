"""The regret of all searches of a comparison, and a row for each policy.

Notation: p policies, d datasets, s seeds, t times.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from qtt.benchmarking.regret import SECONDS, Average, grid, ranks, regret_at, summary_times
from qtt.benchmarking.wording import counted

Array = NDArray[np.float64]
Name = tuple[str, str, int]
"""Policy, dataset and seed of a search."""


@dataclass(frozen=True)
class Row:
    """What a table says of a policy.

    at: mean regret at the four times. auc, stderr: mean over time, and its standard error over datasets (NaN
    of a single one). rank: mean over datasets of the rank that its auc has there.
    """

    policy: str
    at: tuple[float, ...]
    auc: float
    stderr: float
    rank: float


@dataclass(frozen=True, eq=False)
class Searches:
    """Regret of every policy on every dataset with every seed.

    over_time: (p, d, s, 50) on the grid. at: (p, d, s, 4) at the four times of summaries. limit: simulated
    seconds.
    """

    policies: tuple[str, ...]
    datasets: tuple[str, ...]
    seeds: tuple[int, ...]
    over_time: Array
    at: Array
    limit: float

    @classmethod
    def of(cls, steps: Mapping[Name, tuple[Array, Array]], limit: float = SECONDS) -> "Searches":
        """From the seconds (k,), rising, at which regret changed, and the regret (k,) from then on.

        Raises:
            ValueError: a policy lacks a dataset or a seed that others have.
        """
        policies = tuple(dict.fromkeys(policy for policy, _, _ in steps))
        datasets = tuple(dict.fromkeys(dataset for _, dataset, _ in steps))
        seeds = tuple(dict.fromkeys(seed for _, _, seed in steps))
        names = [(p, d, s) for p in policies for d in datasets for s in seeds]
        if missing := [name for name in names if name not in steps]:
            raise ValueError(f"{counted(len(missing), 'search')} missing, the first of them {missing[0]}.")

        def regret(times: Array) -> Array:
            rows = [regret_at(times, *steps[name]) for name in names]
            return np.array(rows).reshape(len(policies), len(datasets), len(seeds), len(times))

        return cls(policies, datasets, seeds, regret(grid(limit)), regret(summary_times(limit)), limit)

    @cached_property
    def auc(self) -> Array:
        """Mean regret over the grid and over seeds; (p, d)."""
        return np.asarray(self.over_time.mean(axis=(2, 3)))

    @cached_property
    def rank(self) -> Array:
        """Rank of each policy by its auc on each dataset; (p, d)."""
        return ranks(self.auc[:, :, None, None])[:, :, 0, 0]

    @cached_property
    def rows(self) -> list[Row]:
        """One of each policy, the lowest auc first."""
        found, at = Average.of(self.auc[:, :, None, None]), Average.of(self.at).mean
        rank = self.rank.mean(axis=1)
        rows = [
            Row(
                policy,
                tuple(at[i].tolist()),
                float(found.mean[i, 0]),
                float(found.stderr[i, 0]),
                float(rank[i]),
            )
            for i, policy in enumerate(self.policies)
        ]
        return sorted(rows, key=lambda row: row.auc)

    @property
    def best_first(self) -> list[str]:
        """Policies by their auc."""
        return [row.policy for row in self.rows]
