"""A classifier class by class.

Notation: n examples, c classes; probabilities (n, c), labels (n,) positions of the true classes.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from qtt.statistics.metrics import class_recalls


def class_table(
    probabilities: NDArray[np.float32], labels: NDArray[np.int64], class_names: Sequence[str]
) -> pd.DataFrame:
    """One row per class with examples, the least recognised first.

    Columns: class, examples, recall (share that is recognised), precision (share of what was taken for it
    that is of it; NaN where nothing was), taken_for (the class that most of its mistakes were taken for,
    empty without mistakes).
    """
    classes = len(class_names)
    predicted = probabilities.argmax(1)
    recall, count = class_recalls(probabilities, labels)
    said = np.bincount(predicted, minlength=classes)
    with np.errstate(invalid="ignore"):
        precision = np.bincount(labels[predicted == labels], minlength=classes) / said
    wrong = np.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)
    np.fill_diagonal(wrong, 0)
    taken = [class_names[int(row.argmax())] if row.any() else "" for row in wrong]
    table = pd.DataFrame(
        {
            "class": list(class_names),
            "examples": count,
            "recall": recall,
            "precision": precision,
            "taken_for": taken,
        }
    )
    return table[count > 0].sort_values("recall", kind="stable", ignore_index=True)


def majority_note(labels: NDArray[np.int64], class_names: Sequence[str]) -> str:
    """The share of the most frequent class, in a sentence."""
    counts = np.bincount(labels, minlength=len(class_names))
    most = int(counts.argmax())
    return f"Majority rate: {counts[most] / len(labels):.4f} of them are of the class {class_names[most]}."
