"""Searches with several workers, replayed on datasets that their meta-training has not seen.

python experiments/parallel/replay_workers.py [--policies NAME …] [--datasets NAME …] [--seeds N]
    [--seconds S] [--processes N] [--out DIR] [--results DIR]

With k workers a search has S/k seconds, so that all have the same worker-seconds. Interrupted, the same
command goes on.
  RESULTS/regret.csv   policy, workers, dataset, seed, seconds, regret: a row for each epoch that changed the
                       regret; seconds are of the wall clock
"""

import argparse
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import track

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "search_quality"))

from folds import META, Contestant, changes
from protocol import Study

from qtt.benchmarking.policies import Policy
from qtt.benchmarking.regret import SECONDS
from qtt.benchmarking.replay import Replay
from qtt.benchmarking.runner import Job, Problem, ReplayStore, run_jobs
from qtt.benchmarking.tables import Comparison
from qtt.support.files import write_text
from qtt.support.machine import available_cores

OUT, RESULTS = Path("runs/parallel"), Path(__file__).parent / "results"

COLUMNS = ["policy", "workers", "dataset", "seed", "seconds", "regret"]
WORKERS = (1, 2, 4, 8, 16, 32)

KNOWN = "everything known"
"""Not a policy: the floor."""

POLICIES = {
    Contestant("quick", META): WORKERS,
    Contestant("quick_mean", f"{META} optimizer.fantasies=mean"): WORKERS[1:],
    Contestant("quick_draw", f"{META} optimizer.fantasies=draw"): (8, 32),
    Contestant("asha", "optimizer=asha", seeded=True): WORKERS,
    Contestant("random", "optimizer=random", seeded=True): WORKERS,
}
"""Policies, and the numbers of workers with which each searches; with one worker nothing is pending."""


def main() -> None:
    """Replay what is missing, and write all of it."""
    arguments = _arguments()
    console = Console(highlight=False, soft_wrap=True)
    store = ReplayStore(arguments.out / "replays.jsonl")
    arguments.out.mkdir(parents=True, exist_ok=True)
    searches = list(_searches(arguments, console))
    replays = store.read()
    missing = list({job.key: job for _, job in searches if job.key not in replays}.values())
    done = run_jobs(missing, arguments.processes)
    shown = Console(stderr=True)
    for job, replay in track(done, "replaying", len(missing), console=shown, disable=not missing):
        store.append(job, replay)
        replays[job.key] = replay
    parts = [_changes(policy, job, replays[job.key]) for policy, job in searches]
    problems = {job.problem.curves.dataset: job.problem for _, job in searches}
    for problem, workers in product(problems.values(), WORKERS):
        known = Job(Policy(KNOWN, ""), problem, 0, arguments.seconds / workers, workers)
        parts.append(_changes(KNOWN, known, everything_known(problem, known.limit)))
    arguments.results.mkdir(parents=True, exist_ok=True)
    write_text(arguments.results / "regret.csv", pd.concat(parts).to_csv(index=False, float_format="%.5f"))
    console.print(f"{len(searches)} searches are in {arguments.results / 'regret.csv'}")


def everything_known(problem: Problem, limit: float) -> Replay:
    """What nobody can beat: at each moment the best score of all pipelines, had each begun at once."""
    curves = problem.curves
    seconds, scores = np.cumsum(curves.seconds, axis=1).ravel(), curves.scores.ravel()
    order = [i for i in np.argsort(seconds, kind="stable") if seconds[i] <= limit]
    nothing = np.zeros(0)
    return Replay(seconds[order], scores[order], nothing.astype(np.int64), nothing)


def _changes(policy: str, job: Job, replay: Replay) -> pd.DataFrame:
    """Rows of regret.csv of one search."""
    name = policy, job.problem.curves.dataset, job.seed
    extremes = {name[1]: job.problem.extremes}
    one = Comparison((policy,), (name[1],), (job.seed,), {name: replay}, extremes, job.limit)
    return changes(one).assign(workers=job.workers)[COLUMNS]


def _searches(arguments: argparse.Namespace, console: Console) -> Iterator[tuple[str, Job]]:
    """Name of the policy and the job of each search."""
    study = Study(arguments.out, artifacts={"all": ()})
    contestants = {entry: counts for entry, counts in POLICIES.items() if entry.name in arguments.policies}
    for fold in range(len(study.folds)):
        problems: list[Problem] = study.problems(fold, arguments.datasets)
        artifacts = {"all": study.artifact(fold, "all", console)} if problems else {}
        for contestant, counts in contestants.items() if problems else ():
            policy = contestant.policy(artifacts)
            seeds = range(arguments.seeds if contestant.seeded else 1)
            for problem, workers, seed in product(problems, counts, seeds):
                yield contestant.name, Job(policy, problem, seed, arguments.seconds / workers, workers)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Searches with several workers, replayed.")
    names = [entry.name for entry in POLICIES]
    parser.add_argument("--policies", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--datasets", nargs="+", help="default: all 18")
    parser.add_argument("--seeds", type=int, default=3, help="searches of each policy that draws anything")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="simulated worker-seconds of a search")
    parser.add_argument("--processes", type=int, default=available_cores(), help="searches replayed at once")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the work")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the tables to keep")
    return parser.parse_args()


if __name__ == "__main__":
    main()
