"""Gains over probes against the textbook's Gaussian process (Rasmussen and Williams, eq. 2.23 and 2.24)."""

import numpy as np
import pytest

from qtt.predictors.gain_posterior import (
    DIP_STD,
    LUCK_STD,
    MODEL_STD,
    NOISE_STD,
    OWN_STD,
    POWER,
    GainPosterior,
    Points,
)

RNG = np.random.default_rng(0)
COUNT = 12
FEATURES = RNG.normal(size=(COUNT, 4))
MODEL = np.array([0, 0, 1, 1, 1, 2, 2, 3, 4, 4, 0, 1])
MEANS, STDS = RNG.normal(size=5), RNG.uniform(0.1, 1.0, 5)
LENGTHS = {3: 2, 0: 6, 7: 1, 5: 2, 4: 3}
IDS = np.repeat(np.arange(COUNT), 3)
SHARE = np.tile([0.2, 0.7, 1.0], COUNT)


def points(lengths):
    run = np.repeat(np.array(list(lengths), dtype=np.int64), list(lengths.values()))
    share = np.concatenate([np.zeros(0), *(np.arange(1, k + 1) / 8 for k in lengths.values())])
    return Points(run, share, RNG.normal(size=len(run)))


def prior(ids, share, others, other_share):
    """Covariance of what is not noise; (k, m)."""
    psi, other = (
        np.column_stack([s[:, None] ** POWER * FEATURES[i], (1.0 - s) ** 2])
        for i, s in ((ids, share), (others, other_share))
    )
    rho = np.outer(share**POWER, other_share**POWER)
    own = MODEL_STD**2 * (MODEL[ids][:, None] == MODEL[others]) + OWN_STD**2 * (ids[:, None] == others)
    return (psi * STDS**2) @ other.T + rho * own, psi @ MEANS, other @ MEANS


def dense(seen, ids, share):
    cross, mean, seen_mean = prior(ids, share, seen.run, seen.share)
    inner, _, _ = prior(seen.run, seen.share, seen.run, seen.share)
    early = (1.0 - seen.share) ** 2
    same = seen.run[:, None] == seen.run
    inner = inner + (DIP_STD**2 * np.outer(early, early) + LUCK_STD**2) * same
    inner = inner + NOISE_STD**2 * np.eye(len(inner))
    own, _, _ = prior(ids, share, ids, share)
    variance = np.diag(own - cross @ np.linalg.solve(inner, cross.T))
    mean = mean + cross @ np.linalg.solve(inner, seen.gain - seen_mean)
    return mean, np.sqrt(variance + NOISE_STD**2)


@pytest.mark.parametrize("lengths", [LENGTHS, {2: 4}, dict.fromkeys(range(COUNT), 6), {}])
def test_it_is_the_dense_gaussian_process(lengths):
    seen = points(lengths)
    found = GainPosterior(FEATURES, MODEL, MEANS, STDS, seen).predict(IDS, SHARE)
    for ours, expected in zip(found, dense(seen, IDS, SHARE), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-8, atol=1e-10)
