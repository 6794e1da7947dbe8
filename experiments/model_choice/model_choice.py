"""Tables and figures of joint search against two stages, from results/runs.csv and results/scores.csv.

python experiments/pages.py model_choice

What has not been run is said to be so. Notation: m methods, r runs, t moments.
"""

import csv
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import weightedtau

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "images"))

from pages import Page, markdown, short, with_table
from results import Run, read_runs

from curves import band, over_time, shared_keys
from qtt.benchmarking.plots import BAND, COLOURS, STYLES

HERE = Path(__file__).resolve().parent
README, RESULTS = HERE / "README.md", HERE / "results"
GAINS = HERE.parent / "images" / "gains.csv"
JOINT = "joint"
METHODS = {
    JOINT: "joint: none",
    "imagenet": "best on ImageNet",
    "logme": "highest LogME",
    "leep": "highest LEEP",
}
"""The first stages of searches, in words."""
SCORES = {"imagenet": "ImageNet top-1", "logme": "LogME", "leep": "LEEP", "probe_val": "probe, validation"}
"""What networks are ranked by, in words."""
FEWEST = 4
"""Networks of a set that a rank correlation needs."""
NOT_RUN, NOTHING = "not run", "*Not run.*"
CURVES = "![Test accuracy of the incumbent over time](results/searches.png)"
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
MOMENTS = 400

Array = NDArray[np.float64]
Row = Mapping[str, float]
"""A network's scores; those that do not apply are missing."""
Sets = Mapping[str, Mapping[str, Row]]
"""Rows of each network on each set."""
Truths = Mapping[str, Mapping[str, float]]
"""Accuracy that each network was found to have on each set."""


def shown(values: Sequence[float], *, sign: bool = False) -> str:
    """Mean ± standard error, the latter from two values on."""
    if not values:
        return NOT_RUN
    mean = float(np.mean(values))
    text = ("+" if sign and mean >= 0 else "") + short(mean)
    if len(values) == 1:
        return text
    return f"{text} ± {short(float(np.std(values, ddof=1)) / math.sqrt(len(values)))}"


@dataclass(frozen=True)
class Searches:
    """The runs that have not failed, of one budget in seconds."""

    budget: float
    runs: tuple[Run, ...]

    def of(self, method: str, name: str | None = None) -> list[Run]:
        """Runs of a method, on one set or on all."""
        return [run for run in self.runs if run.key.method == method and name in (None, run.key.set)]

    def accuracies(self, method: str, name: str | None = None) -> list[float]:
        """Test accuracy of what each run had within the budget; a guess where that was nothing."""
        return [run.accuracy(self.budget) for run in self.of(method, name)]

    def leads(self, method: str) -> list[float]:
        """By how much the joint search is ahead of a method, in pairs of the same set and seed."""
        others = {(run.key.set, run.key.seed): run for run in self.of(method)}
        pairs = [(run, others.get((run.key.set, run.key.seed))) for run in self.of(JOINT)]
        return [r.accuracy(self.budget) - o.accuracy(self.budget) for r, o in pairs if o is not None]

    def rows(self, sets: Sequence[str]) -> list[list[str]]:
        """A row of the table for each method, with a column for each of these sets."""
        rows = []
        for method, words in METHODS.items():
            by_set = [shown(self.accuracies(method, name)) for name in sets]
            lead = "" if method == JOINT else shown(self.leads(method), sign=True)
            late = sum(not run.points or run.points[0].seconds > self.budget for run in self.of(method))
            counts = [str(len(self.of(method))), str(late)]
            rows.append([f"{self.budget:g}", words, *counts, *by_set, shown(self.accuracies(method)), lead])
        return rows


def searches_of(runs: Iterable[Run]) -> list[Searches]:
    """Those of each budget, the smallest first."""
    whole = [run for run in runs if not run.note]
    budgets = sorted({run.key.budget for run in whole})
    return [Searches(b, tuple(run for run in whole if run.key.budget == b)) for b in budgets]


def searches_table(runs: Sequence[Run]) -> str:
    """Accuracy within each budget, and what failed."""
    found = searches_of(runs)
    sets = list(dict.fromkeys(run.key.set for searches in found for run in searches.runs))
    head = ["seconds", "first stage", "runs", "without a network in time", *sets, "mean", "joint ahead by"]
    rows = [row for searches in found for row in searches.rows(sets)]
    failed = "\n".join(f"- {run.key} failed: {run.note}" for run in runs if run.note)
    parts = [markdown(head, rows), CURVES] if rows else [NOTHING]
    return "\n\n".join([*parts, failed] if failed else parts)


def scores_by_set(path: Path) -> dict[str, dict[str, Row]]:
    """Scores of each network on each set: those of `SCORES`, probe_test and seconds.

    A set with fewer networks than another one is left out: it is being scored.
    """
    if not path.exists():
        return {}
    found: dict[str, dict[str, Row]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            name, model = row.pop("set"), row.pop("model")
            found.setdefault(name, {})[model] = {key: float(text) for key, text in row.items() if text}
    most = max(map(len, found.values()), default=0)
    return {name: rows for name, rows in found.items() if len(rows) == most}


def finetuned(path: Path) -> dict[str, dict[str, float]]:
    """Accuracy of the best pipeline's last epoch, of each set and network that was ever finetuned."""
    found: dict[str, dict[str, float]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            models, last = found.setdefault(row["dataset"], {}), float(row["epochs"].split()[-1])
            models[row["model"]] = max(last, models.get(row["model"], 0.0))
    return found


def tau(score: str, rows: Mapping[str, Row], truth: Mapping[str, float]) -> float | None:
    """Weighted τ (Vigna 2015; LogME's measure) of score and truth; None: of too few networks."""
    models = [model for model, row in rows.items() if score in row and model in truth]
    if len(models) < FEWEST:
        return None
    found = weightedtau([rows[m][score] for m in models], [truth[m] for m in models]).statistic
    return None if math.isnan(found) else float(found)


def correlations(score: str, sets: Sets, truths: Truths, *, common: bool) -> list[float]:
    """τ on each set that has one. common: only of networks that all scores apply to."""
    found = []
    for name, rows in sets.items():
        kept = {model: row for model, row in rows.items() if not common or SCORES.keys() <= row.keys()}
        found.append(tau(score, kept, truths.get(name, {})))
    return [value for value in found if value is not None]


def chosen(score: str, rows: Mapping[str, Row]) -> str:
    """The network of the highest score, among equals the first."""
    return max((model for model in rows if score in rows[model]), key=lambda model: rows[model][score])


def probes(sets: Sets) -> Truths:
    """Test accuracy of the probe of each network on each set."""
    return {name: {model: row["probe_test"] for model, row in rows.items()} for name, rows in sets.items()}


def lost(score: str, rows: Mapping[str, Row]) -> float:
    """Test accuracy of the best network's probe less that of the network which a score chooses."""
    best = max(row["probe_test"] for row in rows.values())
    return best - rows[chosen(score, rows)]["probe_test"]


def ranks_table(sets: Sets, best: Truths) -> str:
    """How well each score ranks the networks; mean ± standard error over the sets."""
    if not sets:
        return NOTHING
    tests, rows = probes(sets), []
    for score, words in SCORES.items():
        networks = sorted({sum(score in row for row in of.values()) for of in sets.values()})
        cells = [correlations(score, sets, tests, common=common) for common in (False, True)]
        cells += [correlations(score, sets, best, common=False), [lost(score, of) for of in sets.values()]]
        rows.append([words, " or ".join(map(str, networks)), *map(shown, cells)])
    head = ["score", "networks", "τ, their probes", "τ, probes, those that all rank", "τ, finetuned", "lost"]
    return markdown(head, rows)


def choices_table(sets: Sets, best: Truths) -> str:
    """What each score chooses on each set, with the test accuracy of that probe, and the best there is."""
    if not sets:
        return NOTHING
    rows = []
    for name, of in sets.items():
        cells = [f"{chosen(s, of)} {short(of[chosen(s, of)]['probe_test'])}" for s in (*SCORES, "probe_test")]
        known = best.get(name, {})
        top = max(known, key=known.__getitem__, default=None)
        seconds = sum(row["seconds"] for row in of.values())
        rows.append([name, *cells, "–" if top is None else f"{top} {short(known[top])}", f"{seconds:.0f}"])
    head = ["set", *SCORES.values(), "probe, test", "best finetuned", "seconds of LogME and LEEP"]
    return markdown(head, rows)


def draw_searches(found: Sequence[Searches]) -> Figure:
    """Mean test accuracy over time, a panel for each budget, of the runs that all methods have."""
    figure = Figure(figsize=(5.6 * len(found), 4.2), dpi=150, layout="constrained")
    for axes, searches in zip(figure.subplots(1, len(found), squeeze=False)[0], found, strict=True):
        groups = {method: searches.of(method) for method in METHODS}
        keys = shared_keys(list(groups.values()))
        times = np.linspace(0.0, searches.budget, MOMENTS)
        kept = {m: [r for r in runs if (r.key.set, r.key.seed) in keys] for m, runs in groups.items()}
        axes.set_title(f"{len({name for name, _ in keys})} sets, {len(keys)} runs of each")
        axes.set(xlabel="time since the start (s)", ylabel="test accuracy of the incumbent", ylim=(0, 1))
        if keys:
            lines = zip(
                METHODS.values(), *band(np.array([over_time(r, times) for r in kept.values()])), strict=True
            )
            for (words, middle, error), colour, style in zip(lines, COLOURS, STYLES, strict=False):
                low, high = middle - BAND * error, middle + BAND * error
                axes.fill_between(times, low, high, color=colour, alpha=0.15, linewidth=0)
                axes.plot(times, middle, color=colour, linestyle=style, linewidth=2, label=words)
            axes.legend(frameon=False, fontsize="small", loc="lower right", title=f"± {BAND} standard errors")
        _plain(axes)
    return figure


def draw_ranks(sets: Sets) -> Figure:
    """Weighted τ of each score with the test accuracy of probes: a mark for each set, a bar for the mean."""
    figure = Figure(figsize=(6.4, 3.8), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    tests = probes(sets)
    for place, name in enumerate(sets):
        values = [tau(score, sets[name], tests[name]) for score in SCORES]
        places = np.arange(len(SCORES)) + 0.1 * (place - (len(sets) - 1) / 2)
        colour, marker = COLOURS[place % len(COLOURS)], MARKERS[place % len(MARKERS)]
        axes.plot(places, [math.nan if v is None else v for v in values], marker, color=colour, label=name)
    for place, score in enumerate(SCORES):
        if values := correlations(score, sets, tests, common=False):
            axes.hlines(float(np.mean(values)), place - 0.3, place + 0.3, color="black", linewidth=1.2)
    axes.axhline(0.0, color="0.6", linewidth=0.8, linestyle=STYLES[1])
    axes.set_xticks(range(len(SCORES)), list(SCORES.values()))
    axes.set(ylabel="weighted τ with the probe's test accuracy", ylim=(-1.05, 1.05))
    figure.legend(loc="outside right upper", frameon=False, title="set; bar: mean", alignment="left")
    _plain(axes)
    return figure


def _plain(axes: Axes) -> None:
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def page() -> Page:
    """What the experiment shows, of what has been run."""
    runs, sets, best = (
        read_runs(RESULTS / "runs.csv"),
        scores_by_set(RESULTS / "scores.csv"),
        finetuned(GAINS),
    )
    text = README.read_text(encoding="utf-8")
    text = with_table(text, searches_table(runs))
    text = with_table(text, ranks_table(sets, best), "ranks")
    text = with_table(text, choices_table(sets, best), "choices")
    figures: dict[Path, Callable[[], Figure]] = {}
    if found := searches_of(runs):
        figures[RESULTS / "searches"] = lambda: draw_searches(found)
    if sets:
        figures[RESULTS / "ranks"] = lambda: draw_ranks(sets)
    return Page({README: text}, figures)
