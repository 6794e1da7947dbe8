"""The README's tables of test accuracy, from results.csv, quiet.csv and long.csv (`make tables`)."""

import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from methods import METHODS
from results import SETS, read_runs
from summary import REFERENCE, Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pages import Page, markdown, with_table

HERE = Path(__file__).resolve().parent
README = HERE / "README.md"
FILES = {
    "results": HERE / "results.csv",
    "side by side": HERE / "quiet.csv",
    "long": HERE / "long.csv",
}
"""Tables by the names of their marks in the README, and the runs that each shows."""

NAMES = {
    "highest": "qtt, highest score wins",
    "highest_cold": "cold, highest score wins",
    "highest_random": "random, highest score wins",
}
"""Rows of qtt as it was before winners were chosen by estimates."""


def accuracy_table(table: Table) -> str:
    """A row a budget, method and seed that has most sets: test accuracy within the budget, set by set."""
    rows = []
    for budget in table.budgets:
        reference = _mean_by_set(table, REFERENCE, budget)
        for method, seed, values in _rows(table, budget):
            lead = reference - values if method != REFERENCE else np.array([])
            name = NAMES.get(method, method) + (f", seed {seed}" if seed else "")
            cells = [*values, float(np.mean(values))]
            rows.append([f"{budget:g}", name, *map(_accuracy, cells), _lead(lead)])
    return markdown(["seconds", "method", *_sets(table), "mean", f"{REFERENCE} ahead by"], rows)


def _rows(table: Table, budget: float) -> Iterator[tuple[str, int, np.ndarray]]:
    """Method, seed and accuracy by set, NaN where it was not run; the reference first."""
    for method in sorted(table.methods, key=_place):
        runs = table.once(method, budget)
        for seed in sorted({run.key.seed for run in runs}):
            found = {run.key.set: run.accuracy(budget) for run in runs if run.key.seed == seed}
            if 2 * len(found) >= len(table.sets):
                shown = 0 if method in table.timeless else seed
                yield method, shown, np.array([found.get(name, np.nan) for name in _sets(table)])


def _place(method: str) -> tuple[int, str]:
    """The reference first, then what is like it, then the others as in the table of methods."""
    order = [REFERENCE, *NAMES, *METHODS]
    return order.index(method) if method in order else len(order), method


def _sets(table: Table) -> list[str]:
    return sorted(table.sets, key=SETS.index)


def _mean_by_set(table: Table, method: str, budget: float) -> np.ndarray:
    """Of all its seeds."""
    return np.mean([values for name, _, values in _rows(table, budget) if name == method], axis=0)


def _accuracy(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}".removeprefix("0")


def _lead(values: Sequence[float] | np.ndarray) -> str:
    values = np.asarray(values)[~np.isnan(values)]
    if len(values) < 2:
        return ""
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    return f"{np.mean(values):+.3f} ± {error:.3f}".replace("0.", ".")


def page() -> Page:
    """The README with its tables."""
    text = README.read_text(encoding="utf-8")
    for name, file in FILES.items():
        text = with_table(text, accuracy_table(Table.of(read_runs(file))), name)
    return Page({README: text})
