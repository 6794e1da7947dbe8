"""The report of several searches."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qtt.reporting import page, words
from qtt.reporting.charts import (
    COLOURS,
    INK,
    MARKERS,
    STYLES,
    WIDTH,
    Chart,
    chart,
    legend_below,
    time_axis,
    wrapped,
)
from qtt.reporting.comparison import Band, Group, band, grouped
from qtt.reporting.output import Report
from qtt.reporting.page import Cell, Section
from qtt.reporting.progress import incumbent_steps
from qtt.reporting.run_view import RunView
from qtt.reporting.tables import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEGEND, BESIDE = 52, 24
"""Letters of a line under a chart, and beside its axis."""

MOST_GROUPS = 12
"""Groups that one chart can tell apart."""


def comparison_report(views: Sequence[RunView]) -> Report:
    """Groups of runs, their incumbents over time and their final scores."""
    groups = sorted(grouped(views), key=_order)
    drawn = [g for g in groups if g.with_results][:MOST_GROUPS]
    charts = [_over_time(drawn), _final(drawn)] if drawn else []
    return Report(
        page.page(_title(views), "qtt comparison", _lead(views, groups), _sections(groups, charts)),
        tuple(charts),
    )


def _order(group: Group) -> tuple[float, str]:
    """The best mean first; groups without results last."""
    scores = [run.best.score for run in group.with_results if run.best is not None]
    return (-float(np.mean(scores)) if scores else float("inf"), group.label)


def _title(views: Sequence[RunView]) -> str:
    datasets = list(dict.fromkeys(view.dataset for view in views))
    return f"{words.listed(datasets, most=3)}: {words.counted(len(views), 'search')} compared"


def _lead(views: Sequence[RunView], groups: Sequence[Group]) -> str:
    empty = [view.name for view in views if view.best is None]
    unspent = [view.name for view in views if view.finished is False]
    warnings = []
    if empty:
        warnings.append(f"Without a finished epoch, and left out of all means: {words.listed(empty)}.")
    if unspent:
        warnings.append(
            f"Interrupted or still running, for the budget is not spent: {words.listed(unspent)}. Their last "
            "incumbents are carried on to the end."
        )
    drawable = sum(bool(group.with_results) for group in groups)
    if drawable > MOST_GROUPS:
        warnings.append(f"The figures show the best {MOST_GROUPS} of {drawable} groups.")
    if len({view.record.task.metric for view in views}) > 1:
        metrics = words.listed(dict.fromkeys(view.record.task.metric for view in views))
        warnings.append(
            f"The searches maximise different metrics, {metrics}, so their scores do not compare."
        )
    if len({view.record.task.path for view in views}) > 1:
        warnings.append("The searches are of different datasets, so their scores do not compare.")
    counts = f"{words.counted(len(views), 'search')} in {words.counted(len(groups), 'group')}"
    text = page.paragraph(f"{counts}; those of one group differ in nothing but the seed.")
    return text + "".join(page.paragraph(warning, "warning") for warning in warnings)


def _sections(groups: Sequence[Group], charts: Sequence[Chart]) -> list[Section]:
    if not charts:
        return [
            Section("Scores", page.paragraph("No search has finished an epoch yet.")),
            Section("Runs", _runs(groups), wide=True),
        ]
    spread = page.paragraph("± is the standard deviation over the runs of a group.", "note")
    return [
        Section("Over time", page.figures(charts)),
        Section("Scores", _scores(groups) + spread, wide=True),
        Section("Runs", _runs(groups), wide=True),
    ]


def _over_time(groups: Sequence[Group]) -> Chart:
    end = max(run.record.elapsed for group in groups for run in group.with_results)
    name = _score_name(groups)

    bands = [band(group.with_results) for group in groups]
    low = min(float(np.min(b.mean if b.low is None else b.low)) for b in bands)
    high = max(float(b.mean.max()) for b in bands)

    def plot(figure: "Figure") -> None:
        axes = figure.add_subplot()
        unit = time_axis(axes, end)
        for i, group in enumerate(groups):
            _group(axes, group, bands[i], unit, i)
        axes.set(ylabel=f"best {name} so far", ylim=(low - 0.2 * (high - low or 0.1), None))
        axes.set_xlim(0, 1.03 * unit(end))
        legend_below(figure, axes, columns=1)

    note = (
        "Thick: mean over the runs of a group (their number in brackets), from the time at which each has a "
        "result; thin: the runs. Bands: 95 % bootstrap intervals of that mean over runs; they are too narrow "
        "when runs are few."
    )
    told = [f"{group.label}: {_mean_text(group)}" for group in groups]
    height = 3.3 + 0.2 * sum(len(wrapped(group.label, LEGEND).splitlines()) for group in groups)
    return chart(
        "compare-incumbent",
        "Best score over time",
        plot,
        alt=f"Best {name} over time. At the end: {words.listed(told, most=MOST_GROUPS)}.",
        note=note,
        inches=(WIDTH, height),
    )


def _score_name(groups: Sequence[Group]) -> str:
    """What all scores are; of different metrics just that."""
    names = {run.score_name for group in groups for run in group.runs}
    return names.pop() if len(names) == 1 else "score"


def _group(axes: "Axes", group: Group, found: Band, unit: Callable[[float], float], position: int) -> None:
    """The mean of a group, and its band and single runs where there are several."""
    colour, marker, style = _look(position)
    times = [unit(t) for t in found.times]
    label = wrapped(f"{group.label} ({len(group.with_results)})", LEGEND)
    every = max(len(times) // 8, 1)
    axes.step(
        times,
        found.mean,
        where="post",
        color=colour,
        ls=style,
        marker=marker,
        ms=4,
        markevery=every,
        label=label,
    )
    if found.low is None or found.high is None:
        return
    axes.fill_between(times, found.low, found.high, step="post", color=colour, alpha=0.15, lw=0)
    for run in group.with_results:
        steps = incumbent_steps(run)
        own = [unit(t) for t, _ in (*steps, (run.record.elapsed, 0.0))]
        axes.step(own, [s for _, s in (*steps, steps[-1])], where="post", color=colour, lw=0.8, alpha=0.4)


def _look(position: int) -> tuple[str, str, Any]:
    """Colour, marker and line style of a group; where colours come again, the others do not with them."""
    shifted = position + position // len(COLOURS)
    return COLOURS[position % len(COLOURS)], MARKERS[shifted % len(MARKERS)], STYLES[shifted % len(STYLES)]


def _final(groups: Sequence[Group]) -> Chart:
    name = _score_name(groups)
    labels = [wrapped(group.label, BESIDE) for group in groups]
    lines = sum(max(label.count("\n"), 1) for label in labels)

    def plot(figure: "Figure") -> None:
        axes = figure.add_subplot()
        for i, group in enumerate(groups):
            colour, marker, _ = _look(i)
            scores = _scores_of(group)
            places = i + np.linspace(-0.12, 0.12, len(scores)) if len(scores) > 1 else [i]
            axes.plot(scores, places, marker, color=colour, alpha=0.8, ms=6, mew=0)
            axes.plot([np.mean(scores)] * 2, [i - 0.28, i + 0.28], "-", color=INK, lw=2)
        axes.set_yticks(range(len(groups)), labels)
        axes.set_ylim(len(groups) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(f"final {name}")

    told = [f"{group.label}: {_mean_text(group)}" for group in groups]
    return chart(
        "compare-final",
        "Final scores",
        plot,
        alt=f"Final {name}: {words.listed(told, most=MOST_GROUPS)}.",
        note="One dot per run; bars: means.",
        inches=(WIDTH, 1.3 + 0.3 * len(groups) + 0.15 * lines),
    )


def _scores_of(group: Group) -> list[float]:
    return [run.best.score for run in group.with_results if run.best is not None]


def _spread(scores: Sequence[float]) -> Cell:
    """Mean and standard deviation of a sample."""
    if not scores:
        return Cell("")
    mean = float(np.mean(scores))
    return Cell(words.mean_and_std(mean, float(np.std(scores, ddof=1)) if len(scores) > 1 else None), mean)


def _baseline(runs: Sequence[RunView]) -> Cell:
    """What the majority class alone scores, the mean where runs have different splits."""
    known = [run.certainty.baseline for run in runs if run.certainty.baseline is not None]
    return number(float(np.mean(known)), words.score(float(np.mean(known)))) if known else Cell("–")


def _scored(run: RunView) -> Cell:
    """A run's best score with its standard error."""
    if run.best is None:
        return Cell("")
    return Cell(words.mean_and_std(run.best.score, run.certainty.stderr), run.best.score)


def _mean_text(group: Group) -> str:
    return _spread(_scores_of(group)).text


def _scores(groups: Sequence[Group]) -> str:
    rows = []
    for group in groups:
        tested = [run.test_score for run in group.with_results if run.test_score is not None]
        epochs = [float(run.history.evaluations) for run in group.runs]
        rows.append(
            [
                Cell(group.label),
                _spread(_scores_of(group)),
                _baseline(group.with_results),
                _spread(tested) if tested else Cell("–"),
                number(len(group.with_results), f"{len(group.with_results)} of {len(group.runs)}"),
                number(float(np.mean(epochs)), f"{np.mean(epochs):.0f}"),
            ]
        )
    test = groups[0].runs[0].test_name
    heads = ["group", _score_name(groups), "majority baseline", test, "runs with results", "epochs"]
    return page.table("Final scores by group, best first: mean ± standard deviation", heads, rows)


def _runs(groups: Sequence[Group]) -> str:
    rows = [
        [
            Cell(run.name),
            Cell(group.label),
            _scored(run),
            _baseline([run]),
            Cell("–") if run.test_score is None else number(run.test_score, words.score(run.test_score)),
            Cell("–" if run.best is None else run.label(run.best.config_id)),
            number(run.history.evaluations),
            number(len(run.history.observed)),
            number(len(run.history.failed)),
            number(run.record.elapsed, words.duration(run.record.elapsed)),
            Cell({True: "spent", False: "not spent", None: "not known"}[run.finished]),
            Cell(str(run.record.path)),
        ]
        for group in groups
        for run in group.runs
    ]
    heads = [
        "run",
        "group",
        "score ± standard error",
        "majority baseline",
        groups[0].runs[0].test_name,
        "best pipeline",
        "epochs",
        "pipelines",
        "failed",
        "time",
        "budget",
        "folder",
    ]
    return page.table("All searches", heads, rows)
