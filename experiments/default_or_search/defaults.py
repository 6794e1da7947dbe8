"""Tables and figure: one model with default hyperparameters against Quick-Tune, from committed raw results.

python experiments/pages.py default_or_search

Notation: d datasets, t times.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from matplotlib.figure import Figure
from pages import Page, markdown, short, with_table

from qtt.benchmarking.plots import BAND, COLOURS, STYLES, tidy, time_axis
from qtt.benchmarking.regret import SECONDS, grid, regret_at
from qtt.benchmarking.significance import bootstrap_interval
from qtt.benchmarking.wording import duration

HERE = Path(__file__).parent
README, RESULTS = HERE / "README.md", HERE / "results"
QUICK = HERE.parent / "search_quality" / "results" / "regret.csv"

HOURS = (3600.0, 14_400.0, SECONDS)
CHOICES = ("nearest the defaults", "mean of all", "best in hindsight")
"""Which of a model's runs stand for it: the one whose hyperparameters are nearest the defaults; all of them,
as if hyperparameters were drawn at random; the one with the best score, which nobody knows beforehand."""

Array = NDArray[np.float64]
Steps = tuple[Array, Array]
"""Seconds (k,) at which regret changed, and the regret from then on (k,)."""


@dataclass(frozen=True, eq=False)
class Recorded:
    """What is compared.

    runs: rows of runs.csv that did not fail. steps: of each run by (model, dataset, run). quick: by dataset.
    """

    runs: pd.DataFrame
    steps: Mapping[tuple[str, str, str], Steps]
    quick: Mapping[str, Steps]

    @classmethod
    def read(cls, results: Path = RESULTS, quick: Path = QUICK) -> "Recorded":
        """From the committed tables; quick draws nothing, so that its first seed is all of them."""
        runs = pd.read_csv(results / "runs.csv", dtype={"run": str})
        steps = pd.read_csv(results / "regret.csv", dtype={"run": str}).groupby(["model", "dataset", "run"])
        searches = pd.read_csv(quick)
        searches = searches[(searches["policy"] == "quick") & (searches["seed"] == 0)]
        return cls(
            runs[runs["status"] != "failed"],
            {name: _steps(rows) for name, rows in steps},
            {str(dataset): _steps(rows) for dataset, rows in searches.groupby("dataset")},
        )

    @property
    def models(self) -> list[str]:
        """In the order of runs.csv within a dataset."""
        return list(dict.fromkeys(self.runs["model"]))

    def datasets(self, model: str) -> list[str]:
        """Those with a run of the model that did not fail."""
        return sorted(set(self.runs.loc[self.runs["model"] == model, "dataset"]))

    def of(self, model: str, dataset: str) -> pd.DataFrame:
        """The model's runs on a dataset, nearest the defaults first."""
        there = self.runs[(self.runs["model"] == model) & (self.runs["dataset"] == dataset)]
        return there.sort_values("distance", kind="stable")

    def chosen(self, choice: str, model: str, dataset: str) -> list[str]:
        """The runs that stand for the model on a dataset."""
        runs = self.of(model, dataset)["run"].tolist()
        if choice == CHOICES[0]:
            return runs[:1]
        if choice == CHOICES[1]:
            return runs
        return [min(runs, key=lambda run: float(self.steps[model, dataset, run][1][-1]))]

    def regret(self, choice: str, model: str, times: Array) -> Array:
        """Of what stands for the model, on each of its datasets; (d, t)."""
        return np.array(
            [
                np.mean([regret_at(times, *self.steps[model, d, run]) for run in runs], axis=0)
                for d in self.datasets(model)
                for runs in [self.chosen(choice, model, d)]
            ]
        )

    def quick_regret(self, model: str, times: Array) -> Array:
        """Of quick on the model's datasets; (d, t)."""
        return np.array([regret_at(times, *self.quick[d]) for d in self.datasets(model)])

    def at_end(self, choice: str, model: str) -> tuple[Array, Array]:
        """Regret where each dataset's runs end, and quick's at the same seconds, or at 16 h; both (d,)."""
        ours, theirs = [], []
        for dataset in self.datasets(model):
            ends = self.of(model, dataset).set_index("run")["seconds"]
            runs = self.chosen(choice, model, dataset)
            theirs.append(np.mean([self.steps[model, dataset, run][1][-1] for run in runs]))
            times = np.minimum([ends[run] for run in runs], SECONDS)
            ours.append(np.mean(regret_at(times, *self.quick[dataset])))
        return np.array(theirs), np.array(ours)


def _steps(rows: pd.DataFrame) -> Steps:
    return rows["seconds"].to_numpy(), rows["regret"].to_numpy()


def table(recorded: Recorded) -> pd.DataFrame:
    """A row for each model and each choice of its runs."""
    return pd.DataFrame([_row(recorded, model, choice) for model in recorded.models for choice in CHOICES])


def _row(recorded: Recorded, model: str, choice: str) -> dict[str, Any]:
    times = np.array(HOURS)
    theirs, ours = recorded.regret(choice, model, times), recorded.quick_regret(model, times)
    end, then = recorded.at_end(choice, model)
    theirs, ours = np.column_stack([theirs, end]), np.column_stack([ours, then])
    apart = (recorded.regret(choice, model, grid()) - recorded.quick_regret(model, grid())).mean(axis=1)
    low, high = bootstrap_interval(apart)
    row: dict[str, Any] = {"model": model, "run": choice, "datasets": len(theirs)}
    for place, name in enumerate([*map(duration, HOURS), "end"]):
        row[name] = theirs[:, place].mean()
        row[f"quick {name}"] = ours[:, place].mean()
        row[f"quick is better {name}"] = int((ours[:, place] < theirs[:, place]).sum())
        row[f"quick is worse {name}"] = int((ours[:, place] > theirs[:, place]).sum())
    return {**row, "difference": apart.mean(), "low": low, "high": high}


def results_table(found: pd.DataFrame) -> str:
    """The README's main table."""
    names = [*map(duration, HOURS), "end"]
    header = ["model", "its run", "datasets", *map(duration, HOURS), "its end", "auc less quick's, 95 %"]
    rows = []
    for row in found.to_dict("records"):
        cells = [
            f"{short(row[name])} / {short(row[f'quick {name}'])} ({row[f'quick is better {name}']})"
            for name in names
        ]
        apart = f"{short(row['difference'])} ({short(row['low'])} to {short(row['high'])})"
        rows.append([f"`{row['model']}`", row["run"], str(row["datasets"]), *cells, apart])
    return markdown(header, rows)


def distances_table(recorded: Recorded) -> str:
    """What stands for the defaults on each dataset."""
    header = ["dataset", *(f"`{model}`" for model in recorded.models)]
    rows = []
    for dataset in sorted(set(recorded.runs["dataset"])):
        cells = []
        for model in recorded.models:
            runs = recorded.of(model, dataset)
            cells.append(_distance(runs.iloc[0], len(runs)) if len(runs) else "no run")
        rows.append([dataset, *cells])
    return markdown(header, rows)


def _distance(run: pd.Series, count: int) -> str:
    hours = run["seconds"] / 3600.0
    return f"{run['distance']:.1f} ({run['apart']}), {run['opt']} {run['lr']:g}, {hours:.1f} h, 1 of {count}"


def draw(recorded: Recorded) -> Figure:
    """Mean regret over time of quick and of each model: nearest the defaults, and best in hindsight."""
    figure = Figure(figsize=(10.0, 4.4), dpi=150, layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, choice in zip(panels, (CHOICES[0], CHOICES[2]), strict=True):
        _line(axes, recorded.quick_regret(recorded.models[-1], grid()), "quick", 0)
        for place, model in enumerate(recorded.models, start=1):
            label = f"{model} ({len(recorded.datasets(model))} datasets)"
            _line(axes, recorded.regret(choice, model, grid()), label, place)
        time_axis(axes, SECONDS)
        tidy(axes)
        axes.set_title(f"Each model's run {choice}")
    panels[0].set_ylabel("normalised regret")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def _line(axes: Any, regret: Array, label: str, place: int) -> None:
    """Mean over datasets of regret (d, t) with its band."""
    mean, error = regret.mean(axis=0), BAND * regret.std(axis=0, ddof=1) / np.sqrt(len(regret))
    axes.plot(grid(), mean, color=COLOURS[place], linestyle=STYLES[place], linewidth=2.0, label=label)
    axes.fill_between(grid(), mean - error, mean + error, color=COLOURS[place], alpha=0.12, linewidth=0)


def page() -> Page:
    """What the experiment shows."""
    recorded = Recorded.read()
    found = table(recorded)
    readme = with_table(README.read_text(encoding="utf-8"), results_table(found))
    readme = with_table(readme, distances_table(recorded), "distances")
    csv: str = found.to_csv(index=False, float_format="%.5f")
    return Page({README: readme, RESULTS / "table.csv": csv}, {RESULTS / "regret": lambda: draw(recorded)})
