"""Tables as a task: everything that qtt's commands and reports need to know of them."""

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from qtt.errors import ConfigError, DatasetError, QTTError
from qtt.reporting.mistakes import mistakes_parts
from qtt.reporting.validated import Validated
from qtt.runs.kept_models import KeptModel
from qtt.runs.record import RunRecord
from qtt.statistics.by_class import class_table, majority_note
from qtt.statistics.metrics import log_loss
from qtt.statistics.scores import TITLES, find_metric, test_figures
from qtt.support.files import write_text
from qtt.tasks import Column, Export, LeftOut, ReportParts, Scoreboard, Task, Watch
from qtt.types import MetaFeatures, TaskInfo
from qtt_tabular import arrays
from qtt_tabular.tables import Split, labelled, numbers, read_rows, read_tables

BATCH = 4096


class Tabular(Task):
    """Classes of rows; a dataset is a folder of CSV files, see `qtt_tabular.tables`."""

    name = "tabular"
    function = "qtt_tabular.objective.train"
    examples = "rows"
    metrics = TITLES

    def describe(
        self, path: os.PathLike[str] | str, val_fraction: float = 0.2, seed: int = 0
    ) -> tuple[TaskInfo, MetaFeatures]:
        """Rows, classes and columns of the tables."""
        tables = read_tables(Path(path), val_fraction, seed)
        told = (
            f"{len(tables.train)} rows to train, {len(tables.val)} to validate, {len(tables.columns)} columns"
        )
        task = TaskInfo(Path(path).resolve(), tables.class_names, val_fraction, seed, dataset=told)
        classes = len(tables.class_names)
        return task, MetaFeatures(len(tables.train), classes, image_size=1, channels=len(tables.columns))

    def check_metric(self, task: TaskInfo) -> None:
        """Those of classes."""
        find_metric(task.metric, task.num_classes)

    def evaluate(self, model: KeptModel, task: TaskInfo) -> dict[str, float]:
        """The metric and accuracy on test.csv."""
        tables = read_tables(task.path, task.val_fraction, task.seed)
        test, counts = tables.test, np.bincount(tables.train.y, minlength=len(tables.class_names))
        if test is None:
            return {}
        return test_figures(task.metric, RowPredictor(model).probabilities(test.x), test.y, counts)

    def predictor(self, model: KeptModel, record: RunRecord, device: str = "auto") -> "RowPredictor":
        """Its arrays; there is no device to choose."""
        return RowPredictor(model)

    def leaderboard(
        self,
        record: RunRecord,
        path: Path | str,
        *,
        ignore_unknown: bool = False,
        device: str = "auto",
        watch: Watch = lambda name, done, total: None,
    ) -> Scoreboard:
        """The metric and log loss on a CSV file, or on the test.csv of a folder."""
        file = Path(path) / "test.csv" if Path(path).is_dir() else Path(path)
        record.best_model()
        metric = find_metric(record.task.metric, record.task.num_classes)
        rows, notes, test = [], (), Split(np.empty((0, 0)), np.empty(0, np.int64))
        classes: list[pd.DataFrame] = []
        for kept in record.kept():
            predictor = RowPredictor(kept)
            test = labelled(read_rows(file), predictor.columns, kept.class_names)
            known = test.y >= 0
            if not known.all() and not ignore_unknown:
                raise DatasetError(
                    f"{file} has {int((~known).sum())} rows of classes that the search does not know."
                )
            if not known.all():
                notes = (
                    f"{int((~known).sum())} rows of classes that the search does not know are left out.",
                )
            test = Split(test.x[known], test.y[known])
            told = predictor.probabilities(test.x)
            figures = {
                metric.name: metric.score(told, test.y),
                "stderr": metric.error(told, test.y),
                "cross_entropy": log_loss(told, test.y),
            }
            learner = kept.config["learner"]
            classes.append(class_table(told, test.y, kept.class_names))
            rows.append({"name": kept.name, "learner": learner, "validation": kept.score, **figures})
            watch(kept.name, len(test), len(test))
        table = pd.DataFrame(rows).sort_values(
            [metric.name, "cross_entropy"], ascending=[False, True], ignore_index=True
        )
        heads = {metric.name: metric.title, "stderr": "±", "cross_entropy": "log loss"}
        forms = dict.fromkeys(("validation", *heads), ".4f")
        columns = {name: Column(heads.get(name, name), forms.get(name, "")) for name in table}
        legend = f"{majority_note(test.y, record.task.class_names)} ±: standard error of the score."
        return Scoreboard(table, len(test), notes, columns, legend, classes[0])

    def export(
        self, record: RunRecord, out: Path | str | None = None, *, model: str | int = "best", **options: Any
    ) -> Export:
        """model.safetensors, and predict.py, which needs numpy and safetensors alone."""
        kept = record.kept_model(model)
        folder = record.path / "export" if out is None else Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(kept.weights, folder / "model.safetensors")
        shutil.copy(arrays.__file__, folder / "predict.py")
        command = "python predict.py model.safetensors rows.csv"
        facts = [f"- {name}: {value}" for name, value in {**kept.config, "validation": kept.score}.items()]
        head = f"# A classifier of {', '.join(kept.class_names)}"
        write_text(folder / "README.md", "\n".join([head, "", f"`{command}`", "", *facts, ""]))
        return Export(
            folder, kept, use=f"To use it, with numpy and safetensors alone: cd {folder} && {command}"
        )

    def report(self, model: KeptModel, record: RunRecord, say: Callable[[str], None]) -> ReportParts:
        """Confusion, calibration and the worst mistakes on the validation rows."""
        task = record.task
        try:
            val = read_tables(task.path, task.val_fraction, task.seed).val
        except QTTError:
            return ReportParts()
        names = tuple(f"row {i}" for i in range(len(val)))
        told = RowPredictor(model).probabilities(val.x)
        seen = Validated(told, val.y, names, model.class_names)
        return mistakes_parts(model, seen, "rows", metric=find_metric(task.metric))


@dataclass(frozen=True, eq=False)
class RowPredictions:
    """probabilities: (n, c) of the classes."""

    class_names: tuple[str, ...]
    probabilities: Any
    unreadable: tuple[LeftOut, ...] = ()

    def __len__(self) -> int:
        return len(self.probabilities)

    def to_frame(self, top: int = 1) -> pd.DataFrame:
        """class, probability, then class_2, probability_2 and so on."""
        order = np.argsort(-self.probabilities, axis=1, kind="stable")[:, :top]
        columns: dict[str, Any] = {}
        for place, best in enumerate(order.T, start=1):
            ending = "" if place == 1 else f"_{place}"
            columns[f"class{ending}"] = np.asarray(self.class_names, dtype=object)[best]
            columns[f"probability{ending}"] = self.probabilities[np.arange(len(self)), best]
        return pd.DataFrame(columns)


class RowPredictor:
    """What a kept network says of rows.

    Raises:
        ConfigError: its weights cannot be read.
    """

    def __init__(self, kept: KeptModel) -> None:
        self.kept = kept
        self.class_names = kept.class_names
        try:
            self._arrays, self._about = arrays.load(kept.weights)
        except Exception as error:  # safetensors raises its own kind, and OSError
            raise ConfigError(f"{kept.weights} cannot be read: {error}") from error
        self.columns = tuple(self._about["columns"])

    def probabilities(self, x: Any) -> Any:
        """Of the classes for rows x (n, d); (n, c)."""
        return arrays.probabilities(self._arrays, self._about, x).astype(np.float32)

    def examples(self, sources: Sequence[Path]) -> Sequence[Any]:
        """The rows of CSV files."""
        rows = [numbers(read_rows(Path(source)), self.columns) for source in sources]
        if not sum(map(len, rows)):
            raise DatasetError("There are no rows to predict.")
        return list(np.concatenate(rows))

    def predict(self, sources: Any, *, skip_unreadable: bool = False) -> RowPredictions:
        """Of the rows of a CSV file or of several, or of an array (n, d) in the order of `columns`."""
        if isinstance(sources, str | Path):
            sources = [sources]
        rows = sources if isinstance(sources, np.ndarray) else self.examples([Path(s) for s in sources])
        return RowPredictions(self.class_names, self.probabilities(rows))

    def stream(self, examples: Sequence[Any], *, skip_unreadable: bool = False) -> Iterator[RowPredictions]:
        """A few thousand rows at a time."""
        for start in range(0, len(examples), BATCH):
            yield RowPredictions(self.class_names, self.probabilities(examples[start : start + BATCH]))
