"""Small regression networks as plain arrays, several at once: a deep ensemble (Lakshminarayanan et al. 2017).

Notation: m rows, d columns, k members, h hidden units.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from qtt.errors import ArtifactError

Array = NDArray[np.float64]

BOUND = 3.0
"""Standardised inputs are kept within ± this, so that a foreign dataset or model is not extrapolated to."""


@dataclass(frozen=True, eq=False)
class Networks:
    """Two hidden layers with SiLU each; their outputs are averaged.

    center, scale: (d,) of the inputs. weight1 (k, d, h), bias1 (k, h), weight2 (k, h, h), bias2 (k, h),
    weight3 (k, h), bias3 (k,).
    """

    center: Array
    scale: Array
    weight1: Array
    bias1: Array
    weight2: Array
    bias2: Array
    weight3: Array
    bias3: Array

    def predict(self, rows: Array) -> Array:
        """Average output for rows (m, d), NaN standing for the average of a column; (m,)."""
        inputs = self.standardise(rows)
        hidden = _silu(inputs @ self.weight1 + self.bias1[:, None])
        hidden = _silu(hidden @ self.weight2 + self.bias2[:, None])
        outputs = np.einsum("kmh,kh->km", hidden, self.weight3) + self.bias3[:, None]
        return np.asarray(outputs.mean(axis=0))

    def standardise(self, rows: Array) -> Array:
        """Inputs of the first layer; (m, d)."""
        return np.clip(np.nan_to_num((rows - self.center) / self.scale), -BOUND, BOUND)

    def tensors(self, name: str) -> dict[str, NDArray[np.generic]]:
        """All arrays by name, weights in single precision."""
        return {f"{name}.{item.name}": getattr(self, item.name).astype(np.float32) for item in fields(self)}

    @classmethod
    def from_tensors(cls, name: str, tensors: Mapping[str, NDArray[np.generic]]) -> Self:
        """Inverse of `tensors`.

        Raises:
            ArtifactError: an array is missing.
        """
        try:
            arrays: dict[str, Any] = {
                item.name: np.asarray(tensors[f"{name}.{item.name}"], dtype=np.float64)
                for item in fields(cls)
            }
        except KeyError as error:
            raise ArtifactError(f"The predictor lacks the array {error}; fit or install it anew.") from error
        return cls(**arrays)


def _silu(x: Array) -> Array:
    return x / (1.0 + np.exp(-x))
