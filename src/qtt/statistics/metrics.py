"""Figures of a classifier on labelled examples.

Notation: n examples, c classes; probabilities (n, c), labels (n,) positions of the true classes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qtt.errors import ConfigError

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


def class_recalls(
    probabilities: NDArray[np.float32], labels: NDArray[np.int64]
) -> tuple[Array, NDArray[np.int64]]:
    """Share of each class's examples that is recognised (c,), NaN without any, and their count (c,)."""
    classes = probabilities.shape[1]
    count = np.bincount(labels, minlength=classes)
    hits = np.bincount(labels[probabilities.argmax(1) == labels], minlength=classes)
    with np.errstate(invalid="ignore"):
        return hits / count, count


def balanced_accuracy(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Mean recall of the classes that have examples (Brodersen et al. 2010): Σ recall_k / c."""
    return float(np.nanmean(class_recalls(probabilities, labels)[0]))


def macro_f1(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Mean of 2·hits / (examples + predictions) over the classes that have either."""
    classes = probabilities.shape[1]
    predicted = probabilities.argmax(1)
    hits = np.bincount(labels[predicted == labels], minlength=classes)
    total = np.bincount(labels, minlength=classes) + np.bincount(predicted, minlength=classes)
    return float((2 * hits[total > 0] / total[total > 0]).mean())


def placements(scores: Array, positive: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Of each positive the share of negatives below it, of each negative the share of positives above it.

    Args:
        scores: (n,) how sure an example is said to be positive; equal ones count one half.
        positive: (n,) whether it is, m of them.

    Returns:
        (m,) and (n − m,); both have the area under the ROC curve as their mean (DeLong et al. 1988).

    Raises:
        ConfigError: all examples are of one class.
    """
    from scipy.stats import rankdata  # which takes a second to import, and few need

    if positive.all() or not positive.any():
        raise ConfigError("AUROC compares two classes, but all of these examples are of one.")
    ranks = rankdata(scores)
    above = ranks[positive] - rankdata(scores[positive])
    below = ranks[~positive] - rankdata(scores[~positive])
    return above / len(below), 1 - below / len(above)


def auroc(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Area under the ROC curve of the second of two classes: how often it ranks above the first.

    Raises:
        ConfigError: all examples are of one class.
    """
    return float(placements(probabilities[:, 1].astype(np.float64), labels == 1)[0].mean())


def likelihood(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """e^−log loss: the geometric mean of the probabilities of the true classes."""
    return float(np.exp(-log_loss(probabilities, labels)))


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
