"""Real searches on images: Quick-Tune with meta-learned weights, cold, and random search.

python experiments/search_quality/searches.py [--images DIR --weights DIR] [--artifact NAME_OR_DIR]
    [--tasks NAME:SECONDS …] [--seeds N …] [--jobs N] [--out DIR] [--results DIR]

Every search is a call of `python -m qtt.run` with one thread, two of them side by side by default; finished
ones are kept, interrupted ones go on. The digits need nothing; other image sets are folders below --images,
and --weights has the networks (timm names) to choose from. An artifact should not have seen the image sets:
`micro` has seen small versions of them.
  RESULTS/searches.csv     one row a search: incumbent at 25, 50, 100 % of the budget, its test accuracy, …
  RESULTS/searches.png     incumbent over time, mean over seeds
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console

from qtt.runs.history import History
from qtt.runs.journal import Entry, Journal
from qtt.support.files import read_json

Array = NDArray[np.float64]

SHARES = (0.25, 0.5, 1.0)
"""Shares of the budget at which the incumbent is read."""

DIGITS = "digits"
POLICIES = {
    "weights": ("optimizer=quick", "optimizer.weights={artifact}"),
    "cold": ("optimizer=quick",),
    "random": ("optimizer=random",),
}
COLOURS = {"weights": "#0072B2", "cold": "#D55E00", "random": "#000000"}


@dataclass(frozen=True)
class Settings:
    """What all searches share.

    artifact: of the policy `weights`. images, weights: folders of image sets and of networks.
    image_size: pixels; not of the digits.
    """

    artifact: str
    images: Path
    weights: Path
    image_size: int
    out: Path


@dataclass(frozen=True)
class Search:
    """One search: a policy on a task with a seed, within a budget of seconds."""

    task: str
    budget: float
    policy: str
    seed: int
    settings: Settings

    @property
    def folder(self) -> Path:
        """Of its run."""
        return self.settings.out / f"{self.task}-{self.budget:g}s-{self.policy}-{self.seed}"

    @property
    def finished(self) -> bool:
        """Whether it has run to its end, which is when the incumbent is tested."""
        return (self.folder / "incumbent" / "test.json").exists()

    def command(self) -> list[str]:
        """The call of `python -m qtt.run`."""
        settings = self.settings
        task = ["+experiment=quickstart"]
        if self.task != DIGITS:
            task = [
                "+experiment=image_folder",
                f"dataset.path='{settings.images / self.task}'",
                "model_hub=folder",
                f"weights_dir='{settings.weights}'",
                f"objective.settings.image_size={settings.image_size}",
            ]
        optimizer = [override.format(artifact=f"'{settings.artifact}'") for override in POLICIES[self.policy]]
        rest = [f"budget.seconds={self.budget:g}", f"seed={self.seed}", f"run_dir='{self.folder}'"]
        return [sys.executable, "-m", "qtt.run", *task, *optimizer, *rest]

    def run(self) -> None:
        """Search, unless that is done already; what is printed goes to `<folder>.log`.

        Raises:
            subprocess.CalledProcessError: the command failed, and not because no epoch was finished within
                the budget; its log says why.
        """
        if self.finished:
            return
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        with (self.folder.parent / f"{self.folder.name}.log").open("a") as log:
            called = subprocess.run(
                self.command(), env={**os.environ, **threads}, stdout=log, stderr=subprocess.STDOUT
            )
        searched = (self.folder / "candidates.json").exists()
        if not searched or any(entry.result.succeeded for entry in self.entries()):
            called.check_returncode()

    def entries(self) -> list[Entry]:
        """Its journal."""
        return Journal(self.folder / "journal.jsonl").read()

    def figures(self) -> dict[str, Any]:
        """A row of searches.csv."""
        entries = self.entries()
        history = History(entry.result for entry in entries)
        shares = np.array(SHARES) * self.budget
        incumbent = dict(zip(SHARES, incumbent_at(entries, shares).tolist(), strict=True))
        return {
            "task": self.task,
            "policy": self.policy,
            "seed": self.seed,
            "seconds": self.budget,
            **{f"val {share:.0%}": incumbent[share] for share in SHARES},
            "test": self._test_accuracy(),
            "epochs": history.evaluations,
            "pipelines": len(history.observed),
            "failed": len(history.failed),
        }

    def _test_accuracy(self) -> float:
        """Of the incumbent; NaN where no epoch was finished."""
        path = self.folder / "incumbent" / "test.json"
        return float(read_json(path)["test accuracy"]) if path.exists() else float("nan")


def main() -> None:
    """Run what is missing, write the table and the plot, and print means over seeds."""
    arguments = _arguments()
    console = Console(highlight=False, soft_wrap=True)
    settings = Settings(
        arguments.artifact,
        arguments.images,
        arguments.weights,
        arguments.image_size,
        arguments.out.resolve(),
    )
    searches = [
        Search(*task, policy, seed, settings)
        for task, seed, policy in product(arguments.tasks, arguments.seeds, POLICIES)
    ]
    missing = [search for search in searches if not search.finished]
    seconds = sum(search.budget for search in missing)
    console.print(f"{len(missing)} of {len(searches)} searches to run, {seconds:g} s in all")
    with ThreadPoolExecutor(arguments.jobs) as executor:
        for search, _ in zip(missing, executor.map(Search.run, missing), strict=True):
            console.print(f"{search.folder.name}: {search.figures()}")
    results = arguments.results or settings.out / "results"
    results.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame([search.figures() for search in searches])
    table.to_csv(results / "searches.csv", index=False, float_format="%.4f")
    plot(searches, results / "searches.png")
    console.print(as_markdown(table))


def incumbent_at(entries: Sequence[Entry], times: Array) -> Array:
    """Best validation score until each of these elapsed seconds, 0 before the first one; as `times`."""
    succeeded = [entry for entry in entries if entry.result.succeeded]
    elapsed = np.array([entry.elapsed for entry in succeeded])
    best = np.maximum.accumulate([0.0, *(entry.result.score for entry in succeeded)])
    return np.asarray(best[np.searchsorted(elapsed, times, side="right")])


def as_markdown(table: pd.DataFrame) -> str:
    """Mean ± standard deviation over seeds; `val` is the incumbent at a share of the budget."""
    names = [name for name in table if name not in ("task", "policy", "seed", "seconds")]
    lines = [
        "| task | seconds | policy | seeds | " + " | ".join(names) + " |",
        "|---" * (len(names) + 4) + "|",
    ]
    for (task, seconds, policy), group in table.groupby(["task", "seconds", "policy"], sort=False):
        cells = [_mean(group[name], 3 if name == "test" or name.startswith("val") else 1) for name in names]
        lines.append(f"| {task} | {seconds:g} | {policy} | {len(group)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def plot(searches: Sequence[Search], path: Path) -> None:
    """Incumbents over time: every search thin, the mean over seeds thick."""
    tasks = list(dict.fromkeys(search.task for search in searches))
    figure = Figure(figsize=(4.2 * len(tasks), 3.8), dpi=150, layout="constrained")
    for axes, task in zip(np.ravel([figure.subplots(1, len(tasks))]), tasks, strict=True):
        of_task = [search for search in searches if search.task == task]
        times = np.linspace(0.0, of_task[0].budget, 400)
        for policy in dict.fromkeys(search.policy for search in of_task):
            chosen = [search for search in of_task if search.policy == policy]
            curves = np.array([incumbent_at(search.entries(), times) for search in chosen])
            axes.plot(times, curves.T, color=COLOURS[policy], linewidth=0.6, alpha=0.4)
            axes.plot(times, curves.mean(axis=0), color=COLOURS[policy], linewidth=2.2, label=policy)
        axes.set(title=task, xlabel="seconds of the budget", ylim=(0, 1), xlim=(0, times[-1]))
        axes.grid(color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.supylabel("validation accuracy of the incumbent", fontsize="medium")
    figure.savefig(path)


def _mean(values: "pd.Series[float]", digits: int) -> str:
    spread = f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{spread}"


def _task(text: str) -> tuple[str, float]:
    """`dtd:240` as name and seconds; argparse reports a ValueError."""
    name, seconds = text.rsplit(":", 1)
    return name, float(seconds)


def _arguments() -> argparse.Namespace:
    shared = Path(os.environ.get("QTT_SHARED_DATA", "../shared/data")).resolve()
    parser = argparse.ArgumentParser(description="Real searches on images.")
    parser.add_argument("--images", type=Path, default=shared / "images", help="folder of image sets")
    parser.add_argument("--weights", type=Path, default=shared / "weights", help="folder of networks")
    parser.add_argument("--artifact", default="mtlbm/extended", help="of the policy weights: name or folder")
    parser.add_argument(
        "--tasks",
        nargs="+",
        type=_task,
        default=[(DIGITS, 120.0), ("dtd", 240.0), ("trashnet", 180.0)],
        metavar="NAME:SECONDS",
        help="image sets, with the budget of one search",
    )
    parser.add_argument("--image-size", type=int, default=128, help="of the image sets")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--jobs", type=int, default=2, help="searches side by side, one thread each")
    parser.add_argument("--out", type=Path, default=Path("runs/searches"), help="folder of the runs")
    parser.add_argument("--results", type=Path, help="folder of table and plot; default: OUT/results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
