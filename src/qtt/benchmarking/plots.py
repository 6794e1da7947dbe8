"""Figures of comparisons, in one style: colours and line styles that colour-blind readers can tell apart.

Whole figures are drawn by `draw_regret`, `draw_mean_ranks` and `draw_critical_difference`. Others of the same
style begin with `new_figure`, take their colours from `look`, and end with `tidy` and `time_axis`.
"""

import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qtt.benchmarking.regret import Average, grid, ranks, summary_times
from qtt.benchmarking.searches import Searches
from qtt.benchmarking.significance import cliques, critical_difference
from qtt.benchmarking.tables import Comparison
from qtt.benchmarking.wording import counted, duration
from qtt.data.library_caches import keep_library_caches
from qtt.reporting.charts import COLOURS, HEIGHT, WIDTH
from qtt.reporting.words import SPACE, shortened
from qtt.support.plain_text import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLES = ("-", "--", "-.", ":")

BAND = 1.96
"""Standard errors on either side of the mean: 95 % of a normal distribution, as in the papers."""

INCHES, DOTS_PER_INCH = (8.0, 4.2), 150

TIME = "simulated time of training and evaluation"


def new_figure(width: float = INCHES[0], height: float = INCHES[1]) -> "tuple[Figure, Axes]":
    """A figure of so many inches with one pair of axes; nothing has to be closed."""
    keep_library_caches()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")
    return figure, figure.add_subplot()


def tidy(axes: "Axes") -> None:
    """A pale grid behind what is drawn, and no frame at the top and at the right."""
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def time_axis(axes: "Axes", limit: float, label: str = TIME) -> None:
    """Logarithmic simulated seconds from limit/960 to limit, with ticks in words people use."""
    axes.set_xscale("log")
    times = [limit / 960.0, *summary_times(limit).tolist()]
    axes.set_xticks(times, [duration(time) for time in times])
    axes.set_xticks([], minor=True)
    axes.set_xlim(times[0], times[-1])
    axes.set_xlabel(label)


def look(position: int, count: int) -> dict[str, Any]:
    """How `axes.plot` draws the line at a position of so many.

    Few lines differ in colour and style; of more than there are colours, lines of one colour differ in style.
    """
    few = count <= len(COLOURS)
    style = position if few else position // len(COLOURS)
    return {
        "color": COLOURS[position % len(COLOURS)],
        "linestyle": STYLES[style % len(STYLES)],
        "linewidth": 2.0 if few else 1.5,
    }


def write_plots(comparison: Comparison, folder: Path) -> None:
    """Write `regret.png` and `ranks.png`: means, with bands of 1.96 standard errors over datasets.

    A single policy has no ranks to draw.
    """
    searches = comparison.searches
    drawn = {"regret.png": draw_regret(searches)}
    (folder / "ranks.png").unlink(missing_ok=True)
    if len(searches.policies) > 1:
        drawn["ranks.png"] = draw_mean_ranks(searches)
    for name, figure in drawn.items():
        with names_as_they_are():
            figure.savefig(folder / name)


def draw_regret(
    searches: Searches,
    *,
    order: Sequence[str] = (),
    banded: Collection[str] | None = None,
    inches: tuple[float, float] = INCHES,
    on_page: bool = False,
) -> "Figure":
    """Mean regret over time.

    Args:
        searches: the policies.
        order: of the policies in the legend; their own where it is empty.
        banded: policies with a band of 1.96 standard errors over datasets; None: all of them.
        inches: width and height; a figure of a page has its own.
        on_page: small and without a title, for the page has one; the legend is below.
    """
    title = f"Regret, {_sample(searches)}"
    average = Average.of(searches.over_time)
    return _over_time(searches, average, "normalised regret", title, order, banded, inches, on_page)


def draw_mean_ranks(
    searches: Searches, *, inches: tuple[float, float] = INCHES, on_page: bool = False
) -> "Figure":
    """Mean rank over time of several policies, with bands; arguments as of `draw_regret`."""
    title = f"Rank among {len(searches.policies)} policies (1 is best), {_sample(searches)}"
    average = Average.of(ranks(searches.over_time))
    return _over_time(searches, average, "mean rank", title, (), None, inches, on_page)


def _over_time(
    searches: Searches,
    average: Average,
    label: str,
    title: str,
    order: Sequence[str],
    banded: Collection[str] | None,
    inches: tuple[float, float],
    on_page: bool,
) -> "Figure":
    policies, times = order or searches.policies, grid(searches.limit)
    columns = 2 if max(map(len, policies)) > 12 else 3
    rows = -(-len(policies) // columns)
    figure, axes = new_figure(*((WIDTH, HEIGHT + 0.2 * rows) if on_page else inches))
    with names_as_they_are():
        lines = []
        for place, policy in enumerate(policies):
            i, how = searches.policies.index(policy), look(place, len(policies))
            mean, error = average.mean[i], BAND * average.stderr[i]
            lines += axes.plot(times, mean, **how)
            if banded is None or policy in banded:
                axes.fill_between(
                    times, mean - error, mean + error, color=how["color"], alpha=0.15, linewidth=0
                )
        time_axis(axes, searches.limit)
        tidy(axes)
        axes.set_ylabel(label)
        names = [_label(policy) for policy in policies]
        if on_page:
            figure.legend(lines, names, loc="outside lower center", ncols=columns, frameon=False)
        else:
            axes.set_title(title)
            of = "" if banded is None else f"band of {', '.join(map(_label, banded))}:\n"
            legend = figure.legend(lines, names, loc="outside right upper", frameon=False, alignment="left")
            legend.set_title(f"{of}mean ± {BAND}\nstandard errors")
    return figure


def draw_critical_difference(
    searches: Searches, *, bold: Collection[str] = (), on_page: bool = False
) -> "Figure":
    """Mean ranks of auc of several policies on several datasets; bars join those that do not differ.

    The critical-difference diagram of Demšar (2006, 3.2.4). bold: names to stand out.
    """
    means = searches.rank.mean(axis=1)
    order = np.argsort(means, kind="stable")
    names, places = [searches.policies[i] for i in order], means[order]
    apart = critical_difference(len(names), len(searches.datasets))
    bars = cliques(places, apart)
    left = len(names) - len(names) // 2
    depth = 0.35 * len(bars) + 0.6
    width = WIDTH + 0.25 * len(names) if on_page else INCHES[0]
    figure, axes = new_figure(width, 1.3 + 0.24 * left)
    with names_as_they_are():
        _rank_axis(axes, len(names), apart)
        _rank_bars(axes, places, bars)
        _rank_names(axes, names, places, depth, bold)
        axes.set_ylim(-depth - 0.6 * left, 1.6)
        if not on_page:
            axes.set_title(f"Mean rank of auc on {counted(len(searches.datasets), 'dataset')}, 1 is best")
    return figure


def _unit(policies: int) -> float:
    """Length on the axis of ranks that looks the same whatever their number; 1 for a dozen."""
    return (policies - 1) / 11.0


def _rank_axis(axes: "Axes", policies: int, apart: float) -> None:
    unit = _unit(policies)
    axes.plot([1, policies], [0, 0], color="black", linewidth=1.2)
    for tick in range(1, policies + 1):
        axes.plot([tick, tick], [0, 0.15], color="black", linewidth=1.0)
        axes.text(tick, 0.25, str(tick), ha="center", va="bottom")
    text, beside = f"critical difference {apart:.1f}", 1.0
    if apart <= policies - 1:
        axes.plot([1, 1 + apart], [1.1, 1.1], color=COLOURS[1], linewidth=3)
        beside += apart + 0.1 * unit
    else:
        text += ": more than all ranks are apart"
    axes.text(beside, 1.1, text, va="center")
    axes.set_xlim(1 - 3.2 * unit, policies + 3.2 * unit)
    axes.set_axis_off()


def _rank_bars(axes: "Axes", places: NDArray[np.float64], bars: Sequence[tuple[int, int]]) -> None:
    over = 0.05 * _unit(len(places))
    for level, (first, last) in enumerate(bars):
        height = -0.35 * (level + 1)
        axes.plot([places[first] - over, places[last] + over], [height] * 2, color=COLOURS[0], linewidth=4)


def _rank_names(
    axes: "Axes", names: Sequence[str], places: NDArray[np.float64], depth: float, bold: Collection[str]
) -> None:
    """The better half at the left, the others at the right, each by a line to its mean rank."""
    left, beside = len(names) - len(names) // 2, 0.4 * _unit(len(names))
    for row, (name, place) in enumerate(zip(names, places, strict=True)):
        on_left = row < left
        height = -depth - 0.6 * (row if on_left else len(names) - 1 - row)
        side = 1 - beside if on_left else len(names) + beside
        axes.plot([place, place, side], [0.0, height, height], color="0.3", linewidth=0.9)
        parts = [_label(name), f"{place:.1f}"]
        text = (2 * SPACE).join(parts if on_left else reversed(parts))
        weight = "bold" if name in bold else "normal"
        axes.text(
            side,
            height,
            f"{SPACE}{text}{SPACE}",
            ha="right" if on_left else "left",
            va="center",
            weight=weight,
        )


@contextmanager
def names_as_they_are() -> Iterator[None]:
    """Draw or save texts from outside: `$` begins no formula, and a letter without a glyph is no warning."""
    keep_library_caches()
    import matplotlib

    with matplotlib.rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def _label(policy: str) -> str:
    """A name that fits; one that begins with an underscore would be left out of a legend."""
    text = shortened(plain(policy))
    return f"\u200b{text}" if text.startswith("_") else text


def _sample(searches: Searches) -> str:
    return f"{counted(len(searches.datasets), 'dataset')}, {counted(len(searches.seeds), 'seed')}"
