"""Regret, its averages and ranks against numbers worked out by hand and loops."""

import numpy as np
import pytest
from scipy.stats import rankdata

from qtt.benchmarking.regret import Average, grid, ranks, regret_at, regret_curve, summary_times


def test_the_times_are_those_of_the_contract():
    np.testing.assert_allclose(summary_times(), [900, 3600, 14400, 57600])
    times = grid()
    assert len(times) == 50
    assert (times[0], times[-1]) == (pytest.approx(60), pytest.approx(57600))
    np.testing.assert_allclose(times[1:] / times[:-1], 960 ** (1 / 49))


def test_regret_by_hand():
    # scores from 0.2 to 1.0: each 0.08 is a tenth
    np.testing.assert_allclose(regret_curve(np.array([0.2, 0.6, 0.4, 0.92]), 1.0, 0.2), [1.0, 0.5, 0.5, 0.1])
    assert regret_curve(np.array([0.3, 0.3]), 0.3, 0.3).tolist() == [0.0, 0.0]
    assert regret_curve(np.zeros(0), 1.0, 0.0).tolist() == []


def test_regret_holds_from_the_end_of_an_epoch_until_the_next():
    seconds, regret = np.array([10.0, 20.0]), np.array([0.5, 0.25])
    times = np.array([0.0, 9.99, 10.0, 19.99, 20.0, 1e6])
    assert regret_at(times, seconds, regret).tolist() == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    assert regret_at(times, np.zeros(0), np.zeros(0)).tolist() == [1.0] * 6


def test_means_are_over_seeds_first_and_errors_over_datasets():
    values = np.random.default_rng(0).random((2, 5, 3, 4))
    average = Average.of(values)
    for p in range(2):
        for t in range(4):
            by_dataset = [sum(values[p, d, s, t] for s in range(3)) / 3 for d in range(5)]
            mean = sum(by_dataset) / 5
            spread = (sum((value - mean) ** 2 for value in by_dataset) / 4) ** 0.5
            assert average.mean[p, t] == pytest.approx(mean)
            assert average.stderr[p, t] == pytest.approx(spread / 5**0.5)
    assert np.isnan(Average.of(values[:, :1]).stderr).all()


def test_ranks_share_ties():
    regret = np.array([0.5, 0.1, 0.5, 0.9]).reshape(4, 1, 1, 1)
    assert ranks(regret).ravel().tolist() == [2.5, 1.0, 2.5, 4.0]


def test_ranks_agree_with_scipy():
    regret = np.random.default_rng(1).integers(0, 4, (5, 3, 2, 6)).astype(float)
    np.testing.assert_array_equal(ranks(regret), rankdata(regret, axis=0))
