"""`python -m qtt.run`: compose optimizer, search space, model hub and dataset, and search.

python -m qtt.run +experiment=quickstart
"""

import io
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.text import Text

from qtt.cli.configuration import config_directory, configured_errors_for_people, plain, prepare
from qtt.cli.interrupts import INTERRUPTED, TO_GO_ON, interruptible
from qtt.cli.invocation import command_for, typed_arguments
from qtt.cli.messages import FAULT
from qtt.cli.parts import space_over
from qtt.cli.run_names import run_directory
from qtt.cli.sweeps import Outcome, this_sweep
from qtt.cli.values import settled
from qtt.errors import ConfigError, EnvironmentFault, unknown
from qtt.evaluation.cluster.connection import load_ray
from qtt.evaluation.cluster.settings import Cluster
from qtt.evaluation.pool import worker_count
from qtt.evaluation.preflight import NOTHING_LOST, check_writable
from qtt.evaluation.spare import end_spare, start_early
from qtt.hub.model_hub import ModelHub
from qtt.runs.folder import SEARCH_SPACE, RunFolder
from qtt.runs.kept_models import INCUMBENT, WEIGHTS, KeptModel
from qtt.runs.record import RunRecord, dataset_warnings
from qtt.search.tuner import QuickTuner
from qtt.space.config_manager import ConfigManager
from qtt.space.constraints import Constraints, feasible
from qtt.statistics.certainty import Certainty, ties
from qtt.statistics.probes import BesideProbes
from qtt.support.announcements import announce
from qtt.support.files import write_json
from qtt.support.functions import function_named
from qtt.support.machine import on_gpu, trains_on_cpu
from qtt.tasks.contract import Task
from qtt.tasks.registry import load_task
from qtt.tracking.base import Summary
from qtt.types import Objective, TaskInfo

AUTO_HUB = "qtt.hub.surroundings.auto_hub"
"""Target of the configuration of the hub that depends on the machine."""

QUIET = ("--quiet", "-q")
"""Flags that stand for `quiet=true`."""


@interruptible(TO_GO_ON)
def main() -> None:
    """Entry point of `python -m qtt.run`."""
    sys.argv[1:] = with_quiet(sys.argv[1:])
    prepare("run")
    sweep = this_sweep()
    try:
        _app()
    finally:
        sweep.end()
    sys.exit(sweep.status)


def with_quiet(arguments: Sequence[str]) -> list[str]:
    """The command line as Hydra understands it: `--quiet` becomes `quiet=true`."""
    return ["quiet=true" if argument in QUIET else argument for argument in arguments]


@hydra.main(config_path=config_directory(), config_name="run", version_base="1.3")
def _app(config: DictConfig) -> None:
    settings = HydraConfig.get()
    with configured_errors_for_people():
        config = settled("run", config)
    directory = run_directory(config, settings.overrides.task, settings.runtime.choices)
    swept = settings.mode == RunMode.MULTIRUN
    search_here = partial(_search_and_show, config, directory, settings.runtime.choices, alone=not swept)
    if swept:
        this_sweep().run(settings.overrides.task, directory, search_here)
    elif status := search_here().status:
        sys.exit(status)


def _search_and_show(
    config: DictConfig, directory: Path, choices: Mapping[str, Any], *, alone: bool
) -> Outcome:
    with configured_errors_for_people():
        summary = search(config, directory, choices)
        test = {} if summary.interrupted or summary.fault else _evaluate_unless_interrupted(config, summary)
    show(summary, test, config, alone=alone)
    if summary.interrupted:
        return Outcome(INTERRUPTED, "interrupted")
    if summary.fault is not None:
        return Outcome(FAULT, summary.fault)
    if summary.incumbent is None:
        return Outcome(1, "no pipeline has finished an epoch")
    figures = {config.metric: summary.incumbent.score, **test}
    return Outcome(0, ", ".join(f"{name} {value:.4f}" for name, value in figures.items()))


def show(summary: Summary, test: Mapping[str, float], config: DictConfig, *, alone: bool = True) -> None:
    """Print the winner with its test figures, where everything is, and the next command to type.

    alone: no search of a sweep, which has a next command of its own.
    """
    lines = [Text(f"Results are in {summary.run_dir}")]
    best = summary.incumbent
    if best is None:
        lines.insert(0, Text(f"No pipeline has finished an epoch.{_why_none(summary)}"))
    else:
        scored = Certainty.of(best).beside(best.score, "validation examples")
        winner = f"Best pipeline: #{best.config_id} at epoch {best.fidelity}, {config.metric} {scored}"
        if tied := len(ties(summary.history)):
            winner += f"; ties within that error: {tied}"
        beside = BesideProbes.of(summary.history, summary.candidates)
        probes = [] if beside is None else [Text(beside.in_words(summary.candidates))]
        lines = [
            *probes,
            Text(winner),
            *(Text(f"{k}: {v:.4f}", style="bold") for k, v in test.items()),
            *lines,
        ]
    lines += [Text.assemble(("Mind: ", "yellow"), warning) for warning in dataset_warnings(summary.run_dir)]
    unfinished = summary.interrupted or summary.fault is not None
    arguments = shlex.join(typed_arguments()) if unfinished else _longer(typed_arguments(), config)
    if alone:
        lines.append(Text(f"To search on: {command_for('run')} {arguments}"))
    console = Console(highlight=False)
    for line in lines:
        console.print(line, soft_wrap=True)


def _why_none(summary: Summary) -> str:
    if summary.interrupted or summary.fault is not None or summary.history.failed:
        return ""
    return (
        " An epoch of the first one takes longer than the budget: give more of it, fewer images, or smaller "
        "models (constraints.max_params=2M, model_hub=lite or tiny)."
    )


def search(config: DictConfig, directory: Path, choices: Mapping[str, Any] | None = None) -> Summary:
    """Build the parts that `config` names and run the search in `directory`.

    choices: option that was chosen of each config group, for reports to call it by.
    """
    kind = load_task(config.objective.task)
    _refuse_early(config, kind, directory)
    if kind.imports and config.objective.function is None and _trains_alone(config):
        start_early(kind.imports)
    try:
        return _search(config, directory, kind, choices or {})
    finally:
        end_spare()


def _trains_alone(config: DictConfig) -> bool:
    """Whether there is one training process."""
    device = OmegaConf.select(config, "objective.settings.device")
    here = config.executor.isolation == "process" and cluster_of(config) is None
    return here and worker_count(config.executor.workers, device) == 1


def cluster_of(config: DictConfig) -> Cluster | None:
    """The cluster that the workers are on; None: they are on this machine.

    Raises:
        ConfigError: workers that would take nothing of it, or a share that cannot be had.
    """
    if "address" not in config.executor:
        return None
    wanted = config.executor
    return Cluster(wanted.address, wanted.resources.cpu, wanted.resources.gpu, wanted.shared)


def _search(config: DictConfig, directory: Path, kind: Task, choices: Mapping[str, Any]) -> Summary:
    dataset = instantiate(config.dataset)
    task, metafeatures = kind.describe(dataset, val_fraction=config.val_fraction, seed=config.seed)
    told = surveyed(kind, task, config.quiet)
    task = _with_settings(task, config)
    if config.budget.seconds is not None:
        task, metafeatures = kind.paced(task, metafeatures, config.budget.seconds, _begun(directory))
    objective = objective_of(config, kind)
    if objective is kind:
        kind.check_metric(task)
    with redirect_stdout(io.StringIO()) if config.quiet else nullcontext():  # it says what weights it has
        hub = hub_of(config, directory, metafeatures.train_images, task.image_size)
        hub, needs = constrained(hub, kind, task, config)
        manager = space_over(hub, config)
        optimizer = instantiate(config.optimizer)(config_manager=manager, seed=config.seed)
    optimizer.setup(config.num_candidates, metafeatures)
    if objective is kind:
        kind.check(optimizer.candidates, task)
    tuner = QuickTuner(
        optimizer,
        objective,
        directory,
        trackers=list(instantiate(config.tracker).values()),
        isolation=config.executor.isolation,
        workers=config.executor.workers,
        cluster=cluster_of(config),
        disk_quota_gb=config.disk_quota_gb,
        patience=config.patience_s,
        hang_factor=config.hang_factor,
        hang_floor=config.hang_floor_s,
        files={
            "config.yaml": OmegaConf.to_yaml(config, resolve=True),
            **told,
            **needs,
            **_chosen(choices),
        },
    )
    return tuner.run(task, config.budget.seconds, config.budget.evaluations, retry_failed=config.retry_failed)


def _refuse_early(config: DictConfig, kind: Task, directory: Path) -> None:
    """Refuse what no look at the data is needed for, which may take minutes.

    Raises:
        ConfigError: an unknown metric, or a cluster without Ray.
        EnvironmentFault: a run folder that cannot be written to, or a GPU where there is none.
    """
    if config.objective.function is None and config.metric not in kind.metrics:
        raise ConfigError(unknown("metric", config.metric, kind.metrics))
    check_writable(directory.absolute())
    if cluster_of(config) is not None:
        load_ray()
        return
    device = str(config.objective.settings.get("device"))
    if on_gpu(device) and trains_on_cpu("auto"):
        raise EnvironmentFault(
            f"objective.settings.device={device} (trainer=cuda), but there is no GPU here. Use trainer=auto "
            f"or trainer=cpu. {NOTHING_LOST}"
        )


def surveyed(kind: Task, task: TaskInfo, quiet: bool) -> dict[str, str]:
    """Print what the dataset holds; returns it as a file of the run folder, where the task knows it."""
    found = kind.survey(task)
    if found is None:
        return {}
    if not quiet:
        console = Console(highlight=False)
        for line in found.lines:
            console.print(Text(line), soft_wrap=True)
        for warning in found.warnings:
            console.print(Text.assemble(("Warning: ", "yellow"), warning), soft_wrap=True)
    return {"dataset.json": json.dumps(found.to_dict(), indent=2, ensure_ascii=False) + "\n"}


def objective_of(config: DictConfig, kind: Task) -> Task | Objective:
    """The task, or the function that is to train in place of its objective.

    Raises:
        ConfigError: the function cannot be imported.
    """
    name = config.objective.function
    return kind if name is None else function_named(name, "objective.function")


def hub_of(config: DictConfig, directory: Path, images: int, image_size: int | None) -> ModelHub | None:
    """The hub that the configuration names; of a search that goes on, `auto` is what it was at the beginning.

    directory: of the run. images: that it trains on. image_size: their side in pixels.
    """
    auto = config.model_hub.get("_target_") == AUTO_HUB
    begun = directory / SEARCH_SPACE
    if auto and begun.exists():
        kept = ConfigManager.from_json(begun.read_text(encoding="utf-8")).hub
        count = 0 if kept is None else len(kept)
        announce(f"Models: the {count} that this search began with; another run_dir=DIR looks around anew")
        return kept
    facts = {"images": images, "image_size": image_size} if auto else {}
    hub: ModelHub | None = instantiate(config.model_hub, **facts)
    return hub


def constrained(
    hub: ModelHub | None, kind: Task, task: TaskInfo, config: DictConfig
) -> tuple[ModelHub | None, dict[str, str]]:
    """The models that keep the constraints, and what all of them need as a file of the run folder.

    Raises:
        ConfigError: impossible bounds, a task that knows no footprints, no models, or none that keeps the
            bounds.
    """
    constraints = Constraints.from_mapping(plain(config.constraints))
    if not constraints.bounds:
        return hub, {}
    if hub is None:
        raise ConfigError("constraints bound the models of a hub, and model_hub=none has none.")
    found = kind.footprints(hub.cards, task, latency=constraints.max_latency_ms is not None)
    allowed = feasible(hub, found, constraints)
    bounds = " and ".join(f"{name}={value:g}" for name, value in constraints.bounds.items())
    message = f"{len(allowed)} of {len(hub)} models keep {bounds}: {', '.join(allowed.names)}"
    Console(highlight=False).print(message, soft_wrap=True)
    needs = {name: footprint.to_dict() for name, footprint in found.items()}
    return allowed, {"footprints.json": json.dumps(needs, indent=2) + "\n"}


def evaluate(config: DictConfig, summary: Summary) -> dict[str, float]:
    """Figures of the incumbent on the test split, where there are both; kept in `incumbent/test.json`."""
    folder = summary.run_dir / INCUMBENT
    if summary.incumbent is None or not (folder / WEIGHTS).is_file():
        return {}
    record = RunRecord.load(summary.run_dir)
    figures = load_task(config.objective.task).evaluate(KeptModel.read(folder), record.task)
    write_json(folder / "test.json", figures)
    return figures


def _evaluate_unless_interrupted(config: DictConfig, summary: Summary) -> dict[str, float]:
    """The search is over and kept: Ctrl-C now means that no one waits for test figures."""
    try:
        return evaluate(config, summary)
    except KeyboardInterrupt:
        return {}


def _with_settings(task: TaskInfo, config: DictConfig) -> TaskInfo:
    weights_dir = None if config.weights_dir is None else Path(config.weights_dir).absolute()
    settings: dict[str, Any] = plain(config.objective.settings)
    return replace(task, weights_dir=weights_dir, settings=settings, metric=config.metric)


def _begun(directory: Path) -> Mapping[str, Any] | None:
    """Settings of the search that goes on in a run folder; None: it begins there."""
    return RunFolder(directory).task().settings if (directory / "task.json").exists() else None


def _chosen(choices: Mapping[str, Any]) -> dict[str, str]:
    """The chosen options as a file of the run folder; Hydra's own groups are of no interest."""
    named = {group: str(option) for group, option in choices.items() if not group.startswith("hydra/")}
    return {"choices.json": json.dumps(named, indent=2) + "\n"} if named else {}


def _longer(arguments: list[str], config: DictConfig) -> str:
    """The command line with twice the budget, which continues this run."""
    bounds = {name: value for name, value in config.budget.items() if value is not None}
    kept = [a for a in arguments if not a.startswith(tuple(f"budget.{name}=" for name in bounds))]
    return shlex.join([*kept, *(f"budget.{name}={2 * value:g}" for name, value in bounds.items())])


if __name__ == "__main__":
    main()
