"""`python -m qtt.collect`: record learning curves of random pipelines on several datasets.

python -m qtt.collect datasets=[PATH,PATH] runs_per_dataset=20 epochs=10 out=DIR

DIR/table/              the curve table, written at the end of every call
DIR/journals/NAME.jsonl every epoch of a dataset's runs, in the order in which they finished
DIR/plans/NAME.json     the pipelines of a dataset
DIR/collection.json     what must stay the same when the collection is continued
DIR/pipelines/          checkpoints of runs under way
DIR/*.log               what was said
"""

import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import hydra
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.text import Text

from qtt.cli.configuration import config_directory, configured_errors_for_people, plain, prepare
from qtt.cli.interrupts import INTERRUPTED, TO_GO_ON, interruptible
from qtt.cli.invocation import command_for, typed_arguments
from qtt.cli.messages import FAULT, fail
from qtt.cli.parts import space_over
from qtt.cli.values import settled
from qtt.collecting.collector import Collector
from qtt.collecting.frames import to_frames
from qtt.collecting.plan import Plan, draw_pipelines, run_names
from qtt.collecting.progress import ProgressWatcher, overview
from qtt.collecting.runs import Limits, Run
from qtt.curves.writing import write_table
from qtt.data.subset_files import MANIFEST
from qtt.errors import ConfigError, EnvironmentFault
from qtt.evaluation import Evaluator
from qtt.evaluation.preflight import Preflight, check_writable, summary
from qtt.runs.environment import environment
from qtt.runs.folder import RunFolder
from qtt.space.config_manager import ConfigManager
from qtt.support.files import read_object, write_json, write_text
from qtt.support.functions import function_named
from qtt.support.machine import available_cores
from qtt.tasks.registry import load_task

FORMAT = 1


@interruptible(TO_GO_ON)
def main() -> None:
    """Entry point of `python -m qtt.collect`."""
    prepare("collect")
    _app()


@hydra.main(config_path=config_directory(), config_name="collect", version_base="1.3")
def _app(config: DictConfig) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    complete, fault = False, None
    with configured_errors_for_people(), suppress(KeyboardInterrupt):
        config = settled("collect", config)
        try:
            complete = collect(config, console)
        except EnvironmentFault as error:
            fault = str(error)
    table = Path(config.out) / "table"
    lines = [f"Learning curves are in {table}"] if table.exists() else []
    if complete:
        lines.append(f"To replay searches on them: {command_for('benchmark')} table={table}")
    else:
        again = f"{command_for('collect')} {shlex.join(typed_arguments())}"
        lines.append(
            f"To go on: {again}" if fault else f"Interrupted; everything finished is kept. To go on: {again}"
        )
    for line in lines:
        console.print(Text(line), soft_wrap=True)
    if fault is not None:
        fail(fault, FAULT)
    if not complete:
        sys.exit(INTERRUPTED)


def collect(config: DictConfig, console: Console) -> bool:
    """Record what `config` asks for and `out` does not hold yet; False where that was interrupted.

    Raises:
        ConfigError: impossible settings, or a folder that holds another collection.
        DatasetError: a dataset cannot be used.
        EnvironmentFault: data, weights, device, disk or memory are not there, or not again in time; what is
            finished is kept.
    """
    if config.workers < 1:
        raise ConfigError(f"workers must be at least 1; got {config.workers}.")
    limits = Limits(int(config.epochs), config.time_cap)
    if limits.epochs > config.horizon:
        raise ConfigError(
            f"epochs={config.epochs} lies beyond horizon={config.horizon}, where schedules end."
        )
    out = Path(config.out).absolute()
    check_writable(out)
    with RunFolder(out) as folder:
        hub = instantiate(config.model_hub)
        manager = space_over(hub, config)
        identity = _identity(config, manager)
        folder.agree("collection.json", identity)
        plans = [
            _plan(config, manager, dataset, folder, identity)
            for dataset in _dataset_paths(plain(config.datasets)).items()
        ]
        write_json(out / "environment.json", environment())
        write_text(out / "config.yaml", OmegaConf.to_yaml(config, resolve=True))
        collector = Collector(plans, out / "journals", limits)
        runs = collector.pending(int(config.runs_per_dataset), bool(config.retry_failed))
        _set_threads(config.threads, config.workers)
        complete = False
        try:
            with ProgressWatcher(console, runs, limits.epochs) as watcher:
                objective = function_named(_function(config), "objective.function")
                collector.collect(
                    runs,
                    objective,
                    int(config.workers),
                    out,
                    watcher,
                    patience=config.patience_s,
                    prepare=partial(_prepare, config, runs, console, watcher),
                )
            complete = True
        except KeyboardInterrupt:
            pass
        finally:
            source = config.source or f"python -m qtt.collect, qtt {environment()['packages']['qtt']}"
            frames = to_frames(plans, collector.ended())
            write_table(
                out / "table", frames, source=source, licence=config.licence, notes=plain(config.notes)
            )
        console.print(overview(collector.runs, limits.epochs))
    return complete


def _prepare(
    config: DictConfig, runs: Sequence[Run], console: Console, watcher: ProgressWatcher, evaluator: Evaluator
) -> None:
    """See to what the runs need before the first one, dataset by dataset, and say so in a line.

    Raises:
        EnvironmentFault: something is missing.
    """
    task = load_task(config.objective.task) if config.objective.function is None else None
    found: list[tuple[str, ...]] = []
    plans = {run.plan.name: run.plan for run in runs}
    for plan in plans.values():
        preflight = Preflight(task, plan.candidates, plan.task, Path(config.out).absolute())
        found.append(preflight.run(evaluator, watcher.preparing))
    watcher.preparing("")
    if len(found) == 1:
        facts: Sequence[str] = found[0]
    else:  # of several datasets what all of them have in common
        facts = [f"{len(found)} datasets", *(fact for fact in found[-1] if all(fact in one for one in found))]
    console.print(Text(summary(facts)), soft_wrap=True)


def _function(config: DictConfig) -> str:
    """Who trains, as `package.module.name`."""
    return str(config.objective.function or load_task(config.objective.task).function)


def _identity(config: DictConfig, manager: ConfigManager) -> dict[str, Any]:
    """What a collection's curves depend on, beside the datasets."""
    return {
        "format": FORMAT,
        "objective": _function(config),
        "settings": plain(config.objective.settings),
        "seed": config.seed,
        "val_fraction": config.val_fraction,
        "horizon": config.horizon,
        "time_cap": config.time_cap,
        "space": json.loads(manager.to_json()),
    }


def _dataset_paths(paths: Any) -> dict[str, Path]:
    """Datasets by name; `*` in a path stands for all folders that match."""
    if not isinstance(paths, list) or not paths:
        raise ConfigError("datasets must be a list of image folders: datasets=[PATH,PATH].")
    named: dict[str, Path] = {}
    for path in [match for given in paths for match in _matches(Path(given).expanduser().absolute())]:
        if named.setdefault(path.name, path) != path:
            raise ConfigError(f"{named[path.name]} and {path} have the same name; rename one of them.")
    return named


def _matches(path: Path) -> list[Path]:
    if "*" not in str(path):
        return [path]
    matches = Path(path.anchor).glob(str(path.relative_to(path.anchor)))
    found = sorted(match for match in matches if match.is_dir())
    if not found:
        raise ConfigError(f"No folder matches {path}.")
    return found


def _plan(
    config: DictConfig,
    manager: ConfigManager,
    dataset: tuple[str, Path],
    folder: RunFolder,
    identity: Mapping[str, Any],
) -> Plan:
    """The runs on one dataset; those that an earlier, larger call planned stay planned."""
    name, path = dataset
    file = folder.path / "plans" / f"{name}.json"
    earlier = read_object(file)["configs"] if file.exists() else []
    count = max(int(config.runs_per_dataset), len(earlier))
    kind = load_task(config.objective.task)
    task, metafeatures = kind.describe(path, val_fraction=config.val_fraction, seed=config.seed)
    candidates = draw_pipelines(manager, count, config.seed, name)
    task = replace(
        task,
        models=candidates.models,
        max_fidelity=int(config.horizon),
        work_dir=folder.pipelines / name,
        weights_dir=None if config.weights_dir is None else Path(config.weights_dir).absolute(),
        settings=plain(config.objective.settings),
        best_score=sys.float_info.max,  # no epoch beats it: nobody wants the weights
    )
    if config.objective.function is None:
        kind.check(candidates, task)
    facts = read_object(path / MANIFEST) if (path / MANIFEST).is_file() else {}
    names = run_names(name, len(candidates), identity)
    plan = Plan(name, task, metafeatures, candidates, names, facts.get("set"), facts.get("domain"))
    data = plan.to_dict()
    folder.agree(f"plans/{file.name}", {**data, "configs": data["configs"][: len(earlier) or None]})
    write_json(file, data)  # which may be longer than before
    return plan


def _set_threads(threads: int | None, workers: int) -> None:
    """Say how many threads the training processes, which are still to be started, may use."""
    if threads is None and "OMP_NUM_THREADS" in os.environ:
        return
    os.environ["OMP_NUM_THREADS"] = str(threads or max(1, available_cores() // workers))


if __name__ == "__main__":
    main()
