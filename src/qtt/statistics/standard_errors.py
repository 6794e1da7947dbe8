"""How far a figure on n examples may lie from that on all examples of its kind: standard errors.

Notation: n examples, c classes; probabilities (n, c), labels (n,) positions of the true classes. Formulas in
place of a bootstrap, for they cost nothing in an epoch; where a figure is a smooth function of means over
examples, the error is that of its influence function (the delta method).
"""

import numpy as np
from numpy.typing import NDArray

from qtt.statistics.metrics import class_recalls, placements

Array = NDArray[np.float64]
Probabilities = NDArray[np.float32]
Labels = NDArray[np.int64]


def binomial_error(share: float, count: int) -> float:
    """Of a share of `count` examples, √(p(1 − p)/ñ) with half a success and half a failure added.

    Without these (Agresti and Coull 1998, for z = 1), ten right of ten would be a certainty.
    """
    total = count + 1
    adjusted = (share * count + 0.5) / total
    return float(np.sqrt(adjusted * (1 - adjusted) / total))


def accuracy_error(probabilities: Probabilities, labels: Labels) -> float:
    """Binomial; see `binomial_error`."""
    return binomial_error(float((probabilities.argmax(1) == labels).mean()), len(labels))


def balanced_accuracy_error(probabilities: Probabilities, labels: Labels) -> float:
    """√Σ s_k² / c, where s_k is the binomial error of the recall of class k, of c classes with examples."""
    recalls, counts = class_recalls(probabilities, labels)
    seen = counts > 0
    errors = [
        binomial_error(r, n) for r, n in zip(recalls[seen].tolist(), counts[seen].tolist(), strict=True)
    ]
    return float(np.linalg.norm(errors) / len(errors))


def macro_f1_error(probabilities: Probabilities, labels: Labels) -> float:
    """Delta method, for the mean of F_k over classes.

    An example of class k that is taken for l moves ΣF by 2·[k = l]/t_k − F_k/t_k − F_l/t_l, where t_k is the
    share of examples plus that of predictions of class k, and F_k its F1.
    """
    n, classes = probabilities.shape
    predicted = probabilities.argmax(1)
    hit = predicted == labels
    total = (np.bincount(labels, minlength=classes) + np.bincount(predicted, minlength=classes)) / n
    share = np.where(total > 0, total, np.nan)
    f1 = 2 * np.bincount(labels[hit], minlength=classes) / n / share
    moves = 2 * hit / share[labels] - (f1 / share)[labels] - (f1 / share)[predicted]
    return float(moves.std() / np.count_nonzero(total) / np.sqrt(n))


def likelihood_error(probabilities: Probabilities, labels: Labels) -> float:
    """Delta method: e^−L · s/√n for the mean L and the standard deviation s of −log p of the true class."""
    true = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    losses = -np.log(np.maximum(true, np.finfo(np.float32).tiny))
    return float(np.exp(-losses.mean()) * losses.std() / np.sqrt(len(losses)))


def auroc_error(probabilities: Probabilities, labels: Labels) -> float:
    """DeLong et al. (1988): √(var(V₁)/m₁ + var(V₀)/m₀) of the placements of both classes' examples."""
    parts = placements(probabilities[:, 1].astype(np.float64), labels == 1)
    return float(np.sqrt(sum(part.var(ddof=1) / len(part) for part in parts if len(part) > 1)))
