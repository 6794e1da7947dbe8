"""Many rows through many trees at once, by bits instead of steps (Lucchese et al. 2015, "QuickScorer").

Notation: m rows, d columns, k trees, q nodes of the largest tree, c distinct conditions of all trees.

The leaves of a tree are bits, numbered from left to right. A condition that sends a row to the right rules
out the leaves on its left; whatever the order, the first leaf that no condition rules out is where the row
ends. So each condition is computed once for all trees that share it, and no row follows a path of its own.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from qtt.predictors.trees import Trees

Array = NDArray[np.float64]
Bits = NDArray[np.uint16]

MOST_LEAVES = 16
"""Of a tree: bits of a mask, so that one table of 65,536 entries finds the first that is not set."""

ROWS, TREES = 512, 16
"""Taken at once: what these need fits into a processor's cache."""

_FIRST_FREE = np.array(
    [(~mask & (mask + 1)).bit_length() - 1 for mask in range((1 << MOST_LEAVES) - 1)] + [0], dtype=np.intp
)
"""The lowest bit that is not set, of every mask; the last mask has none, and no row leads there."""


@dataclass(frozen=True, eq=False)
class LeafMasks:
    """Conditions, and which leaves they rule out.

    column (c,), threshold (c, 1), missing_right (c, 1): a row goes to the right where its column is greater
        than the threshold, or, with `missing_right`, NaN.
    condition (q', k): of each inner node, in any order. ruled_out (q', k, 1): leaves on its left, as bits;
        none for padding.
    values (16 k,): of the leaves, tree by tree.
    """

    column: NDArray[np.intp]
    threshold: Array
    missing_right: NDArray[np.bool_]
    condition: NDArray[np.intp]
    ruled_out: Bits
    values: Array

    @classmethod
    def of(cls, trees: "Trees") -> Self | None:
        """Masks of trees; None where one has more than `MOST_LEAVES` leaves, or is no tree."""
        offset, count = _leaves(trees)
        if (count[:, 0] > MOST_LEAVES).any() or (offset + count > MOST_LEAVES).any():
            return None
        leaf = trees.left == np.arange(trees.left.shape[1])
        inner = (count > 0) & ~leaf
        width = max(int(inner.sum(axis=1).max()), 1)
        order = np.argsort(~inner, axis=1, kind="stable")[:, :width].T  # inner nodes first
        every = np.arange(len(inner))
        places: list[NDArray[Any]] = [trees.column, trees.threshold, ~trees.missing_left]
        keys = np.stack([part[every, order].astype(np.float64).ravel() for part in places], axis=1)
        distinct, condition = np.unique(keys, axis=0, return_inverse=True)
        lefts = trees.left[every, order]
        left_leaves = ((1 << count[every, lefts]) - 1) << offset[every, lefts]
        ruled_out = np.where(inner[every, order], left_leaves, 0).astype(np.uint16)
        values = np.zeros((len(inner), MOST_LEAVES))
        tree, node = np.nonzero(leaf & (count > 0))
        values[tree, offset[tree, node]] = trees.value[tree, node]
        return cls(
            distinct[:, 0].astype(np.intp),
            distinct[:, 1:2],
            distinct[:, 2:3] > 0,
            condition.reshape(order.shape).astype(np.intp),
            ruled_out[:, :, None],
            values.ravel(),
        )

    def sums(self, rows: Array) -> Array:
        """Sum over all trees of the value of the leaf that each row (m, d) ends at; (m,)."""
        found = np.empty(len(rows))
        for begin in range(0, len(rows), ROWS):
            values = self._values(rows[begin : begin + ROWS])
            found[begin : begin + ROWS] = np.ascontiguousarray(values.T).sum(axis=1)
        return found

    def _values(self, rows: Array) -> Array:
        """Values of the leaves that a few rows (m, d) end at; (k, m)."""
        columns = np.ascontiguousarray(rows.T)
        missing = np.isnan(columns)
        right = columns[self.column] > self.threshold
        if missing.any():
            right |= missing[self.column] & self.missing_right
        masks = np.negative(right.astype(np.uint16))
        found = np.empty((self.condition.shape[1], len(rows)))
        for begin in range(0, len(found), TREES):
            part = slice(begin, begin + TREES)
            ruled_out = np.bitwise_or.reduce(masks[self.condition[:, part]] & self.ruled_out[:, part], axis=0)
            first = MOST_LEAVES * np.arange(begin, begin + len(ruled_out))
            found[part] = self.values.take(_FIRST_FREE[ruled_out] + first[:, None])
        return found


def _leaves(trees: "Trees") -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first leaf below each node, counted from the left, and how many there are; both (k, q).

    Nodes that no path from the root leads to have none.
    """
    every = np.arange(len(trees.left))[:, None]
    leaf = trees.left == np.arange(trees.left.shape[1])
    count = leaf.astype(np.int64)
    reached = np.zeros_like(leaf)
    reached[:, 0] = True
    offset = np.zeros_like(count)
    depth = int(trees.depth[0])
    for _ in range(depth):
        below = count[every, trees.left] + count[every, trees.right]
        count = np.minimum(np.where(leaf, 1, below), MOST_LEAVES + 1)
    for _ in range(depth):
        tree, node = np.nonzero(reached & ~leaf)
        left, right = trees.left[tree, node], trees.right[tree, node]
        offset[tree, left] = offset[tree, node]
        offset[tree, right] = offset[tree, node] + count[tree, left]
        reached[tree, left] = reached[tree, right] = True
    return offset, np.where(reached, count, 0)
