"""`python -m qtt.benchmark`: compare optimizers on recorded learning curves.

python -m qtt.benchmark table=DIR policies=[quick,random] seeds=5 out=DIR
"""

import shlex
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import hydra
from filelock import FileLock, Timeout
from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from qtt.artifacts.pretrained import COLD
from qtt.benchmarking.page import benchmark_page
from qtt.benchmarking.plots import write_plots
from qtt.benchmarking.policies import Policy
from qtt.benchmarking.replay import Replay
from qtt.benchmarking.runner import Job, Problem, ReplayStore, run_jobs
from qtt.benchmarking.tables import Comparison, write_tables
from qtt.benchmarking.view import summary_table
from qtt.benchmarking.wording import counted
from qtt.cli.configuration import config_directory, configured_errors_for_people, plain, prepare
from qtt.cli.interrupts import INTERRUPTED, TO_GO_ON, interruptible
from qtt.cli.invocation import command_for, python_command, typed_arguments
from qtt.cli.values import settled
from qtt.curves.table import CurveTable, DatasetCurves
from qtt.errors import ConfigError, unknown
from qtt.hub.model_hub import ModelHub
from qtt.support.files import write_text
from qtt.support.machine import available_cores
from qtt.types import Candidates, ModelCard

PAGE = "benchmark.html"

BUILT_IN = ("random", "asha", "quick")
"""Policies worth comparing, as the next command suggests."""


@interruptible(TO_GO_ON)
def main() -> None:
    """Entry point of `python -m qtt.benchmark`."""
    prepare("benchmark")
    _app()


@hydra.main(config_path=config_directory(), config_name="benchmark", version_base="1.3")
def _app(config: DictConfig) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    with configured_errors_for_people():
        config = settled("benchmark", config)
        try:
            comparison, out = compare(config, console)
        except KeyboardInterrupt:
            console.print("Interrupted; what was finished is kept, and the same command goes on.")
            sys.exit(INTERRUPTED)
    console.print(summary_table(comparison))
    page = out / PAGE
    for line in (
        f"Tables and plots are in {out}",
        f"The page that shows them is {page}",
        f"To look at it: {python_command()} -m webbrowser {page.absolute().as_uri()}",
    ):
        console.print(Text(line), soft_wrap=True)
    console.print(Text(_next_command(config, comparison)), soft_wrap=True)


def compare(config: DictConfig, console: Console) -> tuple[Comparison, Path]:
    """Run what `config` asks for and `out` does not hold yet, and write tables, plots and a page there."""
    table = CurveTable.load(Path(config.table))
    policies = resolve_policies(plain(config.policies), config.weights)
    seeds = _seeds(plain(config.seeds))
    hub = None if config.hub is None else ModelHub.load(str(config.hub))
    problems = load_problems(table, plain(config.datasets), hub)
    limit = float(config.seconds)
    if not 0 < limit < float("inf"):
        raise ConfigError(f"seconds must be positive; got {config.seconds}.")
    workers = _workers(plain(config.workers))
    jobs = [
        Job(policy, problem, seed, limit, count)
        for problem, seed, policy, count in product(problems, seeds, policies, workers)
    ]
    processes = available_cores() if config.processes is None else int(config.processes)
    out = Path(config.out or Path("runs") / f"benchmark-{Path(config.table).resolve().name}")
    out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out / ".lock", timeout=0):
            replays = _replay(
                jobs, processes, ReplayStore(out / "replays.jsonl"), bool(config.fresh), console
            )
            comparison = Comparison(
                policies=tuple(dict.fromkeys(job.label for job in jobs)),
                datasets=tuple(problem.curves.dataset for problem in problems),
                seeds=tuple(seeds),
                replays={job.name: replays[job.key] for job in jobs},
                extremes={problem.curves.dataset: problem.extremes for problem in problems},
                limit=limit,
            )
            write_tables(comparison, out)
            write_plots(comparison, out)
            write_text(out / PAGE, benchmark_page(comparison, str(config.table), _settings(config)))
    except Timeout as error:
        raise ConfigError(f"Another benchmark writes to {out}. Wait for it, or name another out.") from error
    return comparison, out


def resolve_policies(names: str | Sequence[str], weights: str | None) -> list[Policy]:
    """Policies by name in `conf/optimizer`, or by import path; the latter are named by their last part.

    Raises:
        ConfigError: unknown names, two policies of one name, or weights without `quick`.
    """
    names = [names] if isinstance(names, str) else list(names)
    if not names:
        raise ConfigError("policies is empty; name at least one, for instance policies=[random].")
    known = GlobalHydra.instance().config_loader().get_group_options("optimizer")
    policies = []
    for name in names:
        if name == "quick" and weights not in (None, COLD):
            settings = {"weights": str(weights)}
            policies.append(Policy(name, "qtt.artifacts.pretrained.quick_tune", settings))
        elif name in known:
            config: dict[str, Any] = plain(compose("run", [f"optimizer={name}"]).optimizer)
            policies.append(Policy.from_config(name, config))
        elif "." in name:
            policies.append(Policy(name.rpartition(".")[2], name))
        else:
            hint = " Your own is named by its import path: my_module.MyOptimizer."
            raise ConfigError(unknown("policy", name, known) + hint)
    labels = [policy.name for policy in policies]
    if len(set(labels)) < len(labels):
        raise ConfigError(f"policies must have different names; got {', '.join(labels)}.")
    if weights is not None and "quick" not in labels:
        raise ConfigError("weights are for the policy 'quick'; add it to policies, or leave weights out.")
    return policies


def load_problems(table: CurveTable, datasets: Sequence[str] | None, hub: ModelHub | None) -> list[Problem]:
    """The datasets to search, with the cards of their models where there is a hub.

    Raises:
        ConfigError: a dataset that the table lacks, one without candidates, or a model that the hub lacks.
    """
    for name in datasets or ():
        if name not in table.datasets:
            raise ConfigError(unknown("dataset", name, table.datasets))
    problems = []
    for name in table.datasets if datasets is None else datasets:
        curves = table.curves(name)
        if not curves.lengths.any():
            raise ConfigError(f"Dataset {name} has no usable runs; name others by datasets=[…].")
        candidates = Candidates(curves.configs, () if hub is None else _cards(curves, hub))
        problems.append(Problem(curves, table.metafeatures(name), candidates))
    return problems


def _cards(curves: DatasetCurves, hub: ModelHub) -> tuple[ModelCard, ...]:
    models = {str(config.get("model")) for config in curves.configs}
    strangers = sorted(models - set(hub.names))
    if strangers:
        raise ConfigError(
            f"Hub '{hub.name}' has no model '{strangers[0]}', which dataset {curves.dataset} names. "
            "Choose another hub, or hub=null where no policy looks at models."
        )
    return tuple(card for card in hub if card.name in models)


def _replay(
    jobs: Sequence[Job], processes: int, store: ReplayStore, fresh: bool, console: Console
) -> dict[str, Replay]:
    """All replays by key, taken from the store or run now."""
    replays = {} if fresh else store.read()
    missing = [job for job in jobs if job.key not in replays]
    kept = len(jobs) - len(missing)
    if kept:
        console.print(f"{kept} of {len(jobs)} searches are kept from before; fresh=true repeats them.")
    if missing:
        console.print(f"Replaying {counted(len(missing), 'search')}, {processes} at a time.")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    errors = Console(stderr=True)
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as progress:
        bar = progress.add_task("replays", total=len(missing))
        for job, result in run_jobs(missing, processes):
            store.append(job, result)
            replays[job.key] = result
            progress.advance(bar)
    return replays


def _seeds(seeds: int | Sequence[int]) -> list[int]:
    chosen = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    valid = all(isinstance(seed, int) and seed >= 0 for seed in chosen)
    if not (chosen and valid and len(set(chosen)) == len(chosen)):
        raise ConfigError(f"seeds must be a positive number of them, or different ones ≥ 0; got {seeds}.")
    return chosen


def _workers(workers: int | Sequence[int]) -> list[int]:
    counts = [workers] if isinstance(workers, int) else list(workers)
    valid = all(isinstance(count, int) and count > 0 for count in counts)
    if not (counts and valid and len(set(counts)) == len(counts)):
        raise ConfigError(f"workers must be a positive number, or different ones; got {workers}.")
    return counts


def _settings(config: DictConfig) -> list[tuple[str, str]]:
    """What the page says besides what was compared."""
    weights = [] if config.weights is None else [("weights of quick", str(config.weights))]
    counts = _workers(plain(config.workers))
    workers = [] if counts == [1] else [("workers", ", ".join(map(str, counts)))]
    return [("model hub", "none" if config.hub is None else str(config.hub)), *weights, *workers]


def _next_command(config: DictConfig, comparison: Comparison) -> str:
    """What to type to compare with the policies that are left, or else with more seeds."""
    given: str | list[str] = plain(config.policies)
    named = [given] if isinstance(given, str) else given
    more = [name for name in BUILT_IN if name not in named]
    what, name, value = "more seeds", "seeds", str(2 * len(comparison.seeds))
    if more:
        names = ",".join([*named, *more])
        what, name, value = "other policies", "policies", f"[{names}]"
    kept = [argument for argument in typed_arguments() if not argument.startswith((f"{name}=", "fresh="))]
    command = shlex.join([*kept, f"{name}={value}"])
    return f"To compare with {what}: {command_for('benchmark')} {command}"


if __name__ == "__main__":
    main()
