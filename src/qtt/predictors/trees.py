"""Boosted regression trees as plain arrays: fitted by scikit-learn, stored and evaluated without it.

Notation: m rows, d columns, k trees, q nodes of the largest tree.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from qtt.errors import ArtifactError
from qtt.predictors.leaf_masks import LeafMasks

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Trees:
    """A sum of regression trees.

    column, left, right: (k, q) int32; a leaf has itself as both children.
    threshold, value: (k, q) float64; a row goes left where its column is ≤ threshold.
    missing_left: (k, q) bool; where a row goes whose column is NaN.
    baseline: (1,) added to the sum. depth: (1,) int32, of the deepest tree.
    """

    column: NDArray[np.int32]
    threshold: Array
    missing_left: NDArray[np.bool_]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: Array
    baseline: Array
    depth: NDArray[np.int32]

    @classmethod
    def of(cls, *models: "HistGradientBoostingRegressor | HistGradientBoostingClassifier") -> Self:
        """The average of fitted models without categorical columns; of two-class models, log odds.

        It reads scikit-learn's private node tables, whose layout has not changed since version 0.24; a test
        compares with `predict`.
        """
        tables = [step[0].nodes for model in models for step in model._predictors]
        width = max(len(table) for table in tables)
        nodes = np.arange(width, dtype=np.int32)

        def gather(name: str, kind: type) -> NDArray[np.generic]:
            rows: NDArray[np.generic] = np.zeros((len(tables), width), dtype=kind)
            for row, table in zip(rows, tables, strict=True):
                row[: len(table)] = table[name]
            return rows

        leaf = gather("is_leaf", np.bool_) | (gather("count", np.int64) == 0)
        return cls(
            column=np.where(leaf, 0, gather("feature_idx", np.int32)).astype(np.int32),
            threshold=np.where(leaf, 0.0, gather("num_threshold", np.float64)),
            missing_left=gather("missing_go_to_left", np.bool_).astype(np.bool_),
            left=np.where(leaf, nodes, gather("left", np.int32)).astype(np.int32),
            right=np.where(leaf, nodes, gather("right", np.int32)).astype(np.int32),
            value=gather("value", np.float64).astype(np.float64) / len(models),
            baseline=np.array([np.mean([float(np.ravel(m._baseline_prediction)[0]) for m in models])]),
            depth=np.array([max(int(table["depth"].max()) for table in tables)], dtype=np.int32),
        )

    def predict(self, rows: Array) -> Array:
        """Prediction for rows (m, d); (m,)."""
        masks = self._masks
        sums = self._followed(rows) if masks is None else masks.sums(rows)
        return np.asarray(sums + self.baseline[0])

    @cached_property
    def _masks(self) -> LeafMasks | None:
        return LeafMasks.of(self)

    def _followed(self, rows: Array) -> Array:
        """Sum of the leaves that rows end at, step by step: of trees that are too wide for masks; (m,)."""
        trees = np.arange(len(self.column))
        node = np.zeros((len(rows), len(trees)), dtype=np.int32)
        every = np.arange(len(rows))[:, None]
        for _ in range(int(self.depth[0])):
            entry = rows[every, self.column[trees, node]]
            goes_left = np.where(
                np.isnan(entry), self.missing_left[trees, node], entry <= self.threshold[trees, node]
            )
            node = np.where(goes_left, self.left[trees, node], self.right[trees, node])
        return np.asarray(self.value[trees, node].sum(axis=1))

    def tensors(self, name: str) -> dict[str, NDArray[np.generic]]:
        """All arrays by name, for a file that holds several models."""
        return {f"{name}.{item.name}": getattr(self, item.name) for item in fields(self)}

    @classmethod
    def from_tensors(cls, name: str, tensors: Mapping[str, NDArray[np.generic]]) -> Self:
        """Inverse of `tensors`.

        Raises:
            ArtifactError: an array is missing, or a child lies outside its tree.
        """
        try:
            arrays: dict[str, Any] = {item.name: tensors[f"{name}.{item.name}"] for item in fields(cls)}
        except KeyError as error:
            raise ArtifactError(f"The predictor lacks the array {error}; fit or install it anew.") from error
        trees = cls(**arrays)
        if not trees._is_whole():
            raise ArtifactError(f"The trees '{name}' of the predictor are damaged; fit or install it anew.")
        return trees

    def _is_whole(self) -> bool:
        """Whether all tables have the same shape and every child lies in its tree."""
        tables = (self.column, self.threshold, self.missing_left, self.left, self.right, self.value)
        shapes = {table.shape for table in tables}
        if len(shapes) > 1 or self.column.ndim != 2 or not self.baseline.shape == self.depth.shape == (1,):
            return False
        children = np.stack([self.left, self.right])
        return bool(
            self.column.size
            and self.column.min() >= 0
            and children.min() >= 0
            and children.max() < self.column.shape[1]
        )
