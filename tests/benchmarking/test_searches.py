"""Searches and their rows, against numbers worked out by hand."""

from collections.abc import Callable

import numpy as np
import pytest

from qtt.benchmarking.searches import Searches
from qtt.benchmarking.tables import Comparison

Compared = Callable[..., Comparison]


def test_rows_are_means_over_datasets_the_best_first(compared: Compared) -> None:
    searches = compared({"a": (0.5, 0.7), "b": (0.1, 0.5), "c": (0.5, 0.1)}, seeds=3).searches
    assert searches.over_time.shape == (3, 2, 3, 50)
    np.testing.assert_allclose(searches.auc, [[0.5, 0.7], [0.1, 0.5], [0.5, 0.1]])
    np.testing.assert_allclose(searches.rank, [[2.5, 3], [1, 2], [2.5, 1]])
    assert searches.best_first == ["b", "c", "a"]
    row = searches.rows[2]
    assert (row.policy, row.rank) == ("a", 2.75)
    assert (row.at, row.auc) == (pytest.approx((0.6,) * 4), pytest.approx(0.6))
    assert row.stderr == pytest.approx(0.1)  # half of what two values are apart


def test_regret_is_a_step_function_of_time() -> None:
    steps = {("a", "D", 0): (np.array([30.0, 960.0]), np.array([0.5, 0.25]))}
    searches = Searches.of(steps, limit=960.0)
    assert searches.at.ravel().tolist() == [1.0, 0.5, 0.5, 0.25]  # at 15, 60, 240 and 960 s
    assert np.isnan(searches.rows[0].stderr)


def test_a_search_that_is_missing_is_named() -> None:
    one = (np.array([1.0]), np.array([0.5]))
    steps = {("a", "D", 0): one, ("a", "E", 0): one, ("b", "D", 0): one}
    with pytest.raises(ValueError, match=r"1 search missing, the first of them \('b', 'E', 0\)"):
        Searches.of(steps)
