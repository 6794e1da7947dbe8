"""Regret on datasets that meta-training has not seen: Quick-Tune, the paper's recipe, ablations, baselines.

python experiments/search_quality/folds.py [--policies NAME …] [--folds K …] [--datasets NAME …]
    [--seeds N] [--seconds S] [--processes N] [--out DIR] [--results DIR]

For each fold, predictors are meta-trained on the other folds' datasets and search the fold's; all replays
make one comparison, by the contract of `python -m qtt.benchmark`. Interrupted, the same command goes on.
  OUT/regret.csv, decisions.csv, summary.csv, ranks.csv, regret.png, ranks.png   as the benchmark writes them
  RESULTS/summary.csv      policy, seconds, mean_regret, stderr, mean_rank
  RESULTS/auc.csv          policy, dataset, auc: mean over seeds
  RESULTS/paired.csv       policy, difference to quick in auc, its standard error, wins of quick
  RESULTS/regret.csv       regret.csv less the epochs that changed nothing
  RESULTS/decisions.csv    policy, ms, ms99: milliseconds of a decision, mean and 99 %
"""

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from protocol import Study, configuration
from rich.console import Console
from rich.progress import track

from qtt.benchmarking.plots import write_plots
from qtt.benchmarking.policies import Policy
from qtt.benchmarking.regret import SECONDS, grid
from qtt.benchmarking.replay import Replay
from qtt.benchmarking.runner import Job, Problem, ReplayStore, run_jobs
from qtt.benchmarking.tables import Comparison, write_tables
from qtt.benchmarking.view import summary_table
from qtt.cli.configuration import plain
from qtt.support.machine import available_cores


@dataclass(frozen=True)
class Contestant:
    """A policy as `python -m qtt.run` would be told of it.

    overrides: of the command; `{all}` and `{unseen}` stand for the fold's artifacts.
    seeded: whether its searches depend on the seed; those of the others are replayed once.
    """

    name: str
    overrides: str
    seeded: bool = False

    def needs(self, artifact: str) -> bool:
        """Whether it searches with this artifact."""
        return f"{{{artifact}}}" in self.overrides

    def policy(self, artifacts: Mapping[str, Path]) -> Policy:
        """With a fold's artifacts."""
        folders = {name: f"'{folder}'" for name, folder in artifacts.items()}
        overrides = [override.format(**folders) for override in self.overrides.split()]
        return Policy.from_config(self.name, plain(configuration("run", overrides).optimizer))


QUICK = "quick"
META = "optimizer=quick optimizer.weights={all}"
CONTESTANTS = (
    Contestant(QUICK, META),
    Contestant(
        "quick_paper",
        "optimizer=quick_paper optimizer.performance.weights={all} optimizer.cost.weights={all}",
    ),
    Contestant("no_meta", "optimizer=quick", seeded=True),
    Contestant("no_cost", f"{META} optimizer.cost_aware=false"),
    Contestant("no_graybox", f"{META} optimizer.gray_box=false"),
    Contestant("unseen", "optimizer=quick optimizer.weights={unseen}"),
    Contestant("asha", "optimizer=asha", seeded=True),
    Contestant("random", "optimizer=random", seeded=True),
)
RIVALS = tuple(
    Contestant(name, f"optimizer={name}", seeded=True)
    for name in ("optuna", "optuna_halving", "optuna_gp", "smac", "dehb", "syne_asha", "bohb")
)
"""Optimizers of other libraries (extra `optimizers`); experiments/optimizers compares them."""


@dataclass(frozen=True)
class Trials:
    """Which searches to compare: policies of each fold on its datasets."""

    contestants: Sequence[Contestant]
    problems: Mapping[int, Sequence[Problem]]
    policies: Mapping[int, Mapping[str, Policy]]
    seeds: int
    limit: float

    def jobs(self) -> dict[tuple[str, str, int], Job]:
        """The search that stands for each policy, dataset and seed."""
        return {
            (contestant.name, problem.curves.dataset, seed): Job(
                self.policies[fold][contestant.name],
                problem,
                seed if contestant.seeded else 0,
                self.limit,
            )
            for contestant in self.contestants
            for fold, problems in self.problems.items()
            for problem in problems
            for seed in range(self.seeds)
        }

    def comparison(self, replays: Mapping[str, Replay]) -> Comparison:
        """All searches together, given their replays by key."""
        problems = [problem for part in self.problems.values() for problem in part]
        return Comparison(
            policies=tuple(contestant.name for contestant in self.contestants),
            datasets=tuple(problem.curves.dataset for problem in problems),
            seeds=tuple(range(self.seeds)),
            replays={name: replays[job.key] for name, job in self.jobs().items()},
            extremes={problem.curves.dataset: problem.extremes for problem in problems},
            limit=self.limit,
        )


def main() -> None:
    """Meta-train, replay, compare, and print the comparison."""
    arguments = _arguments()
    console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 120)
    study = Study(arguments.out)
    chosen = arguments.policies or [entry.name for entry in (RIVALS if arguments.rivals else CONTESTANTS)]
    contestants = [entry for entry in (*CONTESTANTS, *RIVALS) if entry.name in chosen]
    trials = prepare(
        study, contestants, arguments.folds, arguments.datasets, arguments.seeds, arguments.seconds, console
    )
    comparison = run(trials, study.out, arguments.processes)
    write_results(comparison, study.out, arguments.results or study.out / "results")
    console.print(summary_table(comparison))
    if QUICK in comparison.policies:
        console.print(paired(comparison).to_string(index=False))


def prepare(
    study: Study,
    contestants: Sequence[Contestant],
    folds: Sequence[int],
    datasets: Sequence[str] | None,
    seeds: int,
    limit: float,
    console: Console,
) -> Trials:
    """Meta-train what the contestants need on each fold, and load its datasets."""
    policies = {}
    for fold in folds:
        needed = [name for name in study.artifacts if any(entry.needs(name) for entry in contestants)]
        artifacts = {name: study.artifact(fold, name, console) for name in needed}
        policies[fold] = {entry.name: entry.policy(artifacts) for entry in contestants}
    problems = {fold: study.problems(fold, datasets) for fold in folds}
    return Trials(contestants, problems, policies, seeds, limit)


def run(trials: Trials, out: Path, processes: int) -> Comparison:
    """Replay what `out` does not hold yet."""
    out.mkdir(parents=True, exist_ok=True)
    store = ReplayStore(out / "replays.jsonl")
    replays = store.read()
    missing = {job.key: job for job in trials.jobs().values() if job.key not in replays}
    done = run_jobs(list(missing.values()), processes)
    console = Console(stderr=True)
    for job, result in track(done, "replaying", len(missing), console=console, disable=not missing):
        store.append(job, result)
        replays[job.key] = result
    return trials.comparison(replays)


def write_results(comparison: Comparison, out: Path, results: Path) -> None:
    """Everything into `out`, and what is small enough to keep into `results`."""
    results.mkdir(parents=True, exist_ok=True)
    write_tables(comparison, out)
    write_plots(comparison, out)
    for name in ("summary.csv", "regret.png"):
        shutil.copyfile(out / name, results / name)
    auc(comparison).to_csv(results / "auc.csv", index=False, float_format="%.5f")
    paired(comparison).to_csv(results / "paired.csv", index=False, float_format="%.5f")
    changes(comparison).to_csv(results / "regret.csv", index=False, float_format="%.5f")
    decisions(comparison).to_csv(results / "decisions.csv", index=False, float_format="%.3f")


def auc(comparison: Comparison) -> pd.DataFrame:
    """Mean regret over the grid of times and over seeds: policy, dataset, auc."""
    values = comparison.regret(grid(comparison.limit)).mean(axis=(2, 3))
    rows = [
        {"policy": policy, "dataset": dataset, "auc": values[i, j]}
        for i, policy in enumerate(comparison.policies)
        for j, dataset in enumerate(comparison.datasets)
    ]
    return pd.DataFrame(rows)


def paired(comparison: Comparison) -> pd.DataFrame:
    """How much more regret than `quick` a policy has (auc), dataset by dataset; empty without `quick`."""
    table = auc(comparison).pivot(index="dataset", columns="policy", values="auc")
    names = [name for name in comparison.policies if QUICK in comparison.policies and name != QUICK]
    differences = {name: table[name] - table[QUICK] for name in names}
    rows = [
        {
            "policy": name,
            "auc - quick": values.mean(),
            "stderr": values.std(ddof=1) / np.sqrt(len(values)),
            "quick is better on": int((values > 0).sum()),
            "datasets": len(values),
        }
        for name, values in differences.items()
    ]
    return pd.DataFrame(rows)


def changes(comparison: Comparison) -> pd.DataFrame:
    """The rows of regret.csv whose regret is lower than that of the row before: the same step function."""
    rows: list[tuple[str | int | float, ...]] = []
    for name in comparison.names:
        curve, seconds = comparison.curves[name], comparison.replays[name].seconds
        new = np.diff(curve, prepend=np.inf) < 0
        rows += [(*name, float(s), float(r)) for s, r in zip(seconds[new], curve[new], strict=True)]
    return pd.DataFrame(rows, columns=["policy", "dataset", "seed", "seconds", "regret"])


def decisions(comparison: Comparison) -> pd.DataFrame:
    """Milliseconds of a decision, on average and at the 99th of 100: policy, ms, ms99."""
    rows = [(name, comparison.decision_seconds(name) * 1e3) for name in comparison.policies]
    table = [(name, ms.mean(), np.quantile(ms, 0.99)) for name, ms in rows if len(ms)]
    return pd.DataFrame(table, columns=["policy", "ms", "ms99"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Regret on datasets that meta-training has not seen.")
    choices = [entry.name for entry in (*CONTESTANTS, *RIVALS)]
    parser.add_argument("--policies", nargs="+", choices=choices, metavar="NAME", help="default: all of ours")
    parser.add_argument("--rivals", action="store_true", help="without names: all of other libraries")
    parser.add_argument("--folds", nargs="+", type=int, default=[0, 1, 2], choices=(0, 1, 2), metavar="K")
    parser.add_argument("--datasets", nargs="+", help="of these folds; default: all")
    parser.add_argument("--seeds", type=int, default=5, help="searches of each policy that draws anything")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="simulated seconds of a search")
    parser.add_argument("--processes", type=int, default=available_cores(), help="searches replayed at once")
    parser.add_argument("--out", type=Path, default=Path("runs/search_quality"), help="folder of the work")
    parser.add_argument("--results", type=Path, help="folder of the tables to keep; default: OUT/results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
