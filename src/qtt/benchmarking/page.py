"""A comparison as one HTML page that needs no other file: figures, tables and what they can tell."""

import io
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from qtt.benchmarking.plots import draw_critical_difference, draw_mean_ranks, draw_regret, names_as_they_are
from qtt.benchmarking.regret import summary_times
from qtt.benchmarking.searches import Row, Searches
from qtt.benchmarking.significance import DRAWS, LEVEL, Difference, paired_differences
from qtt.benchmarking.tables import Comparison
from qtt.benchmarking.wording import counted, duration
from qtt.data.library_caches import keep_library_caches
from qtt.reporting import page, words
from qtt.reporting.charts import STYLE, Chart
from qtt.reporting.page import Cell, Section
from qtt.support.plain_text import plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOWEST = "● "
"""Before the lowest regret of a dataset."""

BANDS = "Bands: mean ± 1.96 standard errors over datasets."
ONE_DATASET = "There is one dataset, so that there are no bands."


def benchmark_page(comparison: Comparison, table: str, settings: Sequence[tuple[str, str]] = ()) -> str:
    """The document. table: what was replayed; settings: names and values of what else was chosen."""
    searches = comparison.searches
    name = plain(table).rstrip("/").rpartition("/")[2] or plain(table)
    policies = words.listed(map(plain, searches.policies))
    title = f"{policies} on {name}"
    sections = [
        Section("Setting", _setting(searches, table, settings)),
        Section("Over time", _over_time(searches)),
        Section("Results", _results(comparison), wide=True),
        Section("Differences", _differences(searches), wide=True),
        Section("Datasets", _by_dataset(searches), wide=True),
    ]
    return page.page(title, "qtt benchmark", _lead(searches), sections)


def _lead(searches: Searches) -> str:
    best = searches.rows[0]
    facts = [
        ("lowest mean regret", plain(best.policy), f"auc {_with_error(best)}"),
        ("datasets", str(len(searches.datasets)), ""),
        ("seeds", str(len(searches.seeds)), ""),
        ("simulated time", duration(searches.limit), "of each search"),
    ]
    return page.tiles(facts if len(searches.policies) > 1 else [("mean regret", *facts[0][1:]), *facts[1:]])


def _setting(searches: Searches, table: str, settings: Sequence[tuple[str, str]]) -> str:
    facts = [
        ("table", table),
        ("policies", ", ".join(searches.policies)),
        ("datasets", counted(len(searches.datasets), "dataset")),
        ("seeds", ", ".join(map(str, searches.seeds))),
        ("simulated time", f"{duration(searches.limit)} ({searches.limit:g} s)"),
        *settings,
    ]
    return (
        page.paragraph(
            "Every policy searched the recorded learning curves of every dataset with every seed. Regret is "
            "how far the best score so far is from the best of all candidates: 1 before the first epoch, 0 "
            "when there is no better one. auc is its mean over 50 times, equally spaced on a logarithmic "
            "scale. Time is that of training and evaluation; decisions are timed apart."
        )
        + page.facts((plain(key), plain(value)) for key, value in facts)
        + page.folded(counted(len(searches.datasets), "dataset"), "\n".join(map(plain, searches.datasets)))
    )


def _over_time(searches: Searches) -> str:
    note = BANDS if len(searches.datasets) > 1 else ONE_DATASET
    ends = [f"{plain(row.policy)} {row.at[-1]:.3f}" for row in searches.rows]
    after = duration(searches.limit)
    charts = [
        _chart(
            "regret",
            "Regret over time",
            lambda: draw_regret(searches, on_page=True),
            f"Mean regret over time. After {after}: {words.listed(ends, most=12)}.",
            note,
        )
    ]
    if len(searches.policies) == 1:
        return page.figures(charts) + page.paragraph("A single policy has no ranks.", "note")
    charts.append(
        _chart(
            "ranks",
            "Mean ranks over time",
            lambda: draw_mean_ranks(searches, on_page=True),
            f"Mean rank of each of {len(searches.policies)} policies over time.",
            f"On each dataset, seed and time; 1 is best, ties share. {note}",
        )
    )
    return page.figures(charts)


def _results(comparison: Comparison) -> str:
    searches = comparison.searches
    several = len(searches.policies) > 1
    rows = []
    for row in searches.rows:
        cells = [Cell(plain(row.policy)), *map(_regret, row.at), Cell(_with_error(row), row.auc)]
        if several:
            cells.append(Cell(f"{row.rank:.2f}", row.rank))
        thinking = comparison.decision_seconds(row.policy)
        took = 1e3 * float(np.mean(thinking)) if len(thinking) else None
        rows.append([*cells, Cell("–") if took is None else Cell(f"{took:.1f}", took)])
    times = [f"at {duration(time)}" for time in summary_times(searches.limit)]
    heads = ["policy", *times, "auc", *(["mean rank of auc"] if several else []), "ms a decision"]
    means = f"Means over {counted(len(searches.datasets), 'dataset')}, of each over "
    notes = [means + f"{counted(len(searches.seeds), 'seed')}; lowest auc first."]
    if len(searches.datasets) > 1:
        notes.append("± is the standard error over datasets.")
    else:
        notes.append("One dataset has no standard error over datasets.")
    if several:
        notes.append(
            "The mean rank is that of auc on each dataset; summary.csv has the mean of ranks at each time."
        )
    return page.table("Regret of each policy", heads, rows) + page.paragraph(" ".join(notes), "note")


def _differences(searches: Searches) -> str:
    if len(searches.policies) == 1:
        return page.paragraph("A single policy differs from none: there is nothing to test.")
    if len(searches.datasets) == 1:
        return page.paragraph(
            "There is one dataset, and datasets are the sample: no intervals, no tests. What is better here "
            "may be worse on the next."
        )
    best = searches.best_first[0]
    found = paired_differences(searches, best)
    diagram = _chart(
        "critical-difference",
        "Which mean ranks differ",
        lambda: draw_critical_difference(searches, bold=[best], on_page=True),
        f"Mean ranks of auc: {_ranked(searches)}.",
        "Mean ranks of auc over datasets. Bars join policies whose mean ranks are closer than the critical "
        f"difference of Nemenyi's test at {LEVEL:g}: the datasets do not tell them apart.",
    )
    return page.figures([diagram]) + _paired(best, found) + _about_tests(len(searches.datasets), found)


def _ranked(searches: Searches) -> str:
    rows = sorted(searches.rows, key=lambda row: row.rank)
    return words.listed((f"{plain(row.policy)} {row.rank:.1f}" for row in rows), most=12)


def _paired(best: str, found: Sequence[Difference]) -> str:
    rows = [
        [
            Cell(plain(of.policy)),
            Cell(f"{of.mean:+.3f}", of.mean),
            Cell(f"{of.low:+.3f} to {of.high:+.3f}", of.low),
            Cell(f"{of.wins} of {of.datasets}", of.wins),
            Cell(f"{of.losses} of {of.datasets}", of.losses),
            Cell(_probability(of.p), of.p),
            Cell(_probability(of.adjusted), of.adjusted),
        ]
        for of in found
    ]
    against = f"{plain(best)}'s"
    heads = ["policy", f"auc less {against}", "95 % interval", "better on", "worse on", "p", "p, Holm"]
    return page.table(f"Each policy against {plain(best)}, which has the lowest auc", heads, rows)


def _about_tests(datasets: int, found: Sequence[Difference]) -> str:
    """How to read the table of differences, and what so few datasets cannot show."""
    text = (
        "Differences are paired by dataset, seeds averaged; the interval is that of their mean, from "
        f"{DRAWS:,} bootstrap samples of datasets. p is of Wilcoxon's signed-rank test, also with Holm's "
        f"correction for {counted(len(found), 'comparison')}. The reference was chosen for its lowest auc, "
        "which makes p somewhat too small where others are close."
    )
    smallest = len(found) * 2.0 ** (1 - datasets)
    if smallest <= LEVEL:
        return page.paragraph(text, "note")
    few = (
        f"With {datasets} datasets, no corrected p can be below {_probability(min(smallest, 1.0))}, however "
        "far the policies are apart: evidence needs more datasets."
    )
    return page.paragraph(text, "note") + page.paragraph(few, "warning")


def _by_dataset(searches: Searches) -> str:
    order = [searches.policies.index(policy) for policy in searches.best_first]
    several = len(order) > 1
    rows = []
    for place, dataset in enumerate(searches.datasets):
        values = searches.auc[order, place]
        marks = [LOWEST if several and value == values.min() else "" for value in values]
        cells = [Cell(f"{m}{value:.3f}", float(value)) for m, value in zip(marks, values, strict=True)]
        rows.append([Cell(plain(dataset)), *cells])
    heads = ["dataset", *(plain(searches.policies[i]) for i in order)]
    note = f"Mean over {counted(len(searches.seeds), 'seed')}"
    note += f"; {LOWEST.strip()} marks the lowest of each dataset." if several else "."
    return page.table("auc by dataset", heads, rows) + page.paragraph(note, "note")


def _regret(value: float) -> Cell:
    return Cell(f"{value:.3f}", value)


def _with_error(row: Row) -> str:
    return f"{row.auc:.3f}" if math.isnan(row.stderr) else f"{row.auc:.3f} ± {row.stderr:.3f}"


def _probability(value: float) -> str:
    """Two digits, as far as they tell anything."""
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def _chart(name: str, title: str, draw: "Callable[[], Figure]", alt: str, note: str) -> Chart:
    """A figure of `plots` in the look of the reports; the axis of time keeps its ticks."""
    keep_library_caches()
    import matplotlib

    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}), names_as_they_are():
        figure, svg = draw(), io.StringIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    return Chart(name, title, alt, note, svg.getvalue(), b"")
