"""What a task promises: a dataset described, pipelines trained on it, and what is made of the winners.

`qtt.testing.TaskContract` checks a task of your own.
"""

import argparse
import os
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from qtt.errors import ConfigError, unknown
from qtt.tasks.preflight import Needs
from qtt.types import ACCURACY, Candidates, MetaFeatures, ModelCard, Objective, TaskInfo

if TYPE_CHECKING:
    import pandas as pd

    from qtt.reporting.charts import Chart
    from qtt.reporting.page import Section
    from qtt.runs.kept_models import KeptModel
    from qtt.runs.record import RunRecord
    from qtt.space.constraints import Footprint

Watch = Callable[[str, int, int], None]
"""Told of a network's name, examples done and examples in all."""


STDERR, BASELINE = "test standard error", "test majority baseline"
"""Figures of `Task.evaluate`: of the score, and what the majority class alone would score."""


@dataclass(frozen=True)
class LeftOut:
    """An example that was left out. position: among those given. path: None where it was no file."""

    position: int
    path: Path | None
    reason: str


class Survey(Protocol):
    """What a dataset holds."""

    @property
    def lines(self) -> Sequence[str]:
        """Its figures."""
        ...

    @property
    def warnings(self) -> Sequence[str]:
        """What may make scores worthless, or is not as it seems; in sentences."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """All of it, JSON-able."""
        ...


class Predictions(Protocol):
    """What a network says of some examples, in their order."""

    @property
    def unreadable(self) -> tuple[LeftOut, ...]:
        """Examples that were left out because they cannot be read."""
        ...

    def __len__(self) -> int: ...

    def to_frame(self, top: int = 1) -> "pd.DataFrame":
        """One row per example that was read; top: most probable classes, where there are classes."""
        ...


class Predictor(Protocol):
    """A kept network, ready for new examples."""

    @property
    def kept(self) -> "KeptModel":
        """Which network it is."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """In the order of the outputs; empty where there are no classes."""
        ...

    def examples(self, sources: Sequence[Path]) -> Sequence[Any]:
        """The examples in files and folders, one by one.

        Raises:
            DatasetError: there are none.
        """
        ...

    def predict(self, sources: Any, *, skip_unreadable: bool = False) -> Predictions:
        """Predictions of whatever a task takes: a file or folder at least, or several of them.

        Raises:
            DatasetError: there are no examples, or one cannot be read and is not to be skipped.
        """
        ...

    def stream(self, examples: Sequence[Any], *, skip_unreadable: bool = False) -> Iterator[Predictions]:
        """Predictions as they come, batch by batch, in order.

        Raises:
            DatasetError: an example cannot be read and is not to be skipped.
        """
        ...


@dataclass(frozen=True)
class Column:
    """How a column of a scoreboard is shown. head: its heading. form: format specification of numbers."""

    head: str
    form: str = ""


@dataclass(frozen=True, eq=False)
class Scoreboard:
    """Figures of the kept networks on labelled examples that they have not seen.

    table: one row per network, best first. examples: how many count. notes: what a reader must know of them,
    in sentences. columns: those of the table to show, by name, in order. legend: what they mean. by_class:
    of the network that validation chose, one row per class: class, examples, recall; None: no classes.
    seen: how many of the examples trained the networks or chose among them.
    """

    table: "pd.DataFrame"
    examples: int
    notes: tuple[str, ...] = ()
    columns: Mapping[str, Column] = field(default_factory=dict)
    legend: str = ""
    by_class: "pd.DataFrame | None" = None
    seen: int = 0


@dataclass(frozen=True)
class Export:
    """Files that need no qtt.

    folder: where they are. model: of which network. told: what was checked, in lines. use: how to use them.
    """

    folder: Path
    model: "KeptModel"
    told: tuple[str, ...] = ()
    use: str = ""


@dataclass(frozen=True)
class ReportParts:
    """What a task adds to the report of a search: sections of the page, and the charts in them."""

    sections: "tuple[Section, ...]" = ()
    charts: "tuple[Chart, ...]" = ()


class Task(ABC):
    """Everything that is particular to a kind of data; built without arguments, and without state.

    name: the one under which a package announces it (entry point of the group `qtt.tasks`).
    function: its objective as `package.module.name`, which the training process imports. The function says
        which task it is of: see `qtt.tasks.objective_of`.
    examples: what one calls several examples: images, rows, sentences.
    metrics: what a search can maximise (`TaskInfo.metric`), and what people call it. Every one is between 0
        and 1, and higher is better; `qtt.statistics.scores` has those of classes.
    where_it_runs: settings of the objective that belong to a place or machine, and change no score: a search
        may go on with others.
    rehearsal: function as `package.module.name` that tries, where pipelines will be trained and before the
        first one is, what all of them need; None: there is nothing to try. See `qtt.tasks.preflight`.
    imports: modules that take long to import and are needed for training, the first needed first; a command
        that searches has them loaded while it prepares.
    """

    name: ClassVar[str]
    function: ClassVar[str]
    examples: ClassVar[str] = "examples"
    metrics: ClassVar[Mapping[str, str]] = {ACCURACY: "accuracy"}
    where_it_runs: ClassVar[tuple[str, ...]] = ()
    rehearsal: ClassVar[str | None] = None
    imports: ClassVar[tuple[str, ...]] = ()

    @property
    def objective(self) -> Objective:
        """The function that trains a pipeline until an epoch.

        It leaves the weights of an epoch that reaches `TaskInfo.best_score` in `TaskInfo.weights_file`.

        Raises:
            ConfigError: it cannot be imported.
        """
        try:
            found: Objective = pkgutil.resolve_name(self.function)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigError(
                f"The objective of the task '{self.name}' cannot be imported: {error}."
            ) from error
        return found

    def score_name(self, metric: str) -> str:
        """What a score of a search that maximises `metric` is."""
        return f"validation {self.metrics.get(metric, metric)}"

    def check_metric(self, task: TaskInfo) -> None:
        """See before a search whether `task.metric` can be had.

        Raises:
            ConfigError: there is none of that name (close matches are named), or not for this dataset.
        """
        if task.metric not in self.metrics:
            raise ConfigError(unknown("metric", task.metric, self.metrics))

    @abstractmethod
    def describe(
        self, path: os.PathLike[str] | str, val_fraction: float = 0.2, seed: int = 0
    ) -> tuple[TaskInfo, MetaFeatures]:
        """Look at a dataset: what the objective and the optimizer must know of it.

        Args:
            path: of the dataset; what `dataset=…` makes of the command line, which may know more than a path.
            val_fraction: share of the training examples that validates, where the dataset does not say which.
            seed: of that split.

        Raises:
            DatasetError: the dataset cannot be used.
        """

    def survey(self, task: TaskInfo) -> Survey | None:
        """What the dataset of a described task holds, for people to see before the search.

        Raises:
            DatasetError: it is gone.
        """
        return None

    def check(self, candidates: Candidates, task: TaskInfo) -> None:  # noqa: B027 (most have nothing to check)
        """See before a search whether the objective takes its settings and every candidate.

        Raises:
            ConfigError: it refuses some; the first is named with its reason.
        """

    def paced(
        self,
        task: TaskInfo,
        metafeatures: MetaFeatures,
        seconds: float,
        begun: Mapping[str, Any] | None = None,
    ) -> tuple[TaskInfo, MetaFeatures]:
        """A task whose epochs suit a search of so many seconds, and metafeatures of what an epoch has.

        Settings that are given stay. begun: those of a search that goes on, which must stay, too.
        """
        return task, metafeatures

    def needs(self, candidates: Candidates, task: TaskInfo) -> Needs:
        """What the objective takes of a machine at least, as is known without loading anything."""
        return Needs()

    def footprints(
        self, cards: Sequence[ModelCard], task: TaskInfo, latency: bool = False
    ) -> "dict[str, Footprint]":
        """What models need when they are used, by name, for `constraints`.

        Raises:
            ConfigError: this task knows no footprints.
        """
        raise ConfigError(f"constraints need a task that knows what models cost; '{self.name}' does not.")

    @abstractmethod
    def evaluate(self, model: "KeptModel", task: TaskInfo) -> dict[str, float]:
        """Figures of a kept network on the dataset's test split by name; empty where there is none.

        First comes `test <metric>`, that of `task.metric`; its `STDERR` and `BASELINE` where they are known.

        Raises:
            ConfigError: the network cannot be loaded.
            DatasetError: the dataset is gone or has changed.
        """

    @abstractmethod
    def predictor(self, model: "KeptModel", record: "RunRecord", device: str = "auto") -> Predictor:
        """A kept network of a run, ready for new examples.

        device: auto (CUDA where there is one), cpu or cuda.

        Raises:
            ConfigError: the network cannot be loaded.
        """

    @abstractmethod
    def leaderboard(
        self,
        record: "RunRecord",
        path: Path | str,
        *,
        ignore_unknown: bool = False,
        device: str = "auto",
        watch: Watch = lambda name, done, total: None,
    ) -> Scoreboard:
        """Every kept network on labelled examples; a report for people, never used for choosing.

        Args:
            record: the run.
            path: of the labelled examples.
            ignore_unknown: leave out examples of classes that the search does not know.
            device: see `predictor`.
            watch: told how far it is.

        Raises:
            ConfigError: no network was kept, or one cannot be loaded.
            DatasetError: there are no such examples, or unknown classes.
        """

    def export_arguments(self, parser: argparse.ArgumentParser) -> None:  # noqa: B027 (most have none)
        """Add this task's options of the command `export`; they reach `export` as keyword arguments."""

    @abstractmethod
    def export(
        self, record: "RunRecord", out: Path | str | None = None, *, model: str | int = "best", **options: Any
    ) -> Export:
        """Write a kept network as files that need no qtt, and check them.

        Args:
            record: the run.
            out: folder; None: `export` in that of the run.
            model: see `RunRecord.kept_model`.
            options: see `export_arguments`.

        Raises:
            ConfigError: no such network, or files that cannot be written or do not agree with it.
        """

    def report(self, model: "KeptModel", record: "RunRecord", say: Callable[[str], None]) -> ReportParts:
        """What the report says of the best kept network beyond its figures, for instance its mistakes.

        say: is told what takes time.
        """
        return ReportParts()
