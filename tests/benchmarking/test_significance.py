"""Tests and critical differences against published values, hand computations and enumeration."""

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from scipy import stats

from qtt.benchmarking.significance import (
    bootstrap_interval,
    cliques,
    critical_difference,
    holm,
    paired_differences,
    signed_rank,
)
from qtt.benchmarking.tables import Comparison

Compared = Callable[..., Comparison]

C45 = (0.763, 0.599, 0.954, 0.628, 0.882, 0.936, 0.661, 0.583, 0.775, 1.0, 0.940, 0.619, 0.972, 0.957)
C45_M = (0.768, 0.591, 0.971, 0.661, 0.888, 0.931, 0.668, 0.583, 0.838, 1.0, 0.962, 0.666, 0.981, 0.978)
"""AUC of two classifiers on 14 data sets: Demšar 2006, table 2."""


def _by_enumeration(differences: np.ndarray) -> float:
    """Of all choices of signs, the share whose rank sums are at least as far apart as those observed."""
    told = differences[differences != 0]
    ranks = stats.rankdata(np.abs(told))
    observed = abs((np.sign(told) * ranks).sum())
    sums = np.abs(np.array(list(product((-1, 1), repeat=len(told)))) @ ranks)
    return float((sums >= observed - 1e-9).mean())


def test_the_signed_rank_test_by_hand() -> None:
    assert signed_rank(np.array([0.1, 0.2, 0.3, 0.4, 0.5])) == pytest.approx(2 / 32)
    assert signed_rank(np.array([-0.1, 0.2, 0.3, 0.4, 0.5])) == pytest.approx(4 / 32)
    assert signed_rank(-np.array([-0.1, 0.2, 0.3, 0.4, 0.5, 0.0])) == pytest.approx(4 / 32)
    assert signed_rank(np.array([0.3])) == 1.0
    assert signed_rank(np.zeros(4)) == 1.0


@pytest.mark.parametrize("seed", range(4))
def test_the_signed_rank_test_by_enumeration(seed: int) -> None:
    differences = np.random.default_rng(seed).normal(0.4, 1.0, size=9)
    assert signed_rank(differences) == pytest.approx(_by_enumeration(differences))


def test_the_signed_rank_test_of_the_literature() -> None:
    """Demšar 2006, section 3.1.3, rejects at 0.05; ties make older SciPys approximate."""
    differences = np.round(np.subtract(C45_M, C45), 3)
    p = signed_rank(differences)
    assert p == pytest.approx(_by_enumeration(differences), abs=0.005)
    assert 0.001 < p < 0.05


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.001, 0.6, 0.7]) == pytest.approx([1.0, 0.004, 1.0, 1.0])
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


@pytest.mark.parametrize("seed", range(5))
def test_holm_rejects_what_its_procedure_rejects(seed: int) -> None:
    """Step down: the smallest of k at level/k, the next at level/(k-1), until one is not rejected."""
    p_values, level = (np.random.default_rng(seed).random(6) ** 4).tolist(), 0.05
    rejected = set()
    for place, i in enumerate(sorted(range(6), key=p_values.__getitem__)):
        if p_values[i] > level / (6 - place):
            break
        rejected.add(i)
    assert {i for i, adjusted in enumerate(holm(p_values)) if adjusted <= level} == rejected


def test_of_two_datasets_the_interval_reaches_from_one_to_the_other() -> None:
    assert bootstrap_interval(np.array([-1.0, 3.0])) == (-1.0, 3.0)  # a quarter of all draws are one alone


def test_of_many_datasets_the_interval_is_the_normal_one() -> None:
    values = np.random.default_rng(3).normal(size=400)
    error = values.std() / np.sqrt(400)
    expected = values.mean() - 1.96 * error, values.mean() + 1.96 * error
    assert bootstrap_interval(values) == pytest.approx(expected, abs=0.1 * error)


def test_differences_are_paired_by_dataset(compared: Compared) -> None:
    quick, close, far = (0.1, 0.2, 0.3, 0.4, 0.5), (0.2, 0.1, 0.3, 0.6, 0.5), (0.6, 0.7, 0.8, 0.9, 1.0)
    searches = compared({"far": far, "quick": quick, "close": close}, seeds=2).searches
    first, second = paired_differences(searches, "quick")
    assert (first.policy, second.policy) == ("close", "far")
    assert (first.wins, first.losses, first.datasets) == (1, 2, 5)
    assert first.mean == pytest.approx(0.04)
    assert -0.1 < first.low < 0.04 < first.high < 0.2
    assert (second.mean, second.low, second.high) == pytest.approx((0.5, 0.5, 0.5))
    assert (second.wins, second.losses) == (0, 5)
    assert second.p == pytest.approx(2 / 32)
    assert second.adjusted == pytest.approx(4 / 32)
    assert first.adjusted == first.p  # the larger of two


def test_critical_difference_is_that_of_the_literature() -> None:
    """Demšar 2006, section 3.2.3: four classifiers on 14 data sets, q = 2.569, CD = 1.25; ten on 30."""
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)
    assert critical_difference(10, 30) == pytest.approx(3.164 * np.sqrt(10 * 11 / 180), abs=0.005)


def test_groups_that_ranks_do_not_tell_apart() -> None:
    assert cliques(np.array([1.0, 1.5, 3.0, 3.2, 5.0]), 1.0) == [(0, 1), (2, 3)]
    assert cliques(np.array([1.0, 2.0, 3.0]), 1.0) == [(0, 1), (1, 2)]
    assert cliques(np.array([1.0, 3.0]), 1.0) == []
