"""Who trained what when, where several workers trained at once, and what became of the rest of their time."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from qtt.evaluation.timeline import Span, Timeline, WorkerTime
from qtt.reporting import page, words
from qtt.reporting.charts import BLUE, GREEN, INK, RED, WIDTH, Chart, chart, legend_below, time_axis
from qtt.reporting.page import Cell
from qtt.reporting.progress import MOST_VECTORS, incumbent_steps
from qtt.reporting.run_view import RunView

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRACK = "#e4e4e4"
"""Colour of a worker's whole time, which shows where nothing covers it."""

BAR, ROW = 0.66, 0.36
"""Height of a bar in rows, and of a row in inches."""

JOINED = 0.002
"""Share of the axis below which the gap between two epochs of a pipeline is not to be seen."""

NAMED = 0.075
"""Share of the axis from which on a bar has room for its pipeline's number."""


@dataclass(frozen=True)
class Bar:
    """Epochs of one pipeline that a worker trained in a row, or a step that brought none."""

    worker: int
    config_id: int
    begin: float
    end: float
    finished: bool


def bars(timeline: Timeline, elapsed: float) -> list[Bar]:
    """What is drawn of a search that took `elapsed` seconds; epochs that follow each other are one bar."""
    found: list[Bar] = []
    for worker in timeline.workers:
        found += _joined([span for span in timeline.spans if span.worker == worker], JOINED * elapsed)
    return found


def _joined(spans: list[Span], gap: float) -> Iterator[Bar]:
    """Bars of one worker's spans; those of a pipeline that are at most `gap` seconds apart are joined."""
    last: Bar | None = None
    for span in spans:
        bar = Bar(span.worker, span.result.config_id, span.begin, span.end, span.result.succeeded)
        if last is not None:
            same = replace(bar, begin=last.begin, end=last.end) == last
            if same and bar.begin - last.end <= gap:
                bar = replace(bar, begin=last.begin)
            else:
                yield last
        last = bar
    if last is not None:
        yield last


def workers_chart(view: RunView, timeline: Timeline) -> Chart:
    """A row for each worker over the time of the search: what it trained, and where it trained nothing."""
    elapsed = view.record.elapsed
    times, drawn = timeline.times(elapsed), bars(timeline, elapsed)
    rows = {time.worker: row for row, time in enumerate(times)}
    named = [bar for bar in drawn if bar.end - bar.begin >= NAMED * elapsed]

    def plot(figure: "Figure") -> None:
        axes = figure.add_subplot()
        unit = time_axis(axes, elapsed)
        axes.barh(range(len(times)), unit(elapsed), height=BAR, color=TRACK, label="not training")
        _draw(axes, [bar for bar in drawn if bar.finished], rows, unit(1.0), BLUE, "finished epochs")
        cut = [bar for bar in drawn if not bar.finished]
        _draw(axes, cut, rows, unit(1.0), RED, "failed or cut off", hatch="///")
        _name(axes, named, rows, unit(1.0))
        _improvements(axes, view, timeline, rows, unit(1.0))
        for row, time in enumerate(times):
            at = (unit(elapsed), row)
            share = f"{time.busy / time.available:.0%}"
            axes.annotate(share, at, (4, 0), textcoords="offset points", va="center", fontsize=8.5, color=INK)
        axes.set_yticks(range(len(times)), [_label(time) for time in times])
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlim(0, 1.1 * unit(elapsed))
        legend_below(figure, axes, columns=2)

    note = f"{summary(times)} Beside each row: how busy the worker was."
    note += " On bars with room for it: the pipeline." if named else ""
    height = max(1.5 + ROW * len(times), 2.4)
    alt = f"What each worker trained over time. {summary(times)}"
    return chart("workers", "Workers over time", plot, alt=alt, note=note, inches=(WIDTH, height))


def summary(times: list[WorkerTime]) -> str:
    """How busy the workers were, and what became of the rest of their time, in words."""
    available, busy = sum(time.available for time in times), sum(time.busy for time in times)
    rest = {
        "before the first epoch (start)": sum(time.start for time in times),
        "between epochs (deciding, handing over)": sum(time.between for time in times),
        "after the last one (nothing left that fits, or nothing finished)": sum(time.end for time in times),
    }
    parts = [f"{words.duration(seconds)} {what}" for what, seconds in rest.items() if seconds >= 0.05]
    told = f"{words.counted(len(times), 'worker')} were busy for {words.duration(busy)} of their "
    told += f"{words.duration(available)} together, {busy / available:.0%}"
    return f"{told}; the rest: {words.listed(parts)}." if parts else f"{told}."


def workers_table(times: list[WorkerTime]) -> str:
    """What became of each worker's time, in seconds."""
    gpus = any(time.gpu is not None for time in times)
    heads = ["worker", *(["GPU"] if gpus else []), "busy", "seconds", "before", "between", "after"]
    rows = [_row(time, gpus) for time in times]
    caption = "Seconds of each worker: busy, and before, between and after"
    return page.table(caption, [*heads, "epochs", "pipelines"], rows)


def _row(time: WorkerTime, gpus: bool) -> list[Cell]:
    share = time.busy / time.available
    seconds = (time.busy, time.start, time.between, time.end)
    return [
        Cell(str(time.worker), time.worker),
        *([Cell(words.shortened(time.gpu or words.INACTIVE))] if gpus else []),
        Cell(f"{share:.0%}", share),
        *(Cell(f"{value:.1f}", value) for value in seconds),
        Cell(str(time.epochs), time.epochs),
        Cell(str(time.pipelines), time.pipelines),
    ]


def _draw(
    axes: "Axes",
    drawn: list[Bar],
    rows: dict[int, int],
    scale: float,
    colour: str,
    label: str,
    hatch: str | None = None,
) -> None:
    """Bars of one kind; scale: a second in units of the axis."""
    if drawn:
        axes.barh(
            [rows[bar.worker] for bar in drawn],
            [scale * (bar.end - bar.begin) for bar in drawn],
            left=[scale * bar.begin for bar in drawn],
            height=BAR,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            linewidth=0.4,
            label=label,
            rasterized=len(drawn) > MOST_VECTORS,
        )


def _name(axes: "Axes", drawn: list[Bar], rows: dict[int, int], scale: float) -> None:
    """The pipeline's number on bars that have room for it."""
    for bar in drawn:
        at = scale * (bar.begin + bar.end) / 2
        box = {"boxstyle": "round,pad=0.15", "color": BLUE if bar.finished else RED}
        axes.text(
            at,
            rows[bar.worker],
            f"#{bar.config_id}",
            ha="center",
            va="center",
            color="white",
            fontsize=8,
            bbox=box,
        )


def _improvements(
    axes: "Axes", view: RunView, timeline: Timeline, rows: dict[int, int], scale: float
) -> None:
    """A mark above the bar of each result that was the best until then."""
    best = set(incumbent_steps(view))
    found = [span for span in timeline.spans if (span.end, span.result.score) in best]
    if found:
        axes.plot(
            [scale * span.end for span in found],
            [rows[span.worker] - BAR / 2 for span in found],
            "v",
            color=GREEN,
            mec="white",
            ms=7,
            label="a new best",
        )


def _label(time: WorkerTime) -> str:
    if time.gpu is None:
        return f"worker {time.worker}"
    gpu = f"GPU {time.gpu}" if time.gpu.isdigit() else words.shortened(time.gpu, 14)
    return f"{time.worker}, {gpu}"
