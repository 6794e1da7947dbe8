"""What a benchmark writes, `regret.csv`, `decisions.csv`, `summary.csv`, `ranks.csv`, and their figures."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qtt.benchmarking.regret import Average, grid, ranks, regret_at, regret_curve, summary_times
from qtt.benchmarking.replay import Replay
from qtt.benchmarking.searches import Name, Searches
from qtt.support.files import write_text
from qtt.support.plain_text import cell

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """Replays of every policy on every dataset with every seed.

    replays: by (policy, dataset, seed).
    extremes: best and worst score of each dataset over all epochs of all its candidates.
    limit: simulated seconds.
    """

    policies: tuple[str, ...]
    datasets: tuple[str, ...]
    seeds: tuple[int, ...]
    replays: Mapping[Name, Replay]
    extremes: Mapping[str, tuple[float, float]]
    limit: float

    @property
    def names(self) -> list[Name]:
        """Policy, dataset and seed of every replay, in the order of the tables."""
        return [(p, d, s) for p in self.policies for d in self.datasets for s in self.seeds]

    @cached_property
    def curves(self) -> dict[Name, Array]:
        """Regret after each observed epoch."""
        return {name: regret_curve(self.replays[name].scores, *self.extremes[name[1]]) for name in self.names}

    @cached_property
    def searches(self) -> Searches:
        """Regret of all of them, for tables and figures."""
        steps = {name: (self.replays[name].seconds, self.curves[name]) for name in self.names}
        return Searches.of(steps, self.limit)

    def regret(self, times: Array) -> Array:
        """Regret at given times; (policies, datasets, seeds, times)."""
        rows = [regret_at(times, self.replays[name].seconds, self.curves[name]) for name in self.names]
        shape = (len(self.policies), len(self.datasets), len(self.seeds), len(times))
        return np.array(rows).reshape(shape)

    def summary(self) -> list[dict[str, Any]]:
        """Rows of `summary.csv`: regret and rank at four times, and over all of them (`auc`)."""
        times = summary_times(self.limit)
        at_times, over_time = self.regret(times), self.regret(grid(self.limit))
        regret = np.concatenate([at_times, over_time.mean(axis=-1, keepdims=True)], axis=-1)
        rank = np.concatenate([ranks(at_times), ranks(over_time).mean(axis=-1, keepdims=True)], axis=-1)
        averages, mean_rank = Average.of(regret), Average.of(rank).mean
        return [
            {
                "policy": policy,
                "seconds": label,
                "mean_regret": averages.mean[i, j],
                "stderr": averages.stderr[i, j],
                "mean_rank": mean_rank[i, j],
            }
            for i, policy in enumerate(self.policies)
            for j, label in enumerate([*(f"{time:g}" for time in times), "auc"])
        ]

    def decision_seconds(self, policy: str) -> Array:
        """Real seconds of every decision of a policy."""
        parts = [replay.decisions for name, replay in self.replays.items() if name[0] == policy]
        return np.concatenate(parts) if parts else np.zeros(0)


def write_tables(comparison: Comparison, folder: Path) -> None:
    """Write the four tables.

    regret.csv     policy, dataset, seed, seconds, regret: one row per observed epoch
    decisions.csv  policy, n_observed, seconds: one row per decision on any dataset; real seconds
    summary.csv    policy, seconds, mean_regret, stderr, mean_rank; the row `auc` averages over the grid
    ranks.csv      policy, seconds, mean_rank, stderr on the grid; 1 is best
    Means are over seeds, then over datasets; stderr is s/√n over datasets.
    """
    epochs = (
        (*name, f"{seconds:.3f}", f"{regret:.8f}")
        for name in comparison.names
        for seconds, regret in zip(comparison.replays[name].seconds, comparison.curves[name], strict=True)
    )
    _write(folder / "regret.csv", ("policy", "dataset", "seed", "seconds", "regret"), epochs)
    decisions = (
        (name[0], observed, f"{seconds:.3g}")
        for name in comparison.names
        for observed, seconds in zip(
            comparison.replays[name].observed, comparison.replays[name].decisions, strict=True
        )
    )
    _write(folder / "decisions.csv", ("policy", "n_observed", "seconds"), decisions)
    summary = comparison.summary()
    _write(folder / "summary.csv", list(summary[0]), (map(_short, row.values()) for row in summary))
    times = grid(comparison.limit)
    average = Average.of(ranks(comparison.regret(times)))
    rows = (
        (policy, f"{time:.1f}", _short(average.mean[i, j]), _short(average.stderr[i, j]))
        for i, policy in enumerate(comparison.policies)
        for j, time in enumerate(times)
    )
    _write(folder / "ranks.csv", ("policy", "seconds", "mean_rank", "stderr"), rows)


def _short(value: Any) -> Any:
    return f"{value:.6f}" if isinstance(value, float) else value


def _write(path: Path, header: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([cell(value) for value in row] for row in rows)
    write_text(path, text.getvalue())
