"""After the search: the best pipelines are trained to the end of their schedules (tool paper, section 3)."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from qtt.errors import ConfigError, EnvironmentFault
from qtt.evaluation import Evaluator
from qtt.runs.folder import RunFolder
from qtt.runs.history import History
from qtt.runs.kept_models import FINETUNED
from qtt.runs.record import RunRecord
from qtt.search.faults import Suspicion, patiently
from qtt.space.horizon import last_epoch
from qtt.support.clock import Clock
from qtt.types import Candidates, Result, Status, TaskInfo, Trial

logger = logging.getLogger("qtt")

KEPT_COLUMNS = ("name", "config_id", "model", "score", "epoch", "searched", "folder")


def best_pipelines(record: RunRecord, count: int) -> list[int]:
    """Ids of the best pipelines of a search that did not fail, best first.

    Raises:
        ConfigError: there is none.
    """
    history = record.history
    usable = [i for i in history.ranking() if i not in history.failed]
    if not usable:
        raise ConfigError(f"No pipeline of {record.path} can be trained on: none has finished an epoch.")
    return usable[:count]


def kept_table(record: RunRecord) -> pd.DataFrame:
    """One row per kept network, best on the validation images first.

    Columns: name (folder below the run's), config_id, model, score, epoch, searched (the pipeline's best
    score in the search), folder.
    """
    rows = []
    for kept in record.kept():
        searched = record.history.best(kept.config_id)
        before = None if searched is None else searched.score
        model = kept.config.get("model")
        rows.append((kept.name, kept.config_id, model, kept.score, kept.fidelity, before, str(kept.folder)))
    return pd.DataFrame(rows, columns=list(KEPT_COLUMNS))


@dataclass
class FinalTraining:
    """Trains pipelines one after the other, until their last epoch or the end of the time.

    folder: of the run, locked. searched: what the search has seen. candidates, task: of the search, with the
    places of this machine. seconds: None for no limit. console: None: nothing is shown. patience: seconds to
    wait for the world to mend, in the training of each pipeline.
    """

    folder: RunFolder
    searched: History
    candidates: Candidates
    task: TaskInfo
    evaluator: Evaluator
    clock: Clock
    seconds: float | None
    console: Console | None
    patience: float = 0.0

    def run(self, pipelines: Sequence[int]) -> None:
        """Train the pipelines; what is finished is kept, and another call goes on from there.

        Raises:
            EnvironmentFault: data, weights, device or disk did not come back in time.
        """
        self._suspicion = Suspicion()
        self._begin = self.clock.now()
        self._history = History(entry.result for entry in self.folder.finetuning.read())
        self._restore()
        with self._bar() as self._progress:
            self.evaluator.start()
            try:
                for config_id in pipelines:
                    self._train(config_id)
            finally:
                self.evaluator.close()
            left = [i for i in pipelines if self._done(i) < self._last(i)]
            unfinished = ", ".join(self._name(i) for i in left if i not in self._history.failed)
            if unfinished:
                left_over = self._left()
                over = left_over is not None and left_over <= 0
                why = "Out of time" if over else "The objective stopped by itself"
                self._say(f"{why} before the last epoch of {unfinished}; the same call goes on.")

    def _restore(self) -> None:
        """Take weights whose results an earlier call journaled before it was killed."""
        for result in self._history:
            weights = self.task.weights_file(result.config_id, result.fidelity)
            best = self._history.best(result.config_id)
            if best and (best.fidelity, best.score) == (result.fidelity, result.score):
                if weights is not None and weights.exists():
                    self._keep(result)
                if self._done(result.config_id) >= self._last(result.config_id):
                    self.folder.discard(result.config_id, self.task)

    def _keep(self, result: Result) -> None:
        folder = self.folder.path / FINETUNED / f"{result.config_id:04d}"
        self.folder.keep(result, self.candidates, self.task, folder)

    def _train(self, config_id: int) -> None:
        left, last = self._left(), self._last(config_id)
        done = self._done(config_id)
        if (left is not None and left <= 0) or done >= last or config_id in self._history.failed:
            return
        best = self._history.best(config_id)
        bar = self._progress.add_task(self._name(config_id), total=last, completed=done)
        trial = Trial(config_id, self.candidates.configs[config_id], last)
        task = replace(self.task, best_score=None if best is None else best.score)
        fault = patiently(lambda: self._attempt(trial, task, bar), self.patience, self._wait)
        if fault is not None:
            raise EnvironmentFault(
                f"{fault} Everything finished is kept; mend it, and the same call goes on."
            )

    def _attempt(self, trial: Trial, task: TaskInfo, bar: TaskID) -> str | None:
        """Train, and record results; the fault of the world that was met, which enters no record."""
        fault = None
        for result in self.evaluator.evaluate(trial, task, self._left()):
            fault = self._suspicion.fault(result)
            if fault is None:
                self._record(result)
                self._progress.update(bar, completed=result.fidelity)
        return fault

    def _wait(self, fault: str, pause: float) -> bool:
        """Let a pause pass; False where there is less time than that."""
        left = self._left()
        if left is not None and left <= pause:
            return False
        self._say(("Waiting", "yellow"), f" {pause:.0f} s: {fault}")
        self.clock.sleep(pause)
        return True

    def _record(self, result: Result) -> None:
        config_id = result.config_id
        if result.succeeded and result.fidelity <= self._done(config_id):
            return  # reported again
        best = self._history.best(config_id)
        self.folder.finetuning.append(result, self.clock.now() - self._begin)
        self._history.add(result)
        if result.status is Status.FAILED:
            self._say(("failed", "red"), f"  {self._name(config_id)}: {result.info.get('reason')}")
        if not result.succeeded:
            return
        if best is None or result.score >= best.score:
            self._keep(result)
            score = (f"{result.score:.4f}", "bold green")
            self._say(score, f"  {self._name(config_id)}, epoch {result.fidelity}")
        if result.fidelity >= self._last(config_id):
            self.folder.discard(config_id, self.task)

    def _done(self, config_id: int) -> int:
        """Epochs that the search or an earlier call finished."""
        return max(self.searched.fidelity(config_id), self._history.fidelity(config_id))

    def _last(self, config_id: int) -> int:
        return last_epoch(self.candidates.configs[config_id], self.task.max_fidelity)

    def _left(self) -> float | None:
        return None if self.seconds is None else self.seconds - (self.clock.now() - self._begin)

    def _name(self, config_id: int) -> str:
        return f"#{config_id} {self.candidates.configs[config_id].get('model', '')}"

    def _say(self, *parts: str | tuple[str, str]) -> None:
        message = Text.assemble(*parts)
        logger.info("finetune: %s", message.plain)
        if self.console is not None:
            self._progress.console.print(message, soft_wrap=True)

    def _bar(self) -> Progress:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        shown = self.console is not None and self.console.is_terminal
        return Progress(*columns, console=self.console, transient=True, disable=not shown)
