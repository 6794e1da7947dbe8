"""What several workers are worth: tables from figures that can be worked out by hand."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from qtt.benchmarking.regret import SECONDS, grid
from qtt.benchmarking.runner import Problem
from qtt.testing import METAFEATURES
from qtt.types import Candidates
from recorded import recorded

SCRIPTS = Path(__file__).parents[2] / "experiments" / "parallel"

ENDS = {"quick": {1: (0.2, 0.4), 4: (0.4, 0.8)}, "quick_mean": {4: (0.3, 0.8)}, "random": {1: (1.0, 1.0)}}
"""Regret from the beginning to the end, on two datasets, by workers."""


@pytest.fixture
def parallel(load: Any) -> ModuleType:
    return load("parallel")


@pytest.fixture
def searches(parallel: ModuleType) -> Any:
    rows = [
        (policy, workers, dataset, 0, 1e-3, regret)
        for policy, counts in ENDS.items()
        for workers, regrets in counts.items()
        for dataset, regret in zip("AB", regrets, strict=True)
    ]
    columns = ["policy", "workers", "dataset", "seed", "seconds", "regret"]
    return parallel.Searches(pd.DataFrame(rows, columns=columns))


def test_efficiency_is_one_workers_auc_over_that_of_many(parallel: ModuleType, searches: Any) -> None:
    np.testing.assert_allclose(searches.auc("quick", 4), [0.4, 0.8])
    ratio, error = parallel.efficiency(searches, "quick", 4)
    assert (ratio, error) == (pytest.approx(0.5), pytest.approx(0.0))


def test_regret_is_read_at_as_many_worker_seconds(parallel: ModuleType) -> None:
    half = SECONDS / 8
    rows = pd.DataFrame(
        [("quick", 4, "A", 0, half, 0.5), ("quick", 1, "A", 0, 4 * half, 0.5)],
        columns=["policy", "workers", "dataset", "seed", "seconds", "regret"],
    )
    searches = parallel.Searches(rows)
    expected = np.where(grid() >= 4 * half, 0.5, 1.0)
    for workers in (1, 4):
        np.testing.assert_array_equal(searches.regret("quick", workers)[0], expected)


def test_tables_leave_out_what_was_not_searched(parallel: ModuleType, searches: Any) -> None:
    tables = parallel.tables(searches)
    assert tables["auc"].splitlines()[2:] == [
        "| quick | .300 ± .100 | .600 ± .200 |",
        "| quick_mean | – | .550 ± .250 |",
        "| random | 1.000 ± .000 | – |",
    ]
    assert tables["efficiency"].splitlines()[2:] == ["| quick | .500 ± .000 |", "| random | – |"]
    assert tables["pending"].splitlines()[2:] == ["| quick_mean | -.050 ± .050 |"]


def test_nothing_beats_what_is_known_beforehand(load: Any) -> None:
    curves = recorded(n=5, epochs=4)
    problem = Problem(curves, METAFEATURES, Candidates(curves.configs))
    limit = 60.0
    known = load("replay_workers").everything_known(problem, limit)
    ends = {
        (float(np.nansum(curves.seconds[i, : e + 1])), float(curves.scores[i, e]))
        for i in range(5)
        for e in range(curves.lengths[i])
    }
    expected = sorted((when, score) for when, score in ends if when <= limit)
    np.testing.assert_allclose(np.column_stack([known.seconds, known.scores]), expected)


def test_a_figure_has_a_line_for_each(parallel: ModuleType, searches: Any, tmp_path: Path) -> None:
    figure = parallel.draw(searches)
    left, right = figure.axes
    assert [line.get_label() for line in left.get_lines()] == ["1", "4"]
    assert [line.get_label() for line in right.get_lines()] == ["quick"]
    figure.savefig(tmp_path / "figure.png")
