"""Regret of the variants of Quick-Tune on datasets that their meta-training has not seen.

python experiments/ablations/replay_variants.py [--variants NAME …] [--datasets NAME …] [--seeds N]
    [--seconds S] [--out DIR] [--results DIR]

Meta-trains what is missing, replays what is missing, and enters it into RESULTS/regret.csv:
  variant, dataset, draw, seconds, regret: a row for each epoch that changed the regret
  draw: seed of the search, or the subset of models. Regret is normalised by all runs of the dataset.
Interrupted, the same command goes on.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from filelock import FileLock
from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "search_quality"))

from folds import changes
from protocol import Study
from variants import VARIANTS, Variant, by_name, hub_models, restricted, study_of

from qtt.benchmarking.policies import Policy
from qtt.benchmarking.regret import SECONDS
from qtt.benchmarking.replay import Replay
from qtt.benchmarking.runner import Job, Problem, ReplayStore
from qtt.benchmarking.tables import Comparison
from qtt.hub.model_hub import ModelHub
from qtt.support.files import write_text

OUT, RESULTS = Path("runs/ablations"), Path(__file__).parent / "results"
KEY = ["variant", "dataset", "draw"]


@dataclass(frozen=True)
class Search:
    """One search: of a variant on a dataset, with a draw; `whole` has all candidates of the dataset."""

    variant: str
    draw: int
    whole: Problem
    job: Job

    def rows(self, replay: Replay) -> pd.DataFrame:
        """What regret.csv holds of it."""
        name = (self.variant, self.whole.curves.dataset, self.draw)
        extremes = {name[1]: self.whole.extremes}
        one = Comparison((name[0],), (name[1],), (name[2],), {name: replay}, extremes, self.job.limit)
        return changes(one).rename(columns={"policy": "variant", "seed": "draw"})


def main() -> None:
    """Run what is asked for."""
    arguments = _arguments()
    console = Console(highlight=False, soft_wrap=True)
    study = Study(arguments.out)
    for variant in by_name(arguments.variants):
        done = []
        for search, replay in replays(variant, study, arguments, console):
            done.append(search.rows(replay))
            if len(done) == arguments.every:
                enter(done, arguments.results, arguments.out)
                done = []
        enter(done, arguments.results, arguments.out)


def replays(
    variant: Variant, study: Study, arguments: argparse.Namespace, console: Console
) -> Iterator[tuple[Search, Replay]]:
    """All searches of a variant, those first that were run before."""
    study.out.mkdir(parents=True, exist_ok=True)
    store = ReplayStore(study.out / f"{variant.name}.jsonl")
    known = store.read()
    draws = variant.draws if arguments.seeds is None else arguments.seeds
    for search in searches(variant, study, arguments.datasets, draws, arguments.seconds, console):
        if (replay := known.get(search.job.key)) is None:
            replay = search.job.run()
            store.append(search.job, replay)
            milliseconds = 1e3 * float(replay.decisions.sum())
            count = len(replay.decisions)
            console.print(f"{search.job.name} {search.draw}: {count} decisions, {milliseconds:.0f} ms")
        yield search, replay


def searches(
    variant: Variant,
    study: Study,
    datasets: Sequence[str] | None,
    draws: int,
    limit: float,
    console: Console,
) -> Iterator[Search]:
    """The searches of a variant, fold by fold; meta-trains what it needs."""
    for fold in range(len(study.folds)):
        problems = study.problems(fold, datasets)
        if not problems:
            continue
        policy = variant.policy(_artifact(variant, study, fold, console))
        for problem in problems:
            for draw in range(draws):
                yield _search(variant, policy, problem, draw, study, limit)


def _search(
    variant: Variant, policy: Policy, problem: Problem, draw: int, study: Study, limit: float
) -> Search:
    """In a hub of its own, where the variant has fewer models."""
    seen = problem
    if variant.models is not None:
        seen = restricted(problem, hub_models(ModelHub.load(study.hub).names, variant.models, draw))
    return Search(variant.name, draw, problem, Job(policy, seen, variant.seed(draw), limit))


def _artifact(variant: Variant, study: Study, fold: int, console: Console) -> Path | None:
    if not variant.training:
        return None
    there = study_of(fold, study, (variant.training,))
    return there.artifact(fold, f"trained_on_{variant.training}", console)


def enter(tables: Iterable[pd.DataFrame], results: Path, out: Path) -> None:
    """Put searches into RESULTS/regret.csv, in place of earlier ones; one command at a time."""
    new = list(tables)
    if not new:
        return
    results.mkdir(parents=True, exist_ok=True)
    path = results / "regret.csv"
    with FileLock(out / ".results.lock"):
        both = pd.concat([*([pd.read_csv(path)] if path.exists() else []), *new], ignore_index=True)
        replaced = both.set_index(KEY).index.isin(pd.concat(new).set_index(KEY).index)
        old = both[~replaced]
        merged = pd.concat([old, *new], ignore_index=True).sort_values(KEY, kind="stable")
        write_text(path, merged.to_csv(index=False, float_format="%.5f"))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Regret of variants of Quick-Tune.")
    names = [variant.name for variant in VARIANTS]
    parser.add_argument("--variants", nargs="+", choices=names, metavar="NAME", help="default: all")
    parser.add_argument("--datasets", nargs="+", help="default: all 18")
    parser.add_argument("--seeds", type=int, help="draws of each variant; default: 3 of hubs, else 1")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="simulated seconds of a search")
    parser.add_argument("--every", type=int, default=6, help="searches between two writes of the results")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of artifacts and replays")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of regret.csv")
    return parser.parse_args()


if __name__ == "__main__":
    main()
