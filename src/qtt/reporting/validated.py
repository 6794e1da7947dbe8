"""What a classifier says of the validation examples, and its mistakes.

Notation: n examples, c classes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Validated:
    """probabilities: (n, c) of the classes. labels: (n,) positions in class_names. names: (n,)."""

    probabilities: NDArray[np.float32]
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    class_names: tuple[str, ...]

    @property
    def samples(self) -> list[tuple[str, int]]:
        """Names with labels."""
        return list(zip(self.names, self.labels.tolist(), strict=True))

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(n,) the most probable classes."""
        return np.asarray(self.probabilities.argmax(1), dtype=np.int64)

    @property
    def confidence(self) -> Array:
        """(n,) probabilities of the predicted classes."""
        return np.asarray(self.probabilities.max(1), dtype=np.float64)

    @property
    def accuracy(self) -> float:
        """Share of examples whose class is the predicted one."""
        return float((self.predicted == self.labels).mean())


@dataclass(frozen=True)
class Mistake:
    """Examples of class `true` taken for `predicted`, most confident first; of: how many are of `true`."""

    true: int
    predicted: int
    examples: tuple[int, ...]
    of: int


def confusion_matrix(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Counts (c, c): row i, column j: examples of class i that were taken for class j."""
    counts = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return np.asarray(counts.reshape(classes, classes), dtype=np.int64)


def worst_mistakes(seen: Validated, most: int) -> list[Mistake]:
    """The most frequent confusions, of equally frequent ones the first by class."""
    classes = len(seen.class_names)
    counts = confusion_matrix(seen.labels, seen.predicted, classes)
    pairs = [(i, j) for i, j in zip(*np.nonzero(counts), strict=True) if i != j]
    pairs.sort(key=lambda pair: (-counts[pair], pair))
    mistakes = []
    for i, j in pairs[:most]:
        mine = np.flatnonzero((seen.labels == i) & (seen.predicted == j))
        order = mine[np.argsort(-seen.confidence[mine], kind="stable")]
        mistakes.append(Mistake(int(i), int(j), tuple(order.tolist()), int(counts[i].sum())))
    return mistakes
