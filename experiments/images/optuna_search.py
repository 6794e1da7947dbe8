"""Optuna over the same space and objective as qtt: TPE with Hyperband's pruner, epoch by epoch.

Space, settings and training are those of `python -m qtt.run +experiment=image_folder`: every pipeline is
trained by `finetune_script`, each of whose epochs the pruner is told. `bootstrap_count=3` because it would
otherwise let the first trial of each bracket, which it can compare with nothing, run to its 50th epoch.
Brackets first prune at 1, 3, 9 and 27 epochs, so that one trial may still take most of a minute's budget.
"""

import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna
from hydra.utils import instantiate
from points import IMAGE_SIZE, Clock, Job, Point, answer, job_of, parser

from qtt.cli.configuration import composed, plain
from qtt.cli.parts import space_over
from qtt.evaluation.memory import keep_memory
from qtt.finetune.cv.classification.evaluate import evaluate_model
from qtt.finetune.cv.classification.script import finetune_script
from qtt.runs.kept_models import KeptModel
from qtt.space.config_manager import ConfigManager
from qtt.space.domains import Range
from qtt.tasks.registry import load_task
from qtt.types import Candidates, Result, TaskInfo, Trial

PRUNER = {"min_resource": 1, "reduction_factor": 3, "bootstrap_count": 3}


def search(job: Job) -> Iterator[Point]:
    """A point for each network that was the best on validation so far."""
    manager, task = problem(job)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=job.seed),
        pruner=optuna.pruners.HyperbandPruner(max_resource=task.max_fidelity, **PRUNER),
    )
    objective = Objective(manager, task, job.clock, job.seconds, job.work / "kept")
    study.optimize(objective, timeout=job.seconds - job.clock.seconds, catch=(Exception,))
    for seconds, model in objective.kept:
        test = evaluate_model(model, task)["test accuracy"]
        what = f"{model.config['model']} #{model.config_id} epoch {model.fidelity}"
        yield Point(seconds, model.score, test, what)


def problem(job: Job) -> tuple[ConfigManager, TaskInfo]:
    """The space and the task as `python -m qtt.run` makes them."""
    overrides = [
        *("+experiment=image_folder", f"dataset.path='{job.images}'", f"seed={job.seed}"),
        *("model_hub=folder", f"weights_dir='{job.hub}'", "trainer=cpu"),
        f"objective.settings.image_size={IMAGE_SIZE}",
    ]
    config, _ = composed("run", overrides)
    kind = load_task(config.objective.task)
    task, _ = kind.describe(instantiate(config.dataset), val_fraction=config.val_fraction, seed=config.seed)
    hub = instantiate(config.model_hub)
    settings: dict[str, Any] = plain(config.objective.settings)
    task = replace(
        task, models=hub.cards, weights_dir=job.hub, settings=settings, work_dir=job.work / "pipelines"
    )
    return space_over(hub, config), task


def suggest(trial: optuna.Trial, manager: ConfigManager) -> dict[str, Any]:
    """A pipeline: a choice for each hyperparameter that takes part, by its position among the options."""
    values: dict[str, Any] = {}
    for name in manager.space:  # parents come before their children
        conditions: Any = manager.space.parent_conditions_of[name]
        if all(c.parent.name in values and c.satisfied_by_value(values) for c in conditions):
            values[name] = _suggest(trial, name, manager.domains[name])
    return dict(manager.validate(values))


def _suggest(trial: optuna.Trial, name: str, domain: Any) -> Any:
    if isinstance(domain, Range):
        draw = trial.suggest_int if domain.integer else trial.suggest_float
        return draw(name, domain.lower, domain.upper, log=domain.log)
    last = len(domain.values) - 1
    ordered = domain.ordered
    place = trial.suggest_int(name, 0, last) if ordered else trial.suggest_categorical(name, range(last + 1))
    return domain.values[place]


@dataclass
class Objective:
    """Trains what Optuna suggests, until it is pruned or the time is over.

    kept: the best networks so far, with the clock's seconds.
    """

    manager: ConfigManager
    task: TaskInfo
    clock: Clock
    seconds: float
    out: Path
    kept: list[tuple[float, KeptModel]] = field(default_factory=list)

    def __call__(self, trial: optuna.Trial) -> float:
        """Best validation accuracy of the pipeline's epochs."""
        config = suggest(trial, self.manager)
        task = replace(self.task, best_score=self.kept[-1][1].score if self.kept else None)
        best = -math.inf
        try:
            for result in finetune_script(Trial(trial.number, config, task.max_fidelity), task):
                best = max(best, result.score)
                self._keep(result, config)
                trial.report(result.score, result.fidelity)
                if self.clock.seconds >= self.seconds or trial.should_prune():
                    raise optuna.TrialPruned
        finally:
            folder = task.pipeline_dir(trial.number)
            assert folder is not None
            shutil.rmtree(folder, ignore_errors=True)
        return best

    def _keep(self, result: Result, config: dict[str, Any]) -> None:
        """Take the network of an epoch, if it is better than all before."""
        if self.kept and result.score <= self.kept[-1][1].score:
            return
        weights = self.task.weights_file(result.config_id, result.fidelity)
        assert weights is not None
        folder = self.out / f"{len(self.kept):04d}"
        folder.mkdir(parents=True)
        one = replace(result, config_id=0)
        candidates = Candidates((config,), self.task.models)
        model = KeptModel.of(folder, one, candidates, self.task.class_names)
        model.take(weights)
        self.kept.append((self.clock.seconds, replace(model, config_id=result.config_id)))


if __name__ == "__main__":
    keep_memory()
    answer(search, job_of(parser(__doc__).parse_args()))
