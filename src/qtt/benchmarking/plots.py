"""Regret and rank over time as PNG: colours and line styles that colour-blind readers can tell apart."""

from pathlib import Path
from typing import TYPE_CHECKING

from qtt.benchmarking.regret import Average, grid, ranks, summary_times
from qtt.benchmarking.tables import Comparison
from qtt.benchmarking.wording import counted, duration
from qtt.data.library_caches import keep_library_caches

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, without its yellow, which is hard to see on white."""

STYLES = ("-", "--", "-.", ":")

BAND = 1.96
"""Standard errors on either side of the mean: 95 % of a normal distribution, as in the papers."""

INCHES, DOTS_PER_INCH = (8.0, 4.2), 150


def write_plots(comparison: Comparison, folder: Path) -> None:
    """Write `regret.png` and `ranks.png`: means, with bands of 1.96 standard errors over datasets.

    A single policy has no ranks to draw.
    """
    regret = comparison.regret(grid(comparison.limit))
    count = f"{counted(len(comparison.datasets), 'dataset')}, {counted(len(comparison.seeds), 'seed')}"
    _plot(comparison, Average.of(regret), "normalised regret", f"Regret, {count}", folder / "regret.png")
    (folder / "ranks.png").unlink(missing_ok=True)
    if len(comparison.policies) > 1:
        title = f"Rank among {len(comparison.policies)} policies (1 is best), {count}"
        _plot(comparison, Average.of(ranks(regret)), "mean rank", title, folder / "ranks.png")


def _plot(comparison: Comparison, average: Average, label: str, title: str, path: Path) -> None:
    keep_library_caches()
    from matplotlib.figure import Figure

    figure = Figure(figsize=INCHES, dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    times = grid(comparison.limit)
    for i, policy in enumerate(comparison.policies):
        colour, style = COLOURS[i % len(COLOURS)], STYLES[i % len(STYLES)]
        mean, error = average.mean[i], BAND * average.stderr[i]
        axes.plot(times, mean, color=colour, linestyle=style, linewidth=2.0, label=policy)
        axes.fill_between(times, mean - error, mean + error, color=colour, alpha=0.15, linewidth=0)
    _time_axis(axes, comparison.limit)
    axes.set(ylabel=label, title=title)
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    title = f"mean ± {BAND}\nstandard errors"
    figure.legend(loc="outside right upper", title=title, frameon=False, alignment="left")
    figure.savefig(path)


def _time_axis(axes: "Axes", limit: float) -> None:
    """Logarithmic, with ticks in words people use."""
    axes.set_xscale("log")
    times = [limit / 960.0, *summary_times(limit).tolist()]
    axes.set_xticks(times, [duration(time) for time in times])
    axes.set_xticks([], minor=True)
    axes.set_xlim(times[0], times[-1])
    axes.set_xlabel("simulated time of training and evaluation")
