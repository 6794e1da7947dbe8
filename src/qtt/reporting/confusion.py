"""The confusion matrix of the validation images, and the images of its worst entries."""

import io
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from qtt.errors import DatasetError
from qtt.reporting import page, words
from qtt.reporting.charts import INK, WIDTH, Chart, chart
from qtt.reporting.validation import Mistake, Validated, confusion_matrix, worst_mistakes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_CLASSES = 24
"""Classes that a matrix on a page can name."""

COUNTED = 20
"""Classes up to which the counts are written into the matrix."""

MISTAKES, IMAGES, SIDE = 6, 6, 72


def confusion_chart(seen: Validated) -> Chart:
    """Rows: true classes; columns: predicted ones; colour: share of the row."""
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
        f"{words.counted(len(seen.labels), 'validation image')}: {len(seen.labels) - wrong} right, "
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


def mistakes_html(seen: Validated) -> str:
    """The worst confusions with example images."""
    mistakes = worst_mistakes(seen, MISTAKES)
    if not mistakes:
        return page.paragraph("No validation image is misclassified.")
    total = int((seen.predicted != seen.labels).sum())
    shown = sum(len(m.images) for m in mistakes)
    cards = "".join(_card(seen, mistake) for mistake in mistakes)
    head = "The most frequent confusions, the network's most confident mistakes first"
    told = page.paragraph(f"{head}: {shown} of {total} mistakes.", "note")
    return f'<h3 class="apart">Worst confusions</h3>{told}<div class="mistakes">{cards}</div>'


def _card(seen: Validated, mistake: Mistake) -> str:
    true, predicted = seen.class_names[mistake.true], seen.class_names[mistake.predicted]
    pictures = [_picture(seen, position, true, predicted) for position in mistake.images[:IMAGES]]
    gone = page.paragraph("Images that are gone cannot be shown.", "note") if "" in pictures else ""
    count = f"<small>{len(mistake.images)} of {mistake.of}</small>"
    head = f"<h4>{escape(true)} → {escape(predicted)} {count}</h4>"
    return f"<article>{head}<div>{''.join(pictures)}</div>{gone}</article>"


def _picture(seen: Validated, position: int, true: str, predicted: str) -> str:
    path, sure = seen.paths[position], seen.confidence[position]
    alt = f"{path.name}: labelled {true}, taken for {predicted} with probability {sure:.2f}"
    data = _thumbnail(position, seen)
    return "" if data is None else page.image(data, alt, SIDE)


def _thumbnail(position: int, seen: Validated) -> bytes | None:
    """The middle of an image as JPEG; None where the image is gone or damaged."""
    from qtt.finetune.cv.classification.decoding import decode

    try:
        pixels = decode(seen.paths[position], SIDE, "bicubic")
    except DatasetError:
        return None
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=82)
    return stream.getvalue()
