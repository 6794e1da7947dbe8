"""Tables and figures of the comparison, from the regret of every search: the same ones every time.

python experiments/optimizers/compare.py [REGRET.csv …]
python experiments/optimizers/compare.py --check

Reads policy, dataset, seed, seconds, regret (a row for each epoch that changed the regret), and writes
  results/table.csv       policy, regret at four times, auc, its standard error, mean rank, ms a decision
  results/paired.csv      policy, auc less quick's: mean over datasets and its 95 % interval, wins of quick
  results/regret.png, ranks.png and the same as SVG
and the table of README.md.

Notation: p policies, d datasets, s seeds, t times.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import stats

from qtt.benchmarking.plots import BAND, COLOURS, STYLES
from qtt.benchmarking.regret import SECONDS, Average, grid, ranks, regret_at, summary_times
from qtt.benchmarking.wording import duration

HERE = Path(__file__).parent
README, RESULTS = HERE / "README.md", HERE / "results"
FOLDERS = (HERE.parent / "search_quality" / "results", RESULTS)
RAW = [folder / "regret.csv" for folder in FOLDERS]
BEGIN, END = "<!-- table: written by compare.py -->", "<!-- end of the table -->"
QUICK = "quick"
ABLATIONS = ("unseen", "no_graybox", "no_cost")
"""Of Quick-Tune, in search_quality; no part of this comparison."""
DRAWS = 10_000
"""Bootstrap samples of datasets, for intervals of paired differences."""
LEVEL = 0.05

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Searches:
    """Regret of all searches at the times of the grid; (p, d, s, t)."""

    policies: tuple[str, ...]
    datasets: tuple[str, ...]
    regret: Array
    at: Array

    @classmethod
    def read(cls, files: Sequence[Path]) -> "Searches":
        """From tables of regret; of a policy in several, the last one counts.

        Raises:
            ValueError: a policy lacks a dataset or a seed that others have.
        """
        tables = [pd.read_csv(file) for file in files]
        found: dict[tuple[str, str, int], tuple[Array, Array]] = {}
        for table in tables:
            for (policy, dataset, seed), rows in table.groupby(["policy", "dataset", "seed"]):
                if policy not in ABLATIONS:
                    found[policy, dataset, seed] = rows["seconds"].to_numpy(), rows["regret"].to_numpy()
        names, datasets, seeds = (list(dict.fromkeys(key[i] for key in found)) for i in range(3))
        keys = [(p, d, s) for p in names for d in datasets for s in seeds]
        if missing := [key for key in keys if key not in found]:
            raise ValueError(f"{len(missing)} searches are missing, the first of them {missing[0]}.")

        def regret(times: Array) -> Array:
            rows = [regret_at(times, *found[key]) for key in keys]
            return np.array(rows).reshape(len(names), len(datasets), len(seeds), len(times))

        return cls(tuple(names), tuple(datasets), regret(grid(SECONDS)), regret(summary_times(SECONDS)))

    @property
    def auc(self) -> Array:
        """Mean regret over the grid and over seeds; (p, d)."""
        return self.regret.mean(axis=(2, 3))

    @property
    def rank(self) -> Array:
        """Rank of each policy by its auc on each dataset; (p, d)."""
        return ranks(self.auc[:, :, None, None])[:, :, 0, 0]

    def table(self, milliseconds: pd.Series) -> pd.DataFrame:
        """A row for each policy, the best first."""
        found, at = Average.of(self.auc[:, :, None, None]), Average.of(self.at).mean
        rows = pd.DataFrame({"policy": self.policies})
        for place, time in enumerate(summary_times(SECONDS)):
            rows[duration(time)] = at[:, place]
        rows["auc"], rows["stderr"] = found.mean[:, 0], found.stderr[:, 0]
        rows["mean rank"] = self.rank.mean(axis=1)
        rows["ms a decision"] = rows["policy"].map(milliseconds)
        return rows.sort_values("auc", ignore_index=True)

    def paired(self) -> pd.DataFrame:
        """How much more regret (auc) than quick each policy has, dataset by dataset."""
        quick = self.auc[self.policies.index(QUICK)]
        draws = np.random.default_rng(0).integers(len(self.datasets), size=(DRAWS, len(self.datasets)))
        rows = []
        for policy, auc in zip(self.policies, self.auc, strict=True):
            if policy != QUICK:
                apart = auc - quick
                low, high = np.quantile(apart[draws].mean(axis=1), [LEVEL / 2, 1 - LEVEL / 2])
                rows.append((policy, apart.mean(), low, high, int((apart > 0).sum()), len(apart)))
        columns = ["policy", "auc less quick's", "low", "high", "quick is better on", "datasets"]
        return pd.DataFrame(rows, columns=columns).sort_values("auc less quick's", ignore_index=True)

    @property
    def critical_difference(self) -> float:
        """Of mean ranks, beyond which two policies differ (Nemenyi; Demšar 2006, JMLR, 3.2.2)."""
        p, d = len(self.policies), len(self.datasets)
        q = float(stats.studentized_range.ppf(1 - LEVEL, p, np.inf)) / np.sqrt(2.0)
        return q * float(np.sqrt(p * (p + 1) / (6.0 * d)))


def draw_regret(searches: Searches, order: Sequence[str], folder: Path) -> None:
    """Mean regret over time with bands of 1.96 standard errors over datasets."""
    average, times = Average.of(searches.regret), grid(SECONDS)
    figure = Figure(figsize=(9.0, 4.6), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for place, policy in enumerate(order):
        i = searches.policies.index(policy)
        colour, style = COLOURS[place % len(COLOURS)], STYLES[place // len(COLOURS)]
        mean, error = average.mean[i], BAND * average.stderr[i]
        axes.plot(times, mean, color=colour, linestyle=style, label=policy)
        if policy == QUICK:
            axes.fill_between(times, mean - error, mean + error, color=colour, alpha=0.15, linewidth=0)
    ticks = [SECONDS / 960.0, *summary_times(SECONDS).tolist()]
    axes.set_xscale("log")
    axes.set_xticks(ticks, [duration(tick) for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlim(ticks[0], ticks[-1])
    title = f"Regret on {len(searches.datasets)} datasets, {searches.regret.shape[2]} seeds"
    axes.set(xlabel="simulated time of training and evaluation", ylabel="normalised regret", title=title)
    axes.grid(color="0.9")
    axes.spines[["top", "right"]].set_visible(False)
    legend = f"best first; band of quick:\nmean ± {BAND} standard errors"
    figure.legend(loc="outside right upper", title=legend, frameon=False, alignment="left")
    _save(figure, folder / "regret")


def draw_ranks(searches: Searches, folder: Path) -> None:
    """Critical-difference diagram (Demšar 2006): bars join policies that the data do not tell apart."""
    means = searches.rank.mean(axis=1)
    order = np.argsort(means)
    names, places = [searches.policies[i] for i in order], means[order]
    left = len(names) - len(names) // 2
    figure = Figure(figsize=(8.0, 1.3 + 0.24 * left), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    lowest, highest = 1.0, float(len(names))
    bars = cliques(places, searches.critical_difference)
    depth = 0.35 * len(bars) + 0.6
    for row, (name, place) in enumerate(zip(names, places, strict=True)):
        on_left = row < left
        height = -depth - 0.6 * (row if on_left else len(names) - 1 - row)
        side = lowest - 0.4 if on_left else highest + 0.4
        axes.plot([place, place, side], [0.0, height, height], color="0.3", linewidth=0.9)
        text = f"{name}  {place:.1f}" if on_left else f"{place:.1f}  {name}"
        weight = "bold" if name == QUICK else "normal"
        axes.text(side, height, f" {text} ", ha="right" if on_left else "left", va="center", weight=weight)
    for level, (first, last) in enumerate(bars):
        height = -0.35 * (level + 1)
        axes.plot([places[first] - 0.05, places[last] + 0.05], [height] * 2, color=COLOURS[0], linewidth=4)
    axes.plot([lowest, lowest + searches.critical_difference], [1.1, 1.1], color=COLOURS[1], linewidth=3)
    beside = lowest + searches.critical_difference + 0.1
    axes.text(beside, 1.1, f"critical difference {searches.critical_difference:.1f}", va="center")
    axes.plot([lowest, highest], [0, 0], color="black", linewidth=1.2)
    for tick in range(int(lowest), int(highest) + 1):
        axes.plot([tick, tick], [0, 0.15], color="black", linewidth=1.0)
        axes.text(tick, 0.25, str(tick), ha="center", va="bottom")
    axes.set_xlim(lowest - 3.2, highest + 3.2)
    axes.set_axis_off()
    axes.set_ylim(-depth - 0.6 * left, 1.6)
    axes.set_title(f"Mean rank of auc on {len(searches.datasets)} datasets, 1 is best")
    _save(figure, folder / "ranks")


def cliques(places: Array, difference: float) -> list[tuple[int, int]]:
    """First and last of each maximal group of rising mean ranks that lie within a difference."""
    found: list[tuple[int, int]] = []
    for first in range(len(places)):
        last = int(np.flatnonzero(places <= places[first] + difference)[-1])
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return found


def markdown(table: pd.DataFrame, paired: pd.DataFrame) -> str:
    """The README's table."""
    apart = paired.set_index("policy")
    lines = [
        "| policy | 15 min | 1 h | 4 h | 16 h | auc | mean rank | auc less quick's, 95 % | ms a decision |"
    ]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    for row in table.to_dict("records"):
        cells: list[Any] = [row["policy"], *(_short(row[duration(t)]) for t in summary_times(SECONDS))]
        cells += [f"{_short(row['auc'])} ± {_short(row['stderr'])}", f"{row['mean rank']:.1f}"]
        if row["policy"] in apart.index:
            of = apart.loc[row["policy"]]
            cells.append(f"{_short(of.iloc[0])} ({_short(of['low'])} to {_short(of['high'])})")
        else:
            cells.append("")
        known = row["ms a decision"]
        cells.append("" if pd.isna(known) else f"{known:.1f}" if known < 10 else f"{known:.0f}")
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _short(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path.with_suffix(".png"))
    figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})


def with_table(readme: str, table: str) -> str:
    """A README with this table between its marks."""
    before, rest = readme.split(BEGIN)
    return f"{before}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}"


def read(regret: Sequence[Path]) -> tuple[Searches, pd.DataFrame, pd.DataFrame]:
    """The searches of the experiment, with their table and paired differences."""
    searches = Searches.read(regret)
    decisions = pd.concat([pd.read_csv(folder / "decisions.csv") for folder in FOLDERS])
    milliseconds = decisions.groupby("policy")["ms"].first()
    return searches, searches.table(milliseconds), searches.paired()


def out_of_date() -> list[str]:
    """What of the experiment's folder does not follow from its raw results."""
    _, table, paired = read(RAW)
    readme = README.read_text(encoding="utf-8")
    current = {
        README: (readme, with_table(readme, markdown(table, paired))),
        RESULTS / "table.csv": ((RESULTS / "table.csv").read_text(), _csv(table)),
        RESULTS / "paired.csv": ((RESULTS / "paired.csv").read_text(), _csv(paired)),
    }
    return [str(path) for path, (there, now) in current.items() if there != now]


def _csv(table: pd.DataFrame) -> str:
    text: str = table.to_csv(index=False, float_format="%.5f")
    return text


def main() -> None:
    """Write tables, figures and the README's table, or see whether they are those of the raw results."""
    parser = argparse.ArgumentParser(description="Tables and figures of the comparison of optimizers.")
    parser.add_argument("regret", nargs="*", type=Path, default=RAW, help="tables of regret")
    parser.add_argument("--check", action="store_true", help="write nothing, fail where a figure is another")
    arguments = parser.parse_args()
    if arguments.check:
        sys.exit("\n".join(f"{name} is not what the results say." for name in out_of_date()) or None)
    searches, table, paired = read(arguments.regret)
    (RESULTS / "table.csv").write_text(_csv(table))
    (RESULTS / "paired.csv").write_text(_csv(paired))
    draw_regret(searches, table["policy"].tolist(), RESULTS)
    draw_ranks(searches, RESULTS)
    text = markdown(table, paired)
    README.write_text(with_table(README.read_text(encoding="utf-8"), text), encoding="utf-8")
    print(text)  # noqa: T201


if __name__ == "__main__":
    main()
