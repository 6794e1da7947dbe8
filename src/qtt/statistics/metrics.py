"""Figures of a classifier on labelled examples.

Notation: n examples, c classes; probabilities (n, c), labels (n,) positions of the true classes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BINS = 15
"""Bins of equal width between 0 and 1 for calibration."""


@dataclass(frozen=True, eq=False)
class Reliability:
    """count, confidence, accuracy: (b,) of the examples in each of b bins; NaN for the means of an empty one.

    error: expected calibration error (ECE; Guo et al. 2017, Eq. 3), Σ count/n · |accuracy − confidence|.
    """

    count: NDArray[np.int64]
    confidence: Array
    accuracy: Array
    error: float


def top_accuracy(probabilities: NDArray[np.float32], labels: NDArray[np.int64], k: int = 1) -> float:
    """Share of examples whose class is among the k most probable ones; of equal ones the first."""
    ranked = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float((ranked == labels[:, None]).any(1).mean())


def log_loss(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Mean of −log p of the true class; a p below 10⁻³⁸ counts as that, the least that 32 bits hold well."""
    true = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(true, np.finfo(np.float32).tiny)).mean())


def reliability(confidence: Array, correct: NDArray[np.bool_], bins: int = BINS) -> Reliability:
    """How often predictions are right at each confidence.

    Args:
        confidence: (n,) probability of the predicted class, in (0, 1]; bins are (0, 1/b], (1/b, 2/b], …
        correct: (n,) whether it is the true one.
        bins: b.
    """
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        sure = np.bincount(place, confidence, minlength=bins) / count
        right = np.bincount(place, correct.astype(float), minlength=bins) / count
    error = float(np.nansum(count * np.abs(right - sure)) / len(confidence))
    return Reliability(count, sure, right, error)


def calibration_error(
    probabilities: NDArray[np.float32], labels: NDArray[np.int64], bins: int = BINS
) -> float:
    """Expected calibration error, from 0 to 1; see `Reliability`."""
    confidence: Array = probabilities.max(1).astype(np.float64)
    return reliability(confidence, probabilities.argmax(1) == labels, bins).error
