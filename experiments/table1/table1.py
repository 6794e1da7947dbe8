"""Table 1 and Figure 5 of the tool paper: what the sweeps found, and the README's tables and figure.

    python experiments/table1/table1.py runs/table1_*     # add the finished searches there to results/, then
    python experiments/table1/table1.py                   # write tables and figure from results/ alone

results/runs.csv has a row for each finished search, results/over_time.csv one for each improvement of its
incumbent. Scores are shares, 0 to 1; seconds are those of the budget. A search that finished no epoch within
its budget has no scores there and counts as 0 in means.

Notation: n runs that differ in nothing but the seed, t times.
"""

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import stats

from qtt.benchmarking.plots import COLOURS, tidy
from qtt.errors import QTTError
from qtt.reporting.comparison import find_runs
from qtt.reporting.progress import incumbent_steps
from qtt.reporting.run_view import RunView
from qtt.support.files import write_text

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pages import Page, markdown, with_table

HERE = Path(__file__).resolve().parent
README, RESULTS = HERE / "README.md", HERE / "results"
RUNS, OVER_TIME, FIGURE = RESULTS / "runs.csv", RESULTS / "over_time.csv", RESULTS / "over_time"
KEY = ["dataset", "optimizer", "delta_t", "seed"]
RUN_COLUMNS = [*KEY, "budget", "val", "test", "epochs", "pipelines"]
TIME_COLUMNS = [*KEY, "seconds", "val"]

LEVEL = 0.95
MOMENTS = 200
QUICK, RANDOM = "quick", "random"
DELTAS = (1, 2)
SIDES = tuple((optimizer, delta) for optimizer in (QUICK, RANDOM) for delta in DELTAS)
COLOUR_OF = dict(zip((QUICK, RANDOM), COLOURS, strict=False))
DASHES = {1: "-", 2: "--"}

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """A row of Table 1. dataset: name of its folder. budget: seconds. seeds: how many a whole sweep has.

    quick, random: what the paper has at Δt = 1, in words; empty: nothing.
    """

    dataset: str
    title: str
    budget: float
    seeds: int
    quick: str = ""
    random: str = ""


PAPER = (
    Row("imagenette", "Imagenette", 3600, 10, "99.6 [99.3, 99.9]", "82.1"),
    Row("flowers", "Oxford Flowers-102", 3600, 10, "89.1 [84.0, 94.2]", "74.7"),
    Row("cars", "Stanford Cars", 14400, 10, "53.5 [34.4, 72.7]", "40.4"),
    Row("aircraft", "FGVC-Aircraft", 14400, 10, "48.0 [35.2, 60.8]", "25.0"),
)
REDUCED = (
    Row("imagenette_160", "Imagenette, reduced", 80, 3),
    Row("stanford_cars", "Stanford Cars, reduced", 220, 3),
)


@dataclass(frozen=True, eq=False)
class Results:
    """All finished searches. runs, times: see RUN_COLUMNS and TIME_COLUMNS, a search a row of `runs`."""

    runs: pd.DataFrame
    times: pd.DataFrame

    @classmethod
    def read(cls, runs: Path = RUNS, times: Path = OVER_TIME) -> "Results":
        """From files; a file that is not there has no rows."""
        return cls(_table(runs, RUN_COLUMNS), _table(times, TIME_COLUMNS))

    def write(self, runs: Path = RUNS, times: Path = OVER_TIME) -> None:
        """Write the files, in order of the runs."""
        for path, table, order in ((runs, self.runs, KEY), (times, self.times, [*KEY, "seconds"])):
            write_text(path, table.sort_values(order).to_csv(index=False, float_format="%.6g"))

    def with_searches(self, views: Sequence[RunView]) -> "Results":
        """These and other searches; what was known of the same ones is replaced."""
        runs = pd.DataFrame([_run(view) for view in views], columns=RUN_COLUMNS)
        times = pd.DataFrame([row for view in views for row in _steps(view)], columns=TIME_COLUMNS)
        known = set(runs[KEY].itertuples(index=False, name=None))
        return Results(_joined(self.runs, runs, known), _joined(self.times, times, known))

    def at(self, row: Row, optimizer: str, delta: int) -> pd.DataFrame:
        """The searches of a cell of the table, at its budget, by seed."""
        runs = self.runs
        found = runs[(runs["dataset"] == row.dataset) & (runs["delta_t"] == delta)]
        found = found[(found["optimizer"].map(kind) == optimizer) & (found["budget"] == row.budget)]
        return found.sort_values("seed").set_index("seed")

    def over_time(self, row: Row, optimizer: str, delta: int, times: Array) -> Array:
        """Validation score of the incumbents at times, 0 before the first; (n, t)."""
        runs, steps = self.at(row, optimizer, delta), self.times
        steps = steps[(steps["dataset"] == row.dataset) & (steps["delta_t"] == delta)]
        curves = np.zeros((len(runs), len(times)))
        for place, (seed, run) in enumerate(runs.iterrows()):
            own = steps[(steps["optimizer"] == run["optimizer"]) & (steps["seed"] == seed)]
            own = own.sort_values("seconds", kind="stable")
            when = np.searchsorted(own["seconds"], times, side="right") - 1
            curves[place] = np.where(when < 0, 0.0, np.append(own["val"], 0.0)[when])
        return curves


def kind(optimizer: str) -> str:
    """Quick-Tune or random search, by the option that was chosen."""
    return QUICK if optimizer.startswith(QUICK) else optimizer


def interval(values: Array) -> float:
    """Half the width of the 95 % confidence interval of a mean, by Student's t; (n, …) gives (…).

    Not a number for a single value.
    """
    n = len(values)
    if n < 2:
        return np.full(values.shape[1:], math.nan)[()]
    return stats.t.ppf((1 + LEVEL) / 2, n - 1) * values.std(axis=0, ddof=1) / math.sqrt(n)


def finished(paths: Sequence[Path]) -> Iterator[RunView]:
    """The searches among and below paths that have spent their budget and know their test score.

    Others are named on the console: the command that began them goes on with them.

    Raises:
        ConfigError: a path is no run folder and has none below.
    """
    for path in find_runs(paths):
        view = RunView.load(path)
        if not view.finished:
            print(f"Not finished, left out: {path}")  # noqa: T201
        elif view.best is not None and view.test_score is None:
            print(f"Not tested, left out: {path}")  # noqa: T201
        else:
            yield view


def _key(view: RunView) -> tuple[str, str, int, int]:
    config = view.config
    return view.dataset, view.choices["optimizer"], config["optimizer"]["epochs_per_step"], config["seed"]


def _run(view: RunView) -> tuple[object, ...]:
    best, history, budget = view.best, view.history, view.budget
    seconds = None if budget is None else budget.seconds
    val = None if best is None else best.score
    return (*_key(view), seconds, val, view.test_score, history.evaluations, len(history.observed))


def _steps(view: RunView) -> Iterator[tuple[object, ...]]:
    for seconds, score in incumbent_steps(view):
        yield (*_key(view), round(seconds, 2), score)


def _table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    return pd.read_csv(path) if path.exists() else pd.DataFrame(columns=columns)


def _joined(old: pd.DataFrame, new: pd.DataFrame, known: set[tuple[object, ...]]) -> pd.DataFrame:
    kept = old[[key not in known for key in old[KEY].itertuples(index=False, name=None)]]
    return new if kept.empty else kept if new.empty else pd.concat([kept, new], ignore_index=True)


def table(rows: Sequence[Row], results: Results) -> str:
    """Test top-1 in %: mean over seeds, its 95 % interval, and the paper's beside it where it has any."""
    paper = any(row.quick for row in rows)
    header = ["images", "budget", *(f"{optimizer}, Δt = {delta}" for optimizer, delta in SIDES)]
    header += ["quick less random, Δt = 1"]
    header += ["paper: quick, Δt = 1", "paper: random, Δt = 1"] if paper else []
    lines = []
    for row in rows:
        cells = [_cell(results.at(row, optimizer, delta), row) for optimizer, delta in SIDES]
        cells.append(_lead(row, results))
        cells += [row.quick, row.random] if paper else []
        lines.append([row.title, _budget(row.budget), *cells])
    return markdown(header, lines)


def _cell(runs: pd.DataFrame, row: Row) -> str:
    if runs.empty:
        return "not run"
    few = "" if len(runs) >= row.seeds else f" ({len(runs)} of {row.seeds} seeds)"
    return _percent(_test(runs)) + few


def _lead(row: Row, results: Results) -> str:
    """By how much Quick-Tune is ahead, seed by seed; only seeds that both have."""
    pair = [_test(results.at(row, optimizer, 1)) for optimizer in (QUICK, RANDOM)]
    apart = (pair[0] - pair[1]).dropna()
    return "not run" if apart.empty else _percent(apart, "+.1f")


def _test(runs: pd.DataFrame) -> pd.Series:
    return runs["test"].astype(float).fillna(0.0)


def _percent(values: pd.Series, form: str = ".1f") -> str:
    shares = 100 * values.to_numpy()
    mean, width = float(shares.mean()), float(interval(shares))
    if math.isnan(width):
        return f"{mean:{form}}"
    return f"{mean:{form}} [{mean - width:{form}}, {mean + width:{form}}]"


def _budget(seconds: float) -> str:
    return f"{seconds / 3600:g} h" if seconds >= 3600 else f"{seconds:g} s"


def drawn(results: Results) -> list[Row]:
    """Rows of which there are searches."""
    return [row for row in (*PAPER, *REDUCED) if any(len(results.at(row, *side)) for side in SIDES)]


def draw(results: Results) -> Figure:
    """Figure 5: incumbents over time, a panel for each row of which there are searches."""
    rows = drawn(results)
    across = min(len(rows), 2)
    down = math.ceil(len(rows) / across)
    figure = Figure(figsize=(5.2 * across, 3.8 * down), dpi=150, layout="constrained")
    for place, row in enumerate(rows, 1):
        _panel(figure.add_subplot(down, across, place), row, results)
    figure.supylabel("top-1: validation, and test at the end", fontsize="medium")
    return figure


def _panel(axes: Axes, row: Row, results: Results) -> None:
    times = np.linspace(0.0, row.budget, MOMENTS)
    for place, (optimizer, delta) in enumerate(SIDES):
        runs = results.at(row, optimizer, delta)
        if runs.empty:
            continue
        curves, colour = results.over_time(row, optimizer, delta, times), COLOUR_OF[optimizer]
        mean, width = curves.mean(axis=0), interval(curves)
        label = f"{optimizer}, Δt = {delta} (n = {len(runs)})"
        axes.plot(times, mean, color=colour, linestyle=DASHES[delta], label=label)
        axes.fill_between(times, mean - width, mean + width, color=colour, alpha=0.1, linewidth=0)
        test = _test(runs).to_numpy()
        error, beside = float(interval(test)), row.budget * (1.03 + 0.025 * place)
        marker = "o" if delta == 1 else "s"
        axes.errorbar(
            beside, test.mean(), yerr=None if math.isnan(error) else error, color=colour, fmt=marker
        )
    axes.axvline(row.budget, color="0.7", linewidth=0.8)
    axes.set(title=f"{row.title}, {_budget(row.budget)}", xlabel="seconds of the budget")
    axes.set(xlim=(0, 1.13 * row.budget), ylim=(0, None))
    tidy(axes)
    axes.legend(frameon=False, fontsize="small", loc="best")


def page() -> Page:
    """The README's tables and its figure, from results/."""
    results = Results.read()
    rows = drawn(results)
    shown = ", ".join(row.title for row in rows)
    picture = f"![Top-1 over time: {shown}](results/{FIGURE.name}.png)" if rows else "Not run yet: no figure."
    text = README.read_text(encoding="utf-8")
    for name, part in {
        "paper": table(PAPER, results),
        "reduced": table(REDUCED, results),
        "figure": picture,
    }.items():
        text = with_table(text, part, name)
    return Page({README: text}, {FIGURE: partial(draw, results)} if rows else {})


def main() -> None:
    """Take in searches, and write tables and figure."""
    parser = argparse.ArgumentParser(description="Table 1 and Figure 5 from the run folders of the sweeps.")
    parser.add_argument(
        "runs", nargs="*", type=Path, help="run folders, or folders of them, to add to results/"
    )
    paths = parser.parse_args().runs
    if paths:
        try:
            views = list(finished(paths))
        except QTTError as error:
            sys.exit(f"Error: {error}")
        Results.read().with_searches(views).write()
        print(f"{len(views)} finished searches are in {RUNS}")  # noqa: T201
    page().write()


if __name__ == "__main__":
    main()
