"""What the budget was spent on."""

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtt.evaluation.timeline import Timeline
from qtt.reporting import words
from qtt.reporting.charts import BLUE, FAINT, INK, RED, WIDTH, Chart, chart, legend_below, time_axis
from qtt.reporting.run_view import RunView
from qtt.types import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_BARS = 14


@dataclass(frozen=True)
class Spent:
    """What one model, or one pipeline where there are no models, took.

    seconds: in finished epochs; wasted: in steps that failed or were cut off.
    """

    name: str
    seconds: float
    wasted: float
    epochs: int
    pipelines: int

    @property
    def total(self) -> float:
        """Seconds altogether."""
        return self.seconds + self.wasted


def spending(view: RunView) -> list[Spent]:
    """The budget by model, most first; the names of pipelines take the place of models that are not known."""
    results: dict[str, list[Result]] = defaultdict(list)
    for entry in view.record.entries:
        config_id = entry.result.config_id
        results[view.model(config_id) or f"#{config_id}"].append(entry.result)
    return sorted((_spent(name, told) for name, told in results.items()), key=lambda s: (-s.total, s.name))


def _spent(name: str, results: list[Result]) -> Spent:
    finished = [result for result in results if result.succeeded]
    wasted = sum(result.cost for result in results if not result.succeeded)
    pipelines = len({result.config_id for result in results})
    return Spent(name, sum(result.cost for result in finished), wasted, len(finished), pipelines)


def spending_chart(view: RunView) -> Chart:
    """Bars of seconds by model, and what was not training."""
    rows = spending(view)
    shown = rows if len(rows) <= MOST_BARS else [*rows[:MOST_BARS], _together(rows[MOST_BARS:])]
    total = sum(row.total for row in rows)
    workers = len(Timeline(view.record.entries).workers)
    available = max(total, workers * view.record.elapsed)
    beside = available - total

    def plot(figure: "Figure") -> None:
        axes = figure.add_subplot()
        unit = time_axis(axes, available, what="of all workers" if workers > 1 else "")
        _bars(axes, [(row, unit(row.seconds), unit(row.wasted)) for row in shown])
        names = [words.shortened(row.name) for row in shown]
        if beside:
            names.append("starting, deciding")
            axes.barh(len(shown), unit(beside), color=FAINT, hatch="\\\\\\\\", label="not training")
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.22)
        axes.set_xlim(left=0)
        legend_below(figure, axes)

    kind = "model" if view.models else "pipeline"
    share = rows[0].total / total
    note = f"{rows[0].name} took {share:.0%} of the training time. Beside each bar: epochs / pipelines."
    title, height = f"What the budget was spent on, by {kind}", max(1.9 + 0.28 * len(shown), 2.6)
    alt = f"Seconds by {kind}. {note}"
    return chart("budget", title, plot, alt=alt, note=note, inches=(WIDTH, height))


def _together(rows: list[Spent]) -> Spent:
    return Spent(
        f"{len(rows)} others",
        sum(row.seconds for row in rows),
        sum(row.wasted for row in rows),
        sum(row.epochs for row in rows),
        sum(row.pipelines for row in rows),
    )


def _bars(axes: "Axes", rows: list[tuple[Spent, float, float]]) -> None:
    """One bar for each (what it is about, length of its finished part, of its wasted part)."""
    places, finished, wasted = range(len(rows)), [row[1] for row in rows], [row[2] for row in rows]
    axes.barh(places, finished, color=BLUE, label="finished epochs")
    if any(wasted):
        axes.barh(places, wasted, left=finished, color=RED, hatch="///", label="failed or cut off")
    for place, (row, first, second) in enumerate(rows):
        text, at = f"{row.epochs} / {row.pipelines}", (first + second, place)
        axes.annotate(text, at, (4, 0), textcoords="offset points", va="center", fontsize=8.5, color=INK)
