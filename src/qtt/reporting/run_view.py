"""What a report says of one search, gathered from its run folder."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import yaml

from qtt.errors import ConfigError
from qtt.runs.history import History
from qtt.runs.kept_models import KeptModel
from qtt.runs.record import RunRecord, dataset_warnings
from qtt.statistics.certainty import Certainty
from qtt.support.files import read_json
from qtt.tasks.contract import Task
from qtt.tasks.registry import task_of
from qtt.types import ACCURACY, Budget, Config, ModelCard, Result


@dataclass(frozen=True)
class RunView:
    """A run folder, read as far as it can be.

    kept: networks whose weights are there, best on the validation images first. problems: sentences about
    what could not be read.
    """

    record: RunRecord
    kept: tuple[KeptModel, ...]
    problems: tuple[str, ...]

    @classmethod
    def load(cls, path: Path, data: Path | None = None) -> Self:
        """Read a run folder.

        data: where the dataset is now; None: where it was.

        Raises:
            ConfigError: it is none, or was written by another version.
            JournalError: its journal is damaged.
        """
        record = RunRecord.load(path, data)
        problems: list[str] = []
        known = tuple(e for e in record.entries if 0 <= e.result.config_id < len(record.candidates))
        if len(known) < len(record.entries):
            problems.append(
                f"{len(record.entries) - len(known)} results in journal.jsonl are of pipelines that "
                "candidates.json does not have; they are left out."
            )
        kept: tuple[KeptModel, ...] = ()
        try:
            kept = tuple(record.kept())
        except ConfigError as error:
            problems.append(str(error))
        return cls(replace(record, entries=known), kept, tuple(problems))

    @property
    def name(self) -> str:
        """Of the folder."""
        return self.record.path.name

    @property
    def history(self) -> History:
        """What the search has seen."""
        return self.record.history

    @property
    def best(self) -> Result | None:
        """The best result of the search."""
        return self.history.incumbent

    @property
    def dataset(self) -> str:
        """A name for what was learned: of the dataset, or of the run where there is none."""
        return self.record.task.path.name or self.name

    @cached_property
    def task(self) -> Task | None:
        """What is particular to the search's data; None where it had no task, or that is not installed."""
        with suppress(ConfigError):
            return task_of(self.record)
        return None

    @property
    def score_name(self) -> str:
        """What a score is, where that is known."""
        metric = self.record.task.metric
        if self.task is not None:
            return self.task.score_name(metric)
        return "score" if metric == ACCURACY else f"validation {metric}"

    @property
    def certainty(self) -> Certainty:
        """What is known of the best score."""
        return Certainty() if self.best is None else Certainty.of(self.best)

    @cached_property
    def choices(self) -> dict[str, str]:
        """Option that was chosen of each config group; empty where the command line did not make the run."""
        with suppress(OSError, ValueError, AttributeError):
            found = read_json(self.record.path / "choices.json")
            return {str(group): str(option) for group, option in found.items()}
        return {}

    @property
    def examples(self) -> str:
        """What was learned from, in the plural."""
        return "examples" if self.task is None else self.task.examples

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved configuration; empty where there is none to read."""
        with suppress(yaml.YAMLError):
            found = yaml.safe_load(self.record.config_text or "")
            return found if isinstance(found, dict) else {}
        return {}

    @property
    def budget(self) -> Budget | None:
        """Of the latest call, None where it is not written down."""
        data = self.record.settings.get("budget") or self.config.get("budget")
        with suppress(ConfigError, TypeError):
            return Budget(**data) if data else None
        return None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the survey of the dataset warned of when the search began."""
        return dataset_warnings(self.record.path)

    @property
    def finished(self) -> bool | None:
        """Whether the budget is spent; None where it is not known."""
        end = self.record.end
        if end.get("results") == len(self.record.entries):
            return bool(end.get("whole"))
        if self.budget is None:
            return None
        seconds, evaluations = self.budget.seconds, self.budget.evaluations
        return (seconds is not None and self.record.elapsed >= 0.97 * seconds) or (
            evaluations is not None and self.history.evaluations >= evaluations
        )

    def pipeline(self, config_id: int) -> Config:
        """Hyperparameters of a pipeline."""
        return self.record.candidates.configs[config_id]

    def model(self, config_id: int) -> str | None:
        """Name of a pipeline's model, None where its search has no models."""
        name = self.pipeline(config_id).get("model")
        return None if name is None else str(name)

    def label(self, config_id: int) -> str:
        """A pipeline in a few words."""
        model = self.model(config_id)
        return f"#{config_id}" if model is None else f"{model} (#{config_id})"

    def card(self, config_id: int) -> ModelCard | None:
        """The card of a pipeline's model."""
        return self.record.candidates.card(config_id)

    def seconds_per_epoch(self, config_id: int) -> float:
        """Mean over the pipeline's finished epochs."""
        curve = self.history.curve(config_id)
        return sum(seen.cost for seen in curve) / len(curve)

    @cached_property
    def models(self) -> list[str]:
        """Models of observed pipelines, that of the best pipeline first."""
        named = (self.model(config_id) for config_id in self.history.ranking())
        return list(dict.fromkeys(name for name in named if name is not None))

    def test_figures(self, folder: Path) -> Mapping[str, float]:
        """Figures on the test images that lie beside a kept network; empty where there are none."""
        with suppress(OSError, ValueError, AttributeError):
            figures = read_json(folder / "test.json")
            return {str(k): float(v) for k, v in figures.items() if isinstance(v, int | float)}
        return {}

    @property
    def test_name(self) -> str:
        """What the score on test examples is called."""
        return self.score_name.replace("validation ", "test ", 1)

    @property
    def test_score(self) -> float | None:
        """The search's best pipeline on the test images."""
        return self.test_figures(self.record.path / "incumbent").get(self.test_name)
