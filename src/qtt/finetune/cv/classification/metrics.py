"""Figures of a classifier on labelled images.

Notation: n images, c classes; probabilities (n, c), labels (n,) positions of the true classes.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

BINS = 15


def top_accuracy(probabilities: NDArray[np.float32], labels: NDArray[np.int64], k: int = 1) -> float:
    """Share of images whose class is among the k most probable ones; of equal ones the first."""
    ranked = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float((ranked == labels[:, None]).any(1).mean())


def log_loss(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Mean of −log p of the true class; a p below 10⁻³⁸ counts as that, the least that 32 bits hold well."""
    true = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(true, np.finfo(np.float32).tiny)).mean())


def calibration_error(
    probabilities: NDArray[np.float32], labels: NDArray[np.int64], bins: int = BINS
) -> float:
    """Expected calibration error (ECE; Guo et al. 2017, Eq. 3), from 0 to 1.

    Images fall into `bins` of equal width by their largest probability, (0, 1/15] and so on; the error is
    the mean over images of the distance between accuracy and mean largest probability in their bin.
    """
    confidence: Array = probabilities.max(1).astype(np.float64)
    right: Array = (probabilities.argmax(1) == labels).astype(np.float64)
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(place, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))
