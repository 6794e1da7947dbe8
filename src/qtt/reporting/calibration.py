"""Whether a network is as sure as it is right: reliability diagram and expected calibration error."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qtt.reporting.charts import BLUE, INK, MUTED, WIDTH, Chart, chart, legend_below
from qtt.reporting.validated import Validated
from qtt.statistics.metrics import BINS, reliability

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

Z = 1.96
"""Standard errors on either side of a 95 % interval."""


def wilson_interval(share: Array, count: Array) -> tuple[Array, Array]:
    """95 % interval of a share observed in `count` trials (Wilson 1927)."""
    centre = (share + Z**2 / (2 * count)) / (1 + Z**2 / count)
    half = Z / (1 + Z**2 / count) * np.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    return centre - half, centre + half


def calibration_chart(seen: Validated, examples: str = "examples") -> Chart:
    """Accuracy against confidence, above how many examples there are at each confidence."""
    found = reliability(seen.confidence, seen.predicted == seen.labels)
    used = found.count > 0
    x, y = found.confidence[used], found.accuracy[used]
    low, high = wilson_interval(y, found.count[used].astype(float))

    def plot(figure: "Figure") -> None:
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
        axes.plot([0, 1], [0, 1], "--", color=MUTED, lw=1.2, label="as sure as right")
        whiskers = [np.clip(y - low, 0, None), np.clip(high - y, 0, None)]
        axes.errorbar(
            x, y, yerr=whiskers, fmt="o", color=BLUE, ms=6, elinewidth=1, capsize=2.5, label="observed"
        )
        axes.set(ylabel="accuracy", ylim=(-0.03, 1.05), xlim=(0, 1.02))
        legend_below(figure, axes)
        edges = np.arange(BINS) / BINS
        below.bar(edges, found.count, width=1 / BINS, align="edge", color=BLUE, edgecolor="white", lw=0.8)
        below.set(xlabel="confidence: probability of the predicted class", ylabel=examples)
        below.spines["left"].set_color(INK)

    gap = float(seen.confidence.mean()) - seen.accuracy
    lean = "too sure of itself" if gap > 0 else "less sure than it could be"
    told = (
        f"Expected calibration error {found.error:.3f} with {BINS} bins over {len(seen.labels)} {examples}: "
        f"mean confidence {seen.confidence.mean():.3f}, accuracy {seen.accuracy:.3f}"
    )
    error = Z * np.sqrt(seen.accuracy * (1 - seen.accuracy) / len(seen.labels))
    told += f", so it is {lean}." if abs(gap) > error else ", which agree within their error."
    note = f"{told} Whiskers: 95 % Wilson intervals."
    return chart(
        "calibration",
        "Reliability diagram",
        plot,
        alt=f"Reliability diagram. {told}",
        note=note,
        inches=(WIDTH, 4.0),
    )
