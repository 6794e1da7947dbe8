"""The search on a TensorBoard."""

import re
import time
from importlib.util import find_spec
from typing import Any

import pandas as pd
from rich.console import Console
from rich.text import Text

from qtt.errors import ConfigError
from qtt.evaluation.pool import WORKER
from qtt.evaluation.timeline import Timeline
from qtt.runs.history import History
from qtt.statistics import pipeline_table
from qtt.tracking.base import SearchInfo, Summary
from qtt.tracking.events import EventFile, empty_events
from qtt.types import Candidates, Config, Result, Status, Trial

TABLE_FIRST, TABLE_GROWTH = 8, 1.5
"""Results before the table of pipelines is written first, and how many times as many before it is again."""


class TensorboardTracker:
    """Writes `tensorboard/` into the run folder: look at it with `tensorboard --logdir RUN_DIR/tensorboard`.

    search              incumbent/by_seconds and by_epochs; score, seconds and failures over the number of
                        results; of several workers, the share of their time in which they were busy; the
                        table of pipelines, failures, configuration and metric as texts
    pipelines/0042 vit  one run for each pipeline: curve/score, curve/best and curve/seconds over its epochs,
                        all pipelines in one chart; its hyperparameters, for the tab HParams

    The files are written anew from the journal when a search is resumed: no point is lost or there twice,
    also after a crash. Wall times are such that TensorBoard's relative time is seconds of the budget.

    quiet: do not print the command to look at it.

    Raises:
        ConfigError: the package tensorboard is not installed.
    """

    def __init__(self, quiet: bool = False) -> None:
        if find_spec("tensorboard") is None:
            raise ConfigError("tracker=tensorboard needs its package: pip install 'qtt[tensorboard]'.")
        self._quiet = quiet

    def start(self, search: SearchInfo) -> None:
        """Write what earlier runs journaled."""
        self._folder = search.run_dir / "tensorboard"
        self._began = time.time() - search.elapsed
        self._configs = dict(enumerate(search.candidates.configs))
        self._pipelines: dict[int, EventFile] = {}
        self._results = 0
        self._timeline = Timeline()
        self._next_table = TABLE_FIRST
        empty_events(self._folder)
        self._search = EventFile(self._folder / "search", self._began)
        self._search.text("config", _config(search), 0, 0.0)
        self._search.text("metric", search.task.metric, 0, 0.0)
        history = History()
        for entry in search.entries:
            history.add(entry.result)
            self._write(entry.result, history, entry.elapsed)

    def asked(self, trial: Trial, elapsed: float) -> None:
        """Remember the pipeline, for it may be one that was proposed after the start."""
        self._configs[trial.config_id] = trial.config

    def told(self, result: Result, history: History, elapsed: float) -> None:
        """Write one result, and the table of pipelines now and then."""
        self._write(result, history, elapsed)
        if self._results >= self._next_table:
            self._next_table = round(TABLE_GROWTH * self._results)
            known = range(max(self._configs) + 1)  # proposed ones are asked for in any order
            candidates = Candidates(tuple(self._configs.get(i, {}) for i in known))
            self._write_table(pipeline_table(history, candidates), elapsed)

    def finish(self, summary: Summary) -> None:
        """Write the final table, and how to look at everything."""
        self._write_table(pipeline_table(summary.history, summary.candidates), summary.elapsed)
        if not self._quiet:
            command = f"TensorBoard: tensorboard --logdir {self._folder}"
            Console(highlight=False).print(Text(command), soft_wrap=True)

    def _write(self, result: Result, history: History, elapsed: float) -> None:
        self._results += 1
        values = {"results/seconds": result.cost, "results/failures": float(len(history.failed))}
        if result.succeeded:
            values["results/score"] = result.score
        values |= self._utilisation(result, elapsed)
        self._search.scalars(values, self._results, elapsed)
        best = history.incumbent
        if best is not None:
            self._search.scalars({"incumbent/by_seconds": best.score}, round(elapsed), elapsed)
            if result.succeeded:
                epochs = history.evaluations
                self._search.scalars({"incumbent/by_epochs": best.score}, epochs, elapsed)
        if result.status is Status.FAILED:
            self._search.text("failures", self._failure(result), self._results, elapsed)
        self._write_curve(result, history, elapsed)

    def _utilisation(self, result: Result, elapsed: float) -> dict[str, float]:
        """How busy the workers were so far, all together and the one that made a result; of several."""
        self._timeline.add(result, elapsed)
        if WORKER not in result.info:
            return {}
        worker = self._timeline.spans[-1].worker
        shares = {
            "workers/utilisation": self._timeline.utilisation,
            f"workers/utilisation of {worker}": self._timeline.utilisation_of(worker),
        }
        return {name: share for name, share in shares.items() if share is not None}

    def _write_curve(self, result: Result, history: History, elapsed: float) -> None:
        pipeline = self._pipeline(result.config_id, elapsed)
        best = history.best(result.config_id)
        if result.succeeded and best is not None:
            values = {"score": result.score, "best": best.score, "seconds": result.cost}
            named = {f"curve/{name}": value for name, value in values.items()}
            pipeline.scalars(named, result.fidelity, elapsed)

    def _pipeline(self, config_id: int, elapsed: float) -> EventFile:
        """The pipeline's run; a new one begins with its hyperparameters."""
        if config_id not in self._pipelines:
            from tensorboard.plugins.hparams.summary_v2 import hparams_pb

            config = self._configs[config_id]
            name = re.sub(r"[^\w .+-]+", "-", self._name(config_id))
            file = EventFile(self._folder / "pipelines" / name, self._began)
            file.summary(hparams_pb(_hyperparameters(config), trial_id=name), 0, elapsed)
            self._pipelines[config_id] = file
        return self._pipelines[config_id]

    def _write_table(self, table: pd.DataFrame, elapsed: float) -> None:
        self._search.text("pipelines", markdown_table(table), self._results, elapsed)

    def _failure(self, result: Result) -> str:
        return f"**{self._name(result.config_id)}**: {result.info.get('reason', 'no reason given')}"

    def _name(self, config_id: int) -> str:
        return f"{config_id:04d} {self._configs[config_id].get('model', '')}".rstrip()


def markdown_table(table: pd.DataFrame) -> str:
    """A table as Markdown; missing values are dashes."""
    rows = [list(table.columns), ["---"] * len(table.columns)]
    rows += [[_cell(value) for value in row] for row in table.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return "–"
    return (f"{value:.4g}" if isinstance(value, float) else str(value)).replace("|", "\\|")


def _hyperparameters(config: Config) -> dict[str, Any]:
    """What TensorBoard takes: numbers, switches and words."""
    return {
        name: value if isinstance(value, bool | int | float | str) else str(value)
        for name, value in config.items()
    }


def _config(search: SearchInfo) -> str:
    """The resolved configuration where the command line made the search, else what is known of it."""
    path = search.run_dir / "config.yaml"
    if path.is_file():
        text = path.read_text(encoding="utf-8")
    else:
        text = f"optimizer: {search.optimizer}\ndataset: {search.task.path}\nseed: {search.task.seed}\n"
    return f"```yaml\n{text}```"
