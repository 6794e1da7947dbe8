"""Tables and figures of the comparison, from the regret of every search: the same ones every time.

python experiments/optimizers/compare.py [REGRET.csv …]

Reads policy, dataset, seed, seconds, regret (a row for each epoch that changed the regret), and writes
  results/table.csv       policy, regret at four times, auc, its standard error, mean rank, ms a decision
  results/paired.csv      policy, auc less quick's: mean over datasets and its 95 % interval, wins of quick
  results/regret.png, ranks.png and the same as SVG
and the table of README.md.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pages import Page, markdown, short, with_table

from qtt.benchmarking.plots import draw_critical_difference, draw_regret
from qtt.benchmarking.regret import SECONDS, summary_times
from qtt.benchmarking.searches import Array, Name, Searches
from qtt.benchmarking.significance import paired_differences
from qtt.benchmarking.wording import duration

HERE = Path(__file__).resolve().parent
README, RESULTS = HERE / "README.md", HERE / "results"
FOLDERS = (HERE.parent / "search_quality" / "results", RESULTS)
RAW = [folder / "regret.csv" for folder in FOLDERS]
QUICK = "quick"
ABLATIONS = ("unseen", "no_graybox", "no_cost")
"""Of Quick-Tune, in search_quality; no part of this comparison."""

TIMES = [duration(time) for time in summary_times(SECONDS)]


def read(files: Sequence[Path]) -> Searches:
    """The searches of tables of regret; of a policy in several, the last one counts.

    Raises:
        ValueError: a policy lacks a dataset or a seed that others have.
    """
    found: dict[Name, tuple[Array, Array]] = {}
    for file in files:
        for (policy, dataset, seed), rows in pd.read_csv(file).groupby(["policy", "dataset", "seed"]):
            if policy not in ABLATIONS:
                found[policy, dataset, int(seed)] = rows["seconds"].to_numpy(), rows["regret"].to_numpy()
    return Searches.of(found)


def table_of(searches: Searches, milliseconds: pd.Series) -> pd.DataFrame:
    """A row for each policy, the best first."""
    rows = [(row.policy, *row.at, row.auc, row.stderr, row.rank) for row in searches.rows]
    table = pd.DataFrame(rows, columns=["policy", *TIMES, "auc", "stderr", "mean rank"])
    return table.assign(**{"ms a decision": table["policy"].map(milliseconds)})


def paired_of(searches: Searches) -> pd.DataFrame:
    """How much more regret (auc) than quick each policy has, dataset by dataset."""
    found = paired_differences(searches, QUICK)
    columns = ["policy", "auc less quick's", "low", "high", "quick is better on", "datasets"]
    rows = [(of.policy, of.mean, of.low, of.high, of.losses, of.datasets) for of in found]
    return pd.DataFrame(rows, columns=columns)


def readme_table(searches: Searches, milliseconds: pd.Series) -> str:
    """The table of README.md."""
    apart = {of.policy: of for of in paired_differences(searches, QUICK)}
    rows = []
    for row in searches.rows:
        of, took = apart.get(row.policy), milliseconds.get(row.policy)
        rows.append(
            [
                row.policy,
                *map(short, row.at),
                f"{short(row.auc)} ± {short(row.stderr)}",
                f"{row.rank:.1f}",
                f"{short(of.mean)} ({short(of.low)} to {short(of.high)})" if of else "",
                "" if took is None else f"{took:.1f}" if took < 10 else f"{took:.0f}",
            ]
        )
    heads = ["policy", *TIMES, "auc", "mean rank", "auc less quick's, 95 %", "ms a decision"]
    return markdown(heads, rows)


def page(files: Sequence[Path] = RAW) -> Page:
    """Tables, figures and README of the experiment."""
    searches = read(files)
    decisions = pd.concat([pd.read_csv(folder / "decisions.csv") for folder in FOLDERS])
    milliseconds = decisions.groupby("policy")["ms"].first()
    readme = README.read_text(encoding="utf-8")
    return Page(
        texts={
            README: with_table(readme, readme_table(searches, milliseconds)),
            RESULTS / "table.csv": table_of(searches, milliseconds).to_csv(index=False, float_format="%.5f"),
            RESULTS / "paired.csv": paired_of(searches).to_csv(index=False, float_format="%.5f"),
        },
        figures={
            RESULTS / "regret": lambda: draw_regret(
                searches, order=searches.best_first, banded=[QUICK], inches=(9.0, 4.6)
            ),
            RESULTS / "ranks": lambda: draw_critical_difference(searches, bold=[QUICK]),
        },
    )


def main() -> None:
    """Write tables and figures, and show the table."""
    parser = argparse.ArgumentParser(description="Tables and figures of the comparison of optimizers.")
    parser.add_argument("regret", nargs="*", type=Path, default=RAW, help="tables of regret")
    page(parser.parse_args().regret).write()
    print(pd.read_csv(RESULTS / "table.csv").to_string(index=False))  # noqa: T201


if __name__ == "__main__":
    main()
