"""From a network's outputs for the validation images to a score, and what is known of that score.

Notation: n validation images, c classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qtt.finetune.cv.classification.forward import TrainingDiverged
from qtt.statistics.scores import Metric, find_metric
from qtt.statistics.standard_errors import binomial_error
from qtt.types import ACCURACY


@dataclass(frozen=True)
class Scorer:
    """Scores epochs of one pipeline.

    baseline: what the majority class alone would score; see `Metric.baseline`.
    """

    metric: Metric
    baseline: float

    @classmethod
    def of(cls, metric: str, train: Tensor, val: Tensor, num_classes: int) -> Self:
        """The scorer of a dataset with training labels (m,) and validation labels (n,).

        Raises:
            ConfigError: no such metric, or not for these labels.
        """
        found = find_metric(metric, num_classes)
        counts = np.bincount(train.numpy(), minlength=num_classes)
        return cls(found, found.baseline(counts, val.numpy()))

    @property
    def counts_alone(self) -> bool:
        """Whether hits and their number are enough."""
        return self.metric.name == ACCURACY

    def score(
        self, hits: float, images: float, told: Sequence[tuple[Tensor, Tensor]]
    ) -> tuple[float, dict[str, Any]]:
        """The score, and with it what `Result.info` reports of it: stderr, examples, baseline, accuracy.

        Args:
            hits: images whose class is the most probable one.
            images: n.
            told: logits (b, c) and labels (b,) of all batches; not looked at where counts are enough.

        Raises:
            TrainingDiverged: an output is not finite.
        """
        accuracy = hits / images
        known: dict[str, Any] = {"examples": int(images), "baseline": self.baseline}
        if self.counts_alone:
            return accuracy, {"stderr": binomial_error(accuracy, int(images)), **known}
        probabilities, labels = joined(told)
        if not np.isfinite(probabilities).all():
            raise TrainingDiverged("The network's outputs for validation images are not finite.")
        error = self.metric.error(probabilities, labels)
        return self.metric.score(probabilities, labels), {"stderr": error, **known, "accuracy": accuracy}


def joined(told: Sequence[tuple[Tensor, Tensor]]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Probabilities (n, c) and labels (n,) of batches of logits and labels."""
    logits, labels = (torch.cat(parts) for parts in zip(*told, strict=True))
    return np.asarray(logits.softmax(1).numpy(), dtype=np.float32), np.asarray(labels.numpy(), dtype=np.int64)


def balanced_weights(labels: Tensor, num_classes: int) -> Tensor:
    """N / (c · n_k) of each class k (c,); their mean over the n images is 1."""
    counts = torch.bincount(labels, minlength=num_classes).clamp(min=1)
    return len(labels) / (num_classes * counts.float())
