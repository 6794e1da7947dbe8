"""What a search of classes can maximise, by name: `METRICS`.

Every score lies between 0 and 1, and higher is better. Notation: n examples, c classes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qtt.errors import ConfigError, unknown
from qtt.statistics import metrics, standard_errors
from qtt.tasks.contract import BASELINE, STDERR

Probabilities = NDArray[np.float32]
Labels = NDArray[np.int64]
Figure = Callable[[Probabilities, Labels], float]


@dataclass(frozen=True)
class Metric:
    """A score of probabilities (n, c) on examples with labels (n,).

    title: what people call it. score: the figure. formula: of its standard error.
    two_classes: it exists for c = 2 alone.
    """

    name: str
    title: str
    score: Figure
    formula: Figure
    two_classes: bool = False

    def error(self, probabilities: Probabilities, labels: Labels) -> float:
        """Standard error of the score, at least that of n right answers of n: perfect is not certain."""
        least = standard_errors.binomial_error(1.0, len(labels))
        return max(self.formula(probabilities, labels), least)

    def baseline(self, class_counts: NDArray[np.int64], labels: Labels) -> float:
        """Majority baseline: the score of one answer for all examples, the shares of the classes in training.

        For accuracy that is the majority rate, the share of the class that is most frequent in training.
        class_counts: (c,) examples to train with.
        """
        shares = (class_counts / class_counts.sum()).astype(np.float32)
        return self.score(np.broadcast_to(shares, (len(labels), len(shares))), labels)


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "accuracy", metrics.top_accuracy, standard_errors.accuracy_error),
        Metric(
            "balanced_accuracy",
            "balanced accuracy",
            metrics.balanced_accuracy,
            standard_errors.balanced_accuracy_error,
        ),
        Metric("macro_f1", "macro F1", metrics.macro_f1, standard_errors.macro_f1_error),
        Metric("log_loss", "e^−log loss", metrics.likelihood, standard_errors.likelihood_error),
        Metric("auroc", "AUROC", metrics.auroc, standard_errors.auroc_error, two_classes=True),
    )
}
"""By the name that `metric=` takes; the formulas are those of `metrics` and `standard_errors`."""

TITLES: Mapping[str, str] = {name: metric.title for name, metric in METRICS.items()}


def find_metric(name: str, num_classes: int | None = None) -> Metric:
    """The metric of a name.

    Raises:
        ConfigError: there is none (close matches are named), or it does not exist for so many classes.
    """
    if name not in METRICS:
        raise ConfigError(unknown("metric", name, METRICS))
    found = METRICS[name]
    if found.two_classes and num_classes not in (None, 2):
        raise ConfigError(
            f"metric={name} compares two classes, but there are {num_classes}. Choose another, for instance "
            "metric=balanced_accuracy."
        )
    return found


def test_figures(
    name: str, probabilities: Probabilities, labels: Labels, class_counts: NDArray[np.int64]
) -> dict[str, float]:
    """Figures of a network on test examples, by the names of `Task.evaluate`; that of the metric comes first.

    class_counts: (c,) examples that were there to train with.
    """
    metric = METRICS[name]
    return {
        f"test {metric.title}": metric.score(probabilities, labels),
        STDERR: metric.error(probabilities, labels),
        BASELINE: metric.baseline(class_counts, labels),
        "test accuracy": metrics.top_accuracy(probabilities, labels),
    }
