"""Tables and figures of the ablations, from committed raw results.

python experiments/pages.py ablations

Notation: d datasets, t times.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from matplotlib.figure import Figure
from pages import Page, markdown, short, with_table

from qtt.benchmarking.plots import BAND, COLOURS, STYLES, tidy, time_axis
from qtt.benchmarking.regret import SECONDS, grid, regret_at, summary_times
from qtt.benchmarking.significance import bootstrap_interval
from qtt.benchmarking.wording import duration

HERE = Path(__file__).parent
README, RESULTS = HERE / "README.md", HERE / "results"
SHARED = HERE.parent / "search_quality" / "results" / "regret.csv"

QUICK = "quick"
SWITCHES = ("meta", "cost", "graybox")
WORDS = {"meta": "meta-learning", "cost": "cost-awareness", "graybox": "gray-box"}
ALSO_CALLED = {"no_meta_no_cost": "DyHPO's corner", "none": "a plain Gaussian process"}

ANEW = "trained_on_12"
"""Quick with the artifacts of this experiment, which the searches of all series share."""

SERIES: Mapping[str, tuple[str, Mapping[float, str]]] = {
    "Epochs of a step (Δt)": ("epochs", {1: ANEW, 2: "step_2", 5: "step_5"}),
    "Datasets of meta-training": (
        "datasets",
        {4: "trained_on_4", 6: "trained_on_6", 9: "trained_on_9", 12: ANEW},
    ),
    "Models of the hub": ("models", {3: "hub_3", 6: "hub_6", 12: "hub_12", 24: ANEW}),
}
"""What is varied: the name of its unit, and the variant of each value."""

UNSEEN = "unseen"

Array = NDArray[np.float64]
Steps = tuple[Array, Array]
"""Seconds (k,) at which regret changed, and the regret from then on (k,)."""


def corner(without: Sequence[str]) -> str:
    """The variant that lacks these switches."""
    left_out = [name for name in SWITCHES if name in without]
    return {0: QUICK, len(SWITCHES): "none"}.get(len(left_out), "_".join(f"no_{name}" for name in left_out))


def reference(variant: str) -> str:
    """The quick whose artifacts a variant has: this experiment's in a series, else search_quality's."""
    varied = {name for _, values in SERIES.values() for name in values.values()}
    return ANEW if variant in varied - {ANEW} else QUICK


CORNERS = tuple(corner(lacking) for count in range(4) for lacking in combinations(SWITCHES, count))


@dataclass(frozen=True, eq=False)
class Searches:
    """Regret of all searches: by variant and dataset, one entry for each draw."""

    steps: Mapping[str, Mapping[str, Sequence[Steps]]]

    @classmethod
    def read(cls, results: Path = RESULTS / "regret.csv", shared: Path = SHARED) -> "Searches":
        """From the committed tables; a variant of both is an error.

        Raises:
            ValueError: the two tables share a variant.
        """
        theirs = pd.read_csv(shared).rename(columns={"policy": "variant", "seed": "draw"})
        tables = [theirs, pd.read_csv(results)]
        if twice := set(tables[0]["variant"]) & set(tables[1]["variant"]):
            raise ValueError(f"Both tables have searches of {', '.join(sorted(twice))}.")
        steps: dict[str, dict[str, list[Steps]]] = {}
        for (variant, dataset, _), rows in pd.concat(tables).groupby(["variant", "dataset", "draw"]):
            entry = rows["seconds"].to_numpy(), rows["regret"].to_numpy()
            steps.setdefault(variant, {}).setdefault(dataset, []).append(entry)
        return cls(steps)

    def datasets(self, variant: str) -> list[str]:
        """Those that the variant has searched."""
        return sorted(self.steps.get(variant, {}))

    def draws(self, variant: str) -> int:
        """Different searches on a dataset, where there are the most: 1 of a variant that draws nothing."""
        different = (
            {(seconds.tobytes(), regret.tobytes()) for seconds, regret in entries}
            for entries in self.steps[variant].values()
        )
        return max(map(len, different))

    def regret(self, variant: str, times: Array, datasets: Sequence[str] | None = None) -> Array:
        """Mean over draws, on these datasets or all of the variant's; (d, t)."""
        chosen = self.datasets(variant) if datasets is None else datasets
        found = self.steps[variant]
        return np.array([np.mean([regret_at(times, *steps) for steps in found[d]], axis=0) for d in chosen])

    def auc(self, variant: str, datasets: Sequence[str] | None = None) -> Array:
        """Mean regret over the grid of times; (d,)."""
        return np.asarray(self.regret(variant, grid(), datasets).mean(axis=1))

    def apart(self, variant: str) -> Array:
        """How much more auc than its reference's, on the datasets that both have searched; (d,)."""
        base = reference(variant)
        both = sorted(set(self.datasets(variant)) & set(self.datasets(base)))
        return self.auc(variant, both) - self.auc(base, both)


def table(searches: Searches, variants: Sequence[str]) -> pd.DataFrame:
    """A row for each variant that was run."""
    return pd.DataFrame([_row(searches, variant) for variant in variants if searches.datasets(variant)])


def _row(searches: Searches, variant: str) -> dict[str, Any]:
    at, auc = searches.regret(variant, summary_times()).mean(axis=0), searches.auc(variant)
    row: dict[str, Any] = {
        "variant": variant,
        "datasets": len(auc),
        "draws": searches.draws(variant),
        **{duration(time): at[place] for place, time in enumerate(summary_times())},
        "auc": auc.mean(),
        "stderr": auc.std(ddof=1) / np.sqrt(len(auc)) if len(auc) > 1 else np.nan,
    }
    if variant == QUICK:
        return row
    apart = searches.apart(variant)
    if not len(apart):
        return row
    low, high = bootstrap_interval(apart)
    better = int((apart > 0).sum())
    found = {"difference": apart.mean(), "low": low, "high": high, "quick is better on": better}
    return {**row, "reference": reference(variant), **found}


def effects(searches: Searches) -> pd.DataFrame:
    """What each switch takes from auc: alone, as the last of three, and averaged over the four pairs.

    On the datasets that all corners have searched; empty where a corner was not run.
    """
    known = [set(searches.datasets(name)) for name in CORNERS]
    datasets = sorted(set.intersection(*known))
    rows = []
    for switch in SWITCHES if datasets else ():
        others = [name for name in SWITCHES if name != switch]
        pairs = {
            lacking: searches.auc(corner([switch, *lacking]), datasets)
            - searches.auc(corner(lacking), datasets)
            for count in range(3)
            for lacking in combinations(others, count)
        }
        kinds = {
            "alone": pairs[tuple(others)],
            "as the last": pairs[()],
            "mean of four pairs": np.mean(list(pairs.values()), axis=0),
        }
        for kind, gain in kinds.items():
            low, high = bootstrap_interval(gain)
            rows.append((switch, kind, gain.mean(), low, high, len(gain)))
    return pd.DataFrame(rows, columns=["switch", "kind", "gain", "low", "high", "datasets"])


def cube_table(found: pd.DataFrame) -> str:
    """The README's main table: the eight corners, the best first."""
    times = [duration(time) for time in summary_times()]
    header = [
        "meta-learning",
        "costs",
        "gray-box",
        "row",
        "datasets × draws",
        *times,
        "auc",
        "auc less quick's, 95 %",
    ]
    rows = []
    cube = found[found["variant"].isin(CORNERS)].sort_values("auc", kind="stable")
    for row in cube.to_dict("records"):
        name = row["variant"]
        marks = ["" if name == "none" or f"no_{switch}" in name else "yes" for switch in SWITCHES]
        called = f" ({ALSO_CALLED[name]})" if name in ALSO_CALLED else ""
        rows.append([*marks, f"{name}{called}", *_figures(row)])
    missing = [name for name in CORNERS if name not in set(cube["variant"])]
    rows += [["", "", "", name, "not run", *[""] * 6] for name in missing]
    return markdown(header, rows)


def series_table(found: pd.DataFrame) -> str:
    """The README's table of what comes in several sizes, and of unseen models."""
    times = [duration(time) for time in summary_times()]
    header = ["varied", "value", "row", "datasets × draws", *times, "auc", "auc less quick's, 95 %"]
    known = {row["variant"]: row for row in found.to_dict("records")}
    missing = ["not run", *[""] * 6]
    rows = []
    for varied, (unit, values) in SERIES.items():
        for value, name in values.items():
            figures = _figures(known[name]) if name in known else missing
            apart = [*figures[:-1], ""] if name == ANEW else figures
            rows.append([varied, f"{value:g} {unit}", name, *apart])
    rows.append(["Models unseen in meta-training", "6 of 24", UNSEEN, *_figures(known[UNSEEN])])
    anew = _figures(known[ANEW]) if ANEW in known else missing
    rows.append(["Meta-training anew", "as quick", ANEW, *anew])
    return markdown(header, rows)


def _figures(row: Mapping[str, Any]) -> list[str]:
    """Datasets and draws, regret at four times, auc, difference."""
    at = [short(row[duration(time)]) for time in summary_times()]
    whole = f"{row['datasets']} × {row['draws']}"
    auc = f"{short(row['auc'])} ± {short(row['stderr'])}"
    if pd.isna(row.get("difference", np.nan)):
        return [whole, *at, auc, ""]
    wins = f"{row['quick is better on']:.0f} of {row['datasets']}"
    apart = f"{short(row['difference'])} ({short(row['low'])} to {short(row['high'])}), {wins}"
    return [whole, *at, auc, apart]


def effects_table(found: pd.DataFrame) -> str:
    """The README's table of the three switches."""
    kinds = list(dict.fromkeys(found["kind"]))
    by_name = found.set_index(["switch", "kind"])
    rows = []
    for switch in dict.fromkeys(found["switch"]):
        cells = [by_name.loc[(switch, kind)] for kind in kinds]
        texts = [f"{short(c['gain'])} ({short(c['low'])} to {short(c['high'])})" for c in cells]
        rows.append([WORDS[switch], f"{cells[0]['datasets']:.0f}", *texts])
    return markdown(["switch", "datasets", *kinds], rows)


def draw_cube(searches: Searches) -> Figure:
    """Mean regret over time of the corners that were run, the best first, with quick's band."""
    run = [name for name in CORNERS if searches.datasets(name)]
    order = sorted(run, key=lambda name: float(searches.auc(name).mean()))
    figure = Figure(figsize=(9.0, 4.6), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for place, name in enumerate(order):
        regret = searches.regret(name, grid())
        mean, error = regret.mean(axis=0), BAND * regret.std(axis=0, ddof=1) / np.sqrt(len(regret))
        colour = COLOURS[place % len(COLOURS)]
        few = "" if len(regret) == len(searches.datasets(QUICK)) else f" ({len(regret)} datasets)"
        axes.plot(grid(), mean, color=colour, linestyle=STYLES[place % 4], linewidth=2.0, label=name + few)
        if name == QUICK:
            axes.fill_between(grid(), mean - error, mean + error, color=colour, alpha=0.15, linewidth=0)
    time_axis(axes, SECONDS)
    tidy(axes)
    axes.set(ylabel="normalised regret", title="Meta-learning, cost-awareness and gray-box, each on and off")
    title = f"best first; band of quick:\nmean ± {BAND} standard errors"
    figure.legend(loc="outside right upper", title=title, frameon=False, alignment="left")
    return figure


def draw_series(searches: Searches) -> Figure:
    """Differences to quick's auc over what is varied, with 95 % bootstrap intervals over datasets."""
    figure = Figure(figsize=(10.0, 3.6), dpi=150, layout="constrained")
    panels = figure.subplots(1, len(SERIES))
    for place, (axes, (varied, (_, values))) in enumerate(zip(panels, SERIES.items(), strict=True)):
        run = {value: name for value, name in values.items() if name == ANEW or searches.datasets(name)}
        apart = [np.zeros(1) if name == ANEW else searches.apart(name) for name in run.values()]
        means = np.array([values.mean() for values in apart])
        bounds = np.array([bootstrap_interval(values) for values in apart]).T
        colour = COLOURS[place]
        spread = np.abs(bounds - means)
        axes.errorbar(list(run), means, spread, color=colour, marker="o", linestyle="", capsize=3)
        whole = [
            name == ANEW or len(values) == len(searches.datasets(QUICK))
            for name, values in zip(run.values(), apart, strict=True)
        ]
        axes.plot(np.array(list(run))[whole], means[whole], color=colour, linestyle=STYLES[place])
        for value, mean, differences in zip(run, means, apart, strict=True):
            if 1 < len(differences) < len(searches.datasets(QUICK)):
                few = f" {len(differences)} datasets"
                axes.annotate(few, (value, mean), (4, 4), textcoords="offset points", fontsize=8)
        axes.axhline(0.0, color="0.6", linewidth=1.0)
        axes.set_xscale("log")
        axes.set_xticks(list(values), [f"{value:g}" for value in values])
        axes.set_xticks([], minor=True)
        axes.set_xlim(min(values) / 1.15, max(values) * 1.15)
        axes.set_xlabel(varied)
        tidy(axes)
    panels[0].set_ylabel("auc less quick's, mean and 95 %")
    return figure


def page() -> Page:
    """What the experiment shows."""
    searches = Searches.read()
    others = dict.fromkeys(name for _, values in SERIES.values() for name in values.values())
    variants = list(dict.fromkeys([*CORNERS, *others, UNSEEN]))
    found, gains = table(searches, variants), effects(searches)
    readme = with_table(README.read_text(encoding="utf-8"), cube_table(found))
    readme = with_table(readme, effects_table(gains), "effects")
    readme = with_table(readme, series_table(found), "series")
    texts = {
        README: readme,
        RESULTS / "table.csv": found.to_csv(index=False, float_format="%.5f"),
        RESULTS / "effects.csv": gains.to_csv(index=False, float_format="%.5f"),
    }
    figures = {
        RESULTS / "cube": lambda: draw_cube(searches),
        RESULTS / "series": lambda: draw_series(searches),
    }
    return Page(texts, figures)
