"""Imports plain CSV files, one row a run, whose first column names the run.

config.csv  hyperparameters in native values; `dataset`; maybe `status`: finished, capped, failed, unusable
meta.csv    train_images, num_classes, image_size, channels; maybe set, domain; `dataset` may be here instead
curve.csv   validation top-1, one column per epoch, empty after the end of the curve
cost.csv    seconds, one column per epoch; or one column with the seconds of the whole run

Without statuses, the runs with as many epochs as the longest one are finished, the others capped.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from qtt.curves.importers.files import csv_rows, metafeatures, require
from qtt.curves.importers.recorded import Imported, RecordedDataset, RecordedRun, frames_of
from qtt.curves.importers.values import NONES, read_config
from qtt.curves.schema import CAPPED, FINISHED, HYPERPARAMETERS, NUMBER
from qtt.errors import CurveTableError
from qtt.types import MetaFeatures

NAMES = ("config.csv", "meta.csv", "curve.csv", "cost.csv")
DESCRIPTORS = tuple(field.name for field in fields(MetaFeatures))
OTHERS = ("dataset", "status")
"""Columns of config.csv that are no hyperparameters."""

Rows = Mapping[str, Mapping[str, str]]


def read(source: Path, percent: bool = False, licence: str | None = None) -> Imported:
    """Read the four files of the folder `source`; percent: scores are percent instead of shares.

    Raises:
        CurveTableError: a file is missing, or a column or value is missing or malformed.
    """
    require(source, NAMES, "the layout " + ", ".join(NAMES))
    config, meta, curve, cost = (_rows(source / name) for name in NAMES)
    for name, rows in zip(NAMES[1:], (meta, curve, cost), strict=True):
        differing = sorted(config.keys() ^ rows.keys())
        if differing:
            raise CurveTableError(f"Run {differing[0]} is in only one of config.csv and {name}.")
    datasets: dict[str, RecordedDataset] = {}
    runs = []
    longest = max((len(_curve(curve[run], "", percent)) for run in curve), default=0)
    for run_id, row in config.items():
        dataset = _dataset(run_id, row, meta[run_id])
        if datasets.setdefault(dataset.name, dataset) != dataset:
            raise CurveTableError(
                f"meta.csv, run {run_id}: dataset {dataset.name} was described differently."
            )
        scores = _curve(curve[run_id], f"curve.csv, run {run_id}", percent)
        seconds = _seconds(cost[run_id], len(scores), f"cost.csv, run {run_id}")
        values = {name: _typed(name, value) for name, value in row.items() if name not in OTHERS}
        status = row.get("status") or (FINISHED if len(scores) == longest else CAPPED)
        runs.append(
            RecordedRun(
                run_id,
                dataset.name,
                read_config(values, f"config.csv, run {run_id}"),
                status,
                range(1, len(scores) + 1),
                scores,
                seconds,
            )
        )
    return Imported(frames_of(runs, datasets.values()), f"CSV files in {source.name}", licence)


def _rows(path: Path) -> Rows:
    """Rows by run."""
    rows: dict[str, dict[str, str]] = {}
    for line, row in enumerate(csv_rows(path), start=2):
        run_id = row.pop(next(iter(row)))
        if not run_id or run_id in rows:
            raise CurveTableError(
                f"{path.name}, line {line}: the run '{run_id}' has no name, or appears twice."
            )
        rows[run_id] = row
    return rows


def _typed(name: str, value: str) -> Any:
    """The value of a hyperparameter that the papers lack, as flag, number or text; others as they are."""
    if name in HYPERPARAMETERS:
        return value
    if value.lower() in ("true", "false"):
        return value.lower() == "true"
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def _dataset(run_id: str, config: Mapping[str, str], meta: Mapping[str, str]) -> RecordedDataset:
    name = config.get("dataset") or meta.get("dataset")
    if not name:
        raise CurveTableError(f"config.csv, run {run_id}: there is no dataset; add a column 'dataset'.")
    lacking = [column for column in DESCRIPTORS if not meta.get(column)]
    if lacking:
        raise CurveTableError(f"meta.csv, run {run_id}, column '{lacking[0]}' has no value.")
    descriptors = metafeatures([meta[column] for column in DESCRIPTORS], f"meta.csv, run {run_id}")
    return RecordedDataset(name, descriptors, meta.get("set") or None, meta.get("domain") or None)


def _curve(row: Mapping[str, str], where: str, percent: bool) -> list[float]:
    scores = _numbers(row, where)
    return [score / 100 for score in scores] if percent else scores


def _seconds(row: Mapping[str, str], epochs: int, where: str) -> list[float]:
    """Seconds per epoch; those of the whole run are spread evenly."""
    seconds = _numbers(row, where)
    if len(row) == 1 and epochs > 1:
        seconds = [value / epochs for value in seconds] * epochs
    if len(seconds) != epochs:
        raise CurveTableError(f"{where}: {len(seconds)} costs for {epochs} epochs.")
    return seconds


def _numbers(row: Mapping[str, str], where: str) -> list[float]:
    """The cells before the first empty one, as numbers."""
    cells: Sequence[tuple[str, str]] = list(row.items())
    empty = [value.strip().lower() in NONES for _, value in cells]
    end = empty.index(True) if True in empty else len(cells)
    if not all(empty[end:]):
        raise CurveTableError(f"{where}, column '{cells[end][0]}': a value is missing within the curve.")
    numbers = []
    for column, value in cells[:end]:
        try:
            numbers.append(float(value))
        except ValueError:
            raise CurveTableError(f"{where}, column '{column}': {value!r} is not {NUMBER}.") from None
        if not math.isfinite(numbers[-1]):
            raise CurveTableError(f"{where}, column '{column}': {value!r} is not finite.")
    return numbers
