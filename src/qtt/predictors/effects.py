"""Effects that observations share, of columns, of each group and of each pipeline: the exact posterior.

Notation: n candidates, m observed ones, p columns. An observation of candidate i is

  y_i = x_i · w + u_group + v_i + e_i,   w ~ N(0, I), u ~ N(0, τ²), v ~ N(0, σ²), e_i ~ N(0, s_i²),

so that the covariance K of m of them is that of p columns beside one that is diagonal within groups. Both are
inverted in closed form (Sherman and Morrison 1950; Woodbury 1950): an exact posterior in O(m p² + n p) steps
and O(n p) memory, where a dense one takes O(m³ + n m) and O(n m).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ids = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class SharedEffects:
    """The prior: columns (n, p), scaled so that w ~ N(0, I); group (n,), -1: none; τ and σ."""

    columns: Array
    group: Ids
    group_std: float
    own_std: float

    def given(self, ids: Ids, noise: Array) -> "ObservedEffects":
        """What can be said once candidates `ids` (m,), each once, are observed with variances s² (m,)."""
        return ObservedEffects(self, ids, noise)


class ObservedEffects:
    """K of the observed candidates, factorised."""

    def __init__(self, prior: SharedEffects, ids: Ids, noise: Array) -> None:
        self._prior = prior
        self._ids = ids
        self._slot = prior.group[ids] + 1  # 0: of no group
        self._slots = int(prior.group.max(initial=-1)) + 2
        self._inverse = 1.0 / (prior.own_std**2 + noise)
        counted = self._by_group(self._inverse[:, None])
        self._shrink = prior.group_std**2 / (1.0 + prior.group_std**2 * counted)
        self._shrink[0] = 0.0
        self._columns = prior.columns[ids]
        self._white = self._within(self._columns)
        self._inner = np.eye(self._columns.shape[1]) + self._columns.T @ self._white

    def solve(self, y: Array) -> Array:
        """K⁻¹ y, of y (m,) or (m, k)."""
        white = self._within(y.reshape(len(self._ids), -1))
        shared = np.linalg.solve(self._inner, self._columns.T @ white)
        return np.asarray(white - self._white @ shared).reshape(y.shape)

    def spread(self, weights: Array) -> Array:
        """Covariance of all candidates with the observed ones, times weights (m,); (n,).

        With K⁻¹ y for weights these are the posterior means, without noise.
        """
        prior = self._prior
        by_group = prior.group_std**2 * self._by_group(weights[:, None])[:, 0]
        by_group[0] = 0.0
        means = prior.columns @ (self._columns.T @ weights) + by_group[prior.group + 1]
        means[self._ids] += prior.own_std**2 * weights
        return np.asarray(means)

    def _within(self, y: Array) -> Array:
        """Inverse of the covariance without columns, times y (m, k); (m, k)."""
        scaled = self._inverse[:, None] * y
        shared = self._shrink * self._by_group(scaled)
        return np.asarray(scaled - self._inverse[:, None] * shared[self._slot])

    def _by_group(self, y: Array) -> Array:
        """Sums over the members of each group, before them those of none; (g, k) of y (m, k)."""
        sums = [np.bincount(self._slot, weights=column, minlength=self._slots) for column in y.T]
        return np.stack(sums, axis=1) if sums else np.zeros((self._slots, 0))
