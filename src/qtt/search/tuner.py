"""QuickTuner: a search, what it found, and what can be made of it."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

import pandas as pd
from rich.console import Console

from qtt.errors import ConfigError
from qtt.evaluation import make_evaluator
from qtt.evaluation.cluster.pool import make_cluster_workers
from qtt.evaluation.cluster.settings import Cluster
from qtt.evaluation.pool import Pool, make_pool
from qtt.evaluation.preflight import Preflight, check_writable, whose
from qtt.evaluation.process import import_path
from qtt.hub.model_hub import ModelHub
from qtt.optimizers.base import Optimizer
from qtt.runs.folder import SEARCH_SPACE, RunFolder
from qtt.runs.record import RunRecord
from qtt.search.final_training import FinalTraining, best_pipelines, kept_table
from qtt.search.loop import SearchLoop
from qtt.search.watchdog import Watchdog
from qtt.space.config_manager import ConfigManager
from qtt.statistics import pipeline_table
from qtt.statistics.fronts import cheapest
from qtt.support.clock import Clock, WallClock
from qtt.support.files import write_json, write_text
from qtt.tasks.contract import Task
from qtt.tasks.registry import load_task, task_name, task_of, task_of_objective
from qtt.tracking.base import Summary, Tracker
from qtt.tracking.console import ConsoleTracker
from qtt.tracking.csv import CsvTracker
from qtt.types import ACCURACY, Budget, Objective, TaskInfo

logger = logging.getLogger("qtt")

KEPT = {"isolation": str, "disk_quota_gb": float}
"""Settings of a search that `QuickTuner.load` takes over, and their kinds."""

MOST_GIGABYTES = 1e9
"""A bound that only tells numbers from nonsense."""


class QuickTuner:
    """Searches for the best pipeline within a budget (tool paper, section 3).

    optimizer: set up with its candidates; None where no search is wanted, as after `load`.
    objective: a task, whose objective it is, or a function that trains a pipeline until an epoch; see
        `qtt.types.Objective`. A function that belongs to a task brings it along (`qtt.tasks.objective_of`).
        None where nothing is to be trained, as after `load` of a search with a function of its own.
    path: run folder; a search with the same candidates and task in the same folder is resumed. Default: a
        folder under `runs/` named after the task and the candidates.
    trackers: who is told of the search; default: console and `trajectory.csv`.
    isolation: `process`, `inline` or `auto`; see `qtt.evaluation.make_evaluator`.
    workers: how many pipelines are trained at once, each in a process with a GPU of its own or its share of
        the processor cores; None: one for each GPU. A search goes on with any number of them.
    cluster: where the workers are, on the machines of a Ray cluster; None: on this one. With `workers` None
        there are as many as it has room for at the beginning.
    disk_quota_gb: bound on all checkpoints together, in 10⁹ bytes; None: no bound.
    patience: seconds to wait, in each step, for data, weights, device or disk to come back before a search
        stops; they count against the budget. Such faults of the world enter no pipeline's record.
    hang_factor, hang_floor: a step that takes more than `hang_floor` seconds, and more than `hang_factor`
        times what is expected of it, has hung: it is ended, and its pipeline fails. What is expected is known
        from the pipeline's own epochs and the optimizer's cost predictor; a step of which nothing is known
        gets `hang_factor * hang_floor` seconds. hang_factor None: steps take as long as they like.
    files: texts to keep in the run folder, by file name.

    Raises:
        ConfigError: an impossible `hang_factor` or `hang_floor`.
    """

    def __init__(
        self,
        optimizer: Optimizer | None,
        objective: Objective | Task | None,
        path: str | Path | None = None,
        *,
        trackers: Sequence[Tracker] | None = None,
        isolation: str = "auto",
        workers: int | None = 1,
        cluster: Cluster | None = None,
        disk_quota_gb: float | None = None,
        patience: float = 600.0,
        hang_factor: float | None = 20.0,
        hang_floor: float = 600.0,
        clock: Clock | None = None,
        files: Mapping[str, str] | None = None,
    ) -> None:
        self.optimizer = optimizer
        self.task = objective if isinstance(objective, Task | None) else task_of_objective(objective)
        self.objective = objective.objective if isinstance(objective, Task) else objective
        self.path = None if path is None else Path(path)
        self._trackers: Sequence[Tracker] = [ConsoleTracker(), CsvTracker()] if trackers is None else trackers
        self._isolation = isolation
        self._workers = workers
        self._cluster = cluster
        self._quota = None if disk_quota_gb is None else _bytes(disk_quota_gb)
        self._patience = patience
        self._watchdog = Watchdog(hang_factor, hang_floor)
        self._clock = clock or WallClock()
        self._files = dict(files or {})
        self._data: str | Path | None = None
        self.summary: Summary | None = None

    def run(
        self,
        task_info: TaskInfo | None = None,
        time_budget: float | None = None,
        evaluations: int | None = None,
        *,
        retry_failed: bool = False,
    ) -> Summary:
        """Search until the budget is spent, counting what earlier runs in the same folder spent.

        time_budget: wall-clock seconds; a step that is under way at the end is cut off.
        evaluations: number of finished epochs.
        retry_failed: ask pipelines again that failed earlier in the same folder, once their reason is mended.

        Raises:
            ConfigError: no budget, an optimizer without candidates, a metric that the task does not have, or
                a folder that holds another search.
            EnvironmentFault: data, weights, device, disk or memory are not as the search needs them; nothing
                is journaled.
            JournalError: the folder's journal is damaged.
        """
        budget = Budget(time_budget, evaluations)
        if self.optimizer is None:
            raise ConfigError(
                f"{self.path} was loaded without an optimizer. To search on, repeat the command or the "
                "script that began it, with a larger budget."
            )
        objective = self._to_train_with()
        candidates = self.optimizer.candidates
        hub = _hub(self.optimizer)
        task = _completed(task_info or TaskInfo(path=Path()), self.optimizer, hub)
        if self.task is not None:
            self.task.check_metric(task)
        path = (self.path or _default_path(self.optimizer, task)).absolute()
        check_writable(path)
        with RunFolder(path) as folder:
            device = task.settings.get("device")
            pool = self._pool(objective, folder.log, device)
            task = replace(task, work_dir=folder.pipelines, workers=len(pool.places))
            folder.claim(candidates, task, () if self.task is None else self.task.where_it_runs)
            for name, text in {**self._search_space(), **self._files}.items():
                write_text(folder.path / name, text)
            write_json(folder.path / "search.json", self._settings(task, budget))
            self.path = folder.path
            if retry_failed and (forgiven := folder.journal.forgive_failures()):
                logger.info("%d failures are forgotten, and their pipelines may be asked again.", forgiven)
            self.summary = SearchLoop(
                self.optimizer,
                pool,
                folder,
                task,
                budget,
                trackers=self._trackers,
                clock=self._clock,
                preflight=Preflight(
                    whose(self.task, objective), candidates, task, folder.path, self._cluster is not None
                ),
                quota=self._quota,
                watchdog=self._watchdog,
                patience=self._patience,
                advice=hub.advice if hub else "",
            ).run()
        return self.summary

    @classmethod
    def load(
        cls,
        run_dir: str | Path,
        objective: Objective | Task | None = None,
        *,
        data: str | Path | None = None,
        **settings: Any,
    ) -> Self:
        """A finished or interrupted search as its folder tells it, to look at and to finetune from.

        Args:
            run_dir: the run folder.
            objective: to finetune with; default: that of the search's task. A function that only the folder
                names is not imported: who trusts it passes it.
            data: where the dataset is now; default: where it was.
            settings: further arguments of `QuickTuner`.

        Raises:
            ConfigError: the folder is no run folder, or its task is not installed.
            JournalError: its journal is damaged.
        """
        record = RunRecord.load(run_dir, data)
        kept = {name: record.setting(name, kind) for name, kind in KEPT.items()}
        settings = {name: value for name, value in kept.items() if value is not None} | settings
        tuner = cls(None, objective or _task(record), record.path, **settings)
        tuner._data = data
        return tuner

    def _pool(self, objective: Objective, log: Path, device: str | None) -> Pool:
        if self._cluster is None:
            return make_pool(objective, log, self._isolation, self._workers, device)
        if self._isolation == "inline":
            raise ConfigError("Workers of a cluster train in processes of their own: isolation='process'.")
        return make_cluster_workers(objective, log, self._cluster, self._workers, device)

    def _to_train_with(self) -> Objective:
        """The objective.

        Raises:
            ConfigError: there is none; what the run folder says of it is named.
        """
        if self.objective is not None:
            return self.objective
        if self.path is None:
            raise ConfigError("There is nothing to train with: QuickTuner was given no objective.")
        told = RunRecord.load(self.path).settings.get("objective")
        named = f", as {told} for instance" if told else ""
        option = f", or with --objective {told} on the command line" if told else ""
        raise ConfigError(
            f"The search in {self.path} trained with a function of its own. A folder may name any code, so "
            f"nothing is imported that only it names. Give the function{named}, if you trust it: in "
            f"QuickTuner.load(run_dir, objective){option}."
        )

    def _search_space(self) -> dict[str, str]:
        """The space that the candidates come from, where the optimizer knows it."""
        manager = getattr(self.optimizer, "config_manager", None)
        return {SEARCH_SPACE: manager.to_json()} if isinstance(manager, ConfigManager) else {}

    def _settings(self, task: TaskInfo, budget: Budget) -> dict[str, Any]:
        """What `search.json` says."""
        return {
            "optimizer": type(self.optimizer).__name__,
            "objective": import_path(self._to_train_with()),
            **({} if self.task is None else {"task": self.task.name}),
            "isolation": self._isolation,
            "disk_quota_gb": None if self._quota is None else self._quota / 1e9,
            "weights_dir": None if task.weights_dir is None else str(task.weights_dir),
            "budget": asdict(budget),
        }

    def record(self) -> RunRecord:
        """All that the run folder holds.

        Raises:
            ConfigError: nothing was run yet.
        """
        if self.path is None or not (self.path / "task.json").exists():
            raise ConfigError("There is nothing to look at before a search. Call run() first.")
        return RunRecord.load(self.path, self._data)

    def statistics(self) -> pd.DataFrame:
        """Table of the evaluated pipelines, best first; see `qtt.statistics.pipeline_table`.

        Raises:
            ConfigError: nothing was run yet.
        """
        record = self.record()
        return pipeline_table(record.history, record.candidates)

    def finetune(
        self,
        k: int = 3,
        time_budget: float | None = None,
        *,
        pipelines: Sequence[int] | None = None,
        prefer: str | None = None,
        within: float = 0.01,
        console: Console | None = None,
    ) -> pd.DataFrame:
        """Train the best pipelines to the end of their schedules, from their checkpoints, and keep the best.

        Each one's best epoch on the validation images is kept in `finetuned/<config_id>`; interrupted or out
        of time, the same call goes on. See `qtt.search.final_training`.

        Args:
            k: how many, the best first.
            time_budget: seconds for all of them together; None: no limit.
            pipelines: config ids to train instead of the best, for instance some of
                `qtt.statistics.fronts.front`.
            prefer: take the cheapest pipelines of the front instead of the best, by `params`, `latency_ms` or
                `seconds`.
            within: how much lower in score these may be.
            console: where progress is shown; None: nowhere.

        Returns:
            All kept networks, the best first; see `qtt.search.final_training.kept_table`.

        Raises:
            ConfigError: nothing was run yet, no pipeline can be trained on, or the search had a function of
                its own that `load` was not given.
        """
        record = self.record()
        objective = self._to_train_with()
        if pipelines is not None:
            chosen = list(pipelines)
            record.check_pipelines(chosen)
        else:
            chosen = best_pipelines(record, k) if prefer is None else cheapest(record, prefer, within, k)
        with RunFolder(record.path) as folder:
            FinalTraining(
                folder,
                record.history,
                record.candidates,
                record.task_here(),
                make_evaluator(objective, folder.log, self._isolation),
                self._clock,
                time_budget,
                console,
                self._patience,
            ).run(chosen)
        return kept_table(record)

    def leaderboard(self, path_to_test_data: str | Path, *, ignore_unknown: bool = False) -> pd.DataFrame:
        """Every kept network on labelled examples, best first; for people, never used for choosing.

        What a reader must know of them (classes without any, unreadable files) is logged as warnings, and in
        `attrs["notes"]` of the table; recall by class of the network that validation chose is in
        `attrs["by_class"]`. Its columns are the task's; of images see
        `qtt.finetune.cv.classification.leaderboard`.

        Args:
            path_to_test_data: of images a folder of class folders, or one with such a folder `test`.
            ignore_unknown: leave out examples of classes that the search does not know.

        Raises:
            ConfigError: nothing was run yet, or no network was kept.
            DatasetError: there are no such examples, or unknown classes.
        """
        record = self.record()
        task = self.task or task_of(record)
        found = task.leaderboard(record, path_to_test_data, ignore_unknown=ignore_unknown)
        for note in found.notes:
            logger.warning("%s", note)
        found.table.attrs["notes"] = list(found.notes)
        if found.by_class is not None:
            found.table.attrs["by_class"] = found.by_class.to_dict("records")
        return found.table


def _bytes(gigabytes: float) -> int:
    """A disk quota in bytes.

    Raises:
        ConfigError: it is none.
    """
    if not 0 < gigabytes < MOST_GIGABYTES:
        raise ConfigError(f"disk_quota_gb must be above 0 and below {MOST_GIGABYTES:g}; got {gigabytes}.")
    return int(gigabytes * 1e9)


def _completed(task: TaskInfo, optimizer: Optimizer, hub: ModelHub | None) -> TaskInfo:
    """The task with what its pipelines must know of the search."""
    return replace(
        task,
        models=optimizer.candidates.models,
        max_fidelity=optimizer.max_fidelity,
        weights_dir=task.weights_dir or (hub.weights_dir if hub else None),
    )


def _hub(optimizer: Optimizer) -> ModelHub | None:
    """Where the models of the candidates come from, as far as the optimizer knows it."""
    hub = getattr(getattr(optimizer, "config_manager", None), "hub", None)
    return hub if isinstance(hub, ModelHub) else None


def _task(record: RunRecord) -> Task | None:
    """The installed task that a search trained with; None where it had a function of its own."""
    name = task_name(record)
    if name is None:
        return None
    task = load_task(name)
    return task if record.settings.get("objective") == import_path(task.objective) else None


def _default_path(optimizer: Optimizer, task: TaskInfo) -> Path:
    identity = json.dumps(
        [
            str(task.path),
            task.seed,
            type(optimizer).__name__,
            [dict(config) for config in optimizer.candidates.initial],
            *([] if task.metric == ACCURACY else [task.metric]),
        ]
    )
    digest = hashlib.sha256(identity.encode()).hexdigest()[:8]
    return Path("runs") / f"{task.path.resolve().name or 'search'}-{digest}"
