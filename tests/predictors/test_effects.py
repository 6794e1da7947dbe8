import tracemalloc

import numpy as np
import pytest

from qtt.predictors.effects import SharedEffects

RNG = np.random.default_rng(0)
COUNT = 40
GROUPS = RNG.integers(-1, 6, COUNT)
COLUMNS = RNG.normal(size=(COUNT, 3))
IDS = RNG.permutation(COUNT)[:17]
NOISE = RNG.uniform(0.01, 0.2, 17)
Y = RNG.normal(size=17)


def dense(columns, group, group_std, own_std):
    """Prior covariance of all candidates, entry by entry."""
    same = (group[:, None] == group) & (group[:, None] >= 0)
    return columns @ columns.T + group_std**2 * same + own_std**2 * np.eye(len(group))


@pytest.mark.parametrize("columns", [COLUMNS, COLUMNS[:, :0]], ids=["columns", "none"])
@pytest.mark.parametrize("group", [GROUPS, np.full(COUNT, -1), np.zeros(COUNT, dtype=int)])
def test_the_posterior_is_the_dense_one(columns, group):
    observed = SharedEffects(columns, group, 0.4, 0.3).given(IDS, NOISE)
    covariance = dense(columns, group, 0.4, 0.3)
    weights = np.linalg.solve(covariance[np.ix_(IDS, IDS)] + np.diag(NOISE), Y)
    np.testing.assert_allclose(observed.solve(Y), weights, rtol=1e-8)
    np.testing.assert_allclose(observed.spread(weights), covariance[:, IDS] @ weights, rtol=1e-8)


def test_several_vectors_are_solved_for_at_once():
    observed = SharedEffects(COLUMNS, GROUPS, 0.4, 0.3).given(IDS, NOISE)
    several = RNG.normal(size=(17, 4))
    each = np.stack([observed.solve(column) for column in several.T], axis=1)
    np.testing.assert_allclose(observed.solve(several), each, rtol=1e-10)


def test_no_matrix_of_all_observed_pipelines_is_made():
    count, seen = 4000, 2000
    columns = np.random.default_rng(1).normal(size=(count, 4))
    tracemalloc.start()
    try:
        effects = SharedEffects(columns, np.arange(count) % 20, 0.1, 0.25)
        observed = effects.given(np.arange(seen), np.full(seen, 0.01))
        observed.spread(observed.solve(np.ones(seen)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < count * seen  # bytes: an eighth of one such matrix
