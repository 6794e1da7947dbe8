"""The confusion matrix of the validation examples."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qtt.reporting import words
from qtt.reporting.charts import INK, WIDTH, Chart, chart
from qtt.reporting.validated import Validated, confusion_matrix

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_CLASSES = 24
"""Classes that a matrix on a page can name."""

COUNTED = 20
"""Classes up to which the counts are written into the matrix."""


def confusion_chart(seen: Validated, examples: str = "examples") -> Chart:
    """Rows: true classes; columns: predicted ones; colour: share of the row.

    examples: what they are called.
    """
    counts = confusion_matrix(seen.labels, seen.predicted, len(seen.class_names))
    shown = _most_confused(counts)
    names = [words.shortened(seen.class_names[i], 18) for i in shown]
    wrong = int(counts.sum() - np.trace(counts))
    part = counts[np.ix_(shown, shown)]
    share = part / np.maximum(counts.sum(1)[shown], 1)[:, None]

    def plot(figure: "Figure") -> None:
        axes = figure.add_subplot()
        mesh = axes.pcolormesh(share, cmap="Blues", vmin=0, vmax=1, edgecolors="#e4e8ec", lw=0.5)
        if len(shown) <= COUNTED:
            _write_counts(axes, part, share)
        ticks = np.arange(len(shown)) + 0.5
        upright = max(len(name) for name in names) > 3
        axes.set_xticks(ticks, names, rotation=90 if upright else 0)
        axes.set_yticks(ticks, names)
        axes.tick_params(length=0, labelsize=10 if len(shown) <= 12 else 8)
        axes.set(xlabel="predicted", ylabel="true", aspect="equal")
        axes.invert_yaxis()
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        bar = figure.colorbar(mesh, ax=axes, shrink=0.6, format=lambda x, _: f"{x:.0%}")
        bar.set_label("of the true class")
        bar.outline.set_visible(False)

    note = (
        f"{len(seen.labels)} validation {examples}: {len(seen.labels) - wrong} right, "
        f"{wrong} wrong (accuracy {words.score(seen.accuracy)})."
    )
    if len(shown) < len(counts):
        note += f" Shown are the {len(shown)} classes with most mistakes of {len(counts)}."
    title = "Confusion matrix"
    return chart("confusion", title, plot, alt=f"{title}. {note}", note=note, inches=(WIDTH, 4.3))


def _most_confused(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions of the classes to show, in their own order."""
    mistakes = counts.sum(0) + counts.sum(1) - 2 * np.diag(counts)
    return np.sort(np.argsort(-mistakes, kind="stable")[:MOST_CLASSES])


def _write_counts(axes: "Axes", counts: NDArray[np.int64], share: NDArray[np.float64]) -> None:
    size = 9 if len(counts) <= 12 else 6.5
    for (i, j), number in np.ndenumerate(counts):
        if number:
            colour = "white" if share[i, j] > 0.55 else INK
            axes.text(j + 0.5, i + 0.5, str(number), ha="center", va="center", color=colour, fontsize=size)
