"""Tables and figure: what several workers are worth, from committed raw results.

python experiments/pages.py parallel

Notation: d datasets, t times of the grid, k workers.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pages import Page, markdown, short, with_table

from qtt.benchmarking.plots import BAND, look, tidy, time_axis
from qtt.benchmarking.regret import SECONDS, grid, regret_at

HERE = Path(__file__).parent
README, RESULTS = HERE / "README.md", HERE / "results"

QUICK = "quick"
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Searches:
    """Rows of regret.csv: policy, workers, dataset, seed, seconds of the wall clock, regret from then on."""

    rows: pd.DataFrame

    @cached_property
    def policies(self) -> list[str]:
        """In the order of the file."""
        return list(dict.fromkeys(self.rows["policy"]))

    @cached_property
    def workers(self) -> list[int]:
        """Numbers of workers, ascending."""
        return sorted(set(self.rows["workers"]))

    @cached_property
    def _regret(self) -> dict[tuple[str, int], Array]:
        found: dict[tuple[str, int, str], list[Array]] = {}
        for (policy, workers, dataset, _), rows in self.rows.groupby(
            ["policy", "workers", "dataset", "seed"]
        ):
            steps = rows["seconds"].to_numpy(), rows["regret"].to_numpy()
            found.setdefault((policy, workers, dataset), []).append(regret_at(grid() / workers, *steps))
        datasets = sorted(set(self.rows["dataset"]))
        return {
            (p, k): np.array([np.mean(found[p, k, d], axis=0) for d in datasets])
            for p, k in dict.fromkeys((p, k) for p, k, _ in found)
        }

    def has(self, policy: str, workers: int) -> bool:
        """Whether a policy has searched with so many workers."""
        return (policy, workers) in self._regret

    def regret(self, policy: str, workers: int) -> Array:
        """On each dataset at the times of the grid, which are worker-seconds: at t/k; (d, t)."""
        return self._regret[policy, workers]

    def auc(self, policy: str, workers: int) -> Array:
        """Mean over the grid on each dataset; (d,)."""
        return np.asarray(self.regret(policy, workers).mean(axis=1))


def with_error(values: Array) -> str:
    """Mean ± standard error over datasets (d,)."""
    return f"{short(values.mean())} ± {short(values.std(ddof=1) / np.sqrt(len(values)))}"


def efficiency(searches: Searches, policy: str, workers: int) -> tuple[float, float]:
    """One worker's auc over that of k workers, and its standard error (delta method over datasets)."""
    one, many = searches.auc(policy, 1), searches.auc(policy, workers)
    ratio = one.mean() / many.mean()
    spread = (one - ratio * many).std(ddof=1) / np.sqrt(len(one)) / many.mean()
    return float(ratio), float(spread)


def table_of(
    searches: Searches, policies: Sequence[str], counts: Sequence[int], cell: Callable[[str, int], str]
) -> str:
    """A row for each policy, a column for each number of workers."""
    rows = [[p, *(cell(p, k) if searches.has(p, k) else "–" for k in counts)] for p in policies]
    return markdown(["policy", *map(str, counts)], rows)


def tables(searches: Searches) -> dict[str, str]:
    """Of the README: auc, efficiency, and what fantasies of pending steps are worth, by name."""
    several = [k for k in searches.workers if k > 1]
    alone = [policy for policy in searches.policies if searches.has(policy, 1)]
    fantasies = [policy for policy in searches.policies if policy not in alone]

    def auc(policy: str, k: int) -> str:
        return with_error(searches.auc(policy, k))

    def efficient(policy: str, k: int) -> str:
        ratio, error = efficiency(searches, policy, k)
        return f"{short(ratio)} ± {short(error)}"

    def more(policy: str, k: int) -> str:
        return with_error(searches.auc(policy, k) - searches.auc(QUICK, k))

    return {
        "auc": table_of(searches, searches.policies, searches.workers, auc),
        "efficiency": table_of(searches, alone, several, efficient),
        "pending": table_of(searches, fantasies, several, more),
    }


def draw(searches: Searches) -> Figure:
    """Regret of quick over wall-clock time by workers, and efficiency by workers of all policies."""
    figure = Figure(figsize=(10.0, 4.2), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    for place, k in enumerate(searches.workers):
        regret = searches.regret(QUICK, k)
        left.plot(grid() / k, regret.mean(axis=0), label=f"{k}", **look(place, len(searches.workers)))
    time_axis(left, SECONDS, "simulated time of the wall clock")
    left.set_xlim(grid()[0] / max(searches.workers), SECONDS)
    left.set_ylabel("normalised regret of quick")
    left.legend(title="workers", frameon=False)
    several = [k for k in searches.workers if k > 1]
    whole = [p for p in searches.policies if all(searches.has(p, k) for k in searches.workers)]
    for place, policy in enumerate(whole):
        ratio, error = np.array([efficiency(searches, policy, k) for k in several]).T
        how = look(place, len(whole))
        right.plot(several, ratio, marker="o", label=policy, **how)
        right.fill_between(
            several, ratio - BAND * error, ratio + BAND * error, color=how["color"], alpha=0.1, linewidth=0
        )
    right.set_xscale("log", base=2)
    right.set_xticks(several, list(map(str, several)))
    right.set_xlabel("workers")
    right.set_ylabel("auc of one worker / auc")
    right.legend(frameon=False)
    for axes in (left, right):
        tidy(axes)
    return figure


def page() -> Page:
    """What the experiment shows."""
    searches = Searches(pd.read_csv(RESULTS / "regret.csv"))
    readme = README.read_text(encoding="utf-8")
    for name, table in tables(searches).items():
        readme = with_table(readme, table, name)
    return Page({README: readme}, {RESULTS / "regret": lambda: draw(searches)})
