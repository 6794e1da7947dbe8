"""Recording runs with several training processes at once.

A thread per worker takes the next run, hands it to its own training process and journals every epoch. Nothing
else is state: after a crash the journals say which epochs are done, and each run goes on from its checkpoint.
"""

import logging
import shutil
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from qtt.collecting.plan import Plan
from qtt.collecting.record import RunRecord, records
from qtt.curves.schema import FAILED
from qtt.errors import ConfigError, JournalError
from qtt.evaluation import Evaluator, make_evaluator
from qtt.evaluation.step import failure, timeout
from qtt.runs.journal import Journal
from qtt.types import Objective, Result, Trial

logger = logging.getLogger("qtt")

PATIENCE = 10
"""Runs that may fail one after the other, from the start, before all is taken to be wrong."""


class Watcher(Protocol):
    """Who is told of the progress; called by one thread at a time."""

    def epoch(self, run: "Run", result: Result) -> None:
        """An epoch was journaled."""
        ...

    def ended(self, run: "Run", end: str, epochs_saved: int) -> None:
        """A run ended, by so many epochs earlier than planned."""
        ...


@dataclass(frozen=True)
class Run:
    """One run: pipeline `config_id` of a plan, and what is known of it."""

    plan: Plan
    config_id: int
    record: RunRecord

    @property
    def name(self) -> str:
        """Its name within the curve table."""
        return self.plan.run_ids[self.config_id]

    def discard_checkpoint(self) -> None:
        """Remove what the objective keeps on disk for this run."""
        folder = self.plan.task.pipeline_dir(self.config_id)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Limits:
    """How far to train a run (epochs), and for how many seconds at most."""

    epochs: int
    time_cap: float | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ConfigError(f"epochs must be at least 1; got {self.epochs}.")
        if self.time_cap is not None and not self.time_cap > 0:
            raise ConfigError(f"time_cap must be positive seconds, or null for none; got {self.time_cap}.")


class Collector:
    """The runs of all plans, and their journals (one a dataset).

    journals: folder of the journals; what they hold is not trained again.

    Raises:
        JournalError: a journal is damaged, or has a run that its plan lacks.
    """

    def __init__(self, plans: Sequence[Plan], journals: Path, limits: Limits) -> None:
        self.limits = limits
        self.runs: list[Run] = []
        self._journals: dict[str, Journal] = {}
        journals.mkdir(parents=True, exist_ok=True)
        for plan in plans:
            journal = self._journals[plan.name] = Journal(journals / f"{plan.name}.jsonl")
            results = [entry.result for entry in journal.read()]
            count = len(plan.candidates)
            if any(not 0 <= result.config_id < count for result in results):
                raise JournalError(f"{journal.path} has results of pipelines that are not planned.")
            known = records(results, count)
            self.runs += [Run(plan, config_id, record) for config_id, record in enumerate(known)]

    def pending(self, runs_per_dataset: int, retry_failed: bool = False) -> list[Run]:
        """The runs that have not ended: those under way first, then one of every dataset in turn."""
        ends = {FAILED, None} if retry_failed else {None}
        left = [
            run
            for run in self.runs
            if run.config_id < runs_per_dataset and run.record.end(self.limits.epochs) in ends
        ]
        return sorted(left, key=lambda run: (not run.record.epochs, run.config_id))

    def ended(self) -> list[tuple[Run, str]]:
        """The runs that have ended, and how."""
        ends = ((run, run.record.end(self.limits.epochs)) for run in self.runs)
        return [(run, end) for run, end in ends if end is not None]

    def collect(
        self, runs: Sequence[Run], objective: Objective, workers: int, logs: Path, watcher: Watcher
    ) -> None:
        """Train `runs` to their ends with as many training processes as `workers`.

        logs: folder for what the training processes print.

        Raises:
            ConfigError: the objective cannot be imported by name, or every run fails.
        """
        evaluators = [
            make_evaluator(objective, logs / f"worker-{number}.log", "process")
            for number in range(min(workers, len(runs)))
        ]
        self._discard_old_checkpoints()
        _Crew(self, runs, evaluators, watcher).work()
        self._discard_old_checkpoints()

    def journal(self, run: Run, result: Result) -> None:
        """Write one result durably; `elapsed` counts the seconds of its run."""
        spent = run.record.seconds + result.cost
        self._journals[run.plan.name].append(result, spent)
        run.record.results.append(result)

    def _discard_old_checkpoints(self) -> None:
        """Remove what a crash, or a checkpoint that came late, left of runs that have ended."""
        for run, _ in self.ended():
            run.discard_checkpoint()


class _Crew:
    """The threads of one call of `Collector.collect`."""

    def __init__(
        self, collector: Collector, runs: Sequence[Run], evaluators: Sequence[Evaluator], watcher: Watcher
    ) -> None:
        self._collector = collector
        self._limits = collector.limits
        self._runs = deque(runs)
        self._evaluators = evaluators
        self._watcher = watcher
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._ends: list[str] = []

    def work(self) -> None:
        threads = [
            threading.Thread(target=self._serve, args=(evaluator,), name=f"qtt-collect-{number}", daemon=True)
            for number, evaluator in enumerate(self._evaluators)
        ]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.2)  # in pieces, so that an interrupt is noticed
        finally:
            with self._lock:
                self._stop.set()
            for evaluator in self._evaluators:
                evaluator.close()
            for thread in threads:
                thread.join()
            for evaluator in self._evaluators:
                evaluator.close()  # that of a thread which was just about to start it again
        if self._error is not None:
            raise self._error

    def _serve(self, evaluator: Evaluator) -> None:
        try:
            while (run := self._next()) is not None:
                self._train(run, evaluator)
        except BaseException as error:
            with self._lock:
                if not self._stop.is_set():  # else the evaluator was closed under us, and broke somehow
                    self._error = error
                    self._stop.set()

    def _next(self) -> Run | None:
        with self._lock:
            return self._runs.popleft() if self._runs and not self._stop.is_set() else None

    def _train(self, run: Run, evaluator: Evaluator) -> None:
        trial = Trial(run.config_id, run.plan.candidates.configs[run.config_id], self._limits.epochs)
        left = None if self._limits.time_cap is None else self._limits.time_cap - run.record.seconds
        if left is not None and left <= 0:
            self._record(run, timeout(trial, 0.0))
        else:
            for result in evaluator.evaluate(trial, run.plan.task, left):
                self._record(run, result)
        if run.record.end(self._limits.epochs) is None:
            reason = (
                f"The objective stopped at epoch {run.record.epochs} of {trial.fidelity} without a reason."
            )
            self._record(run, failure(trial, reason, 0.0))
        with self._lock:
            if not self._stop.is_set():
                self._finish(run)

    def _record(self, run: Run, result: Result) -> None:
        with self._lock:
            if self._stop.is_set() or run.record.knows(result):
                return
            self._collector.journal(run, result)
            if result.succeeded:
                self._watcher.epoch(run, result)

    def _finish(self, run: Run) -> None:
        run.discard_checkpoint()
        end = run.record.end(self._limits.epochs)
        assert end is not None
        self._ends.append(end)
        note = f" ({run.record.note})" if run.record.note else ""
        logger.info("%s %s after %d epochs%s", run.name, end, run.record.epochs, note)
        self._watcher.ended(run, end, self._limits.epochs - run.record.epochs)
        if len(self._ends) == PATIENCE and set(self._ends) == {FAILED}:
            raise ConfigError(
                f"The first {PATIENCE} runs all failed, the last one because: {run.record.note} "
                "Correct that, and repeat the command with retry_failed=true."
            )
