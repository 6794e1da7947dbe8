"""What makes a curve table valid; every violation is an error that names row, column and value."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from qtt.curves.schema import (
    COLUMNS,
    FILES,
    HYPERPARAMETERS,
    STATUSES,
    Column,
    Frames,
    active,
    kind_of,
    native,
)
from qtt.errors import CurveTableError, unknown
from qtt.space.hyperparameters import CONDITIONS

if TYPE_CHECKING:
    import pandas as pd

Values = dict[str, list[Any]]
"""Columns of one file: name to native values."""


def checked(frames: Frames, all_epochs: bool = True) -> tuple[dict[str, Values], dict[str, dict[str, str]]]:
    """The values of every file in native types, and the kinds of their columns.

    all_epochs: every curve starts with epoch 1 and has no gap.

    Raises:
        CurveTableError: a column or value is missing, unknown or impossible, or the files contradict each
            other.
    """
    values: dict[str, Values] = {}
    kinds: dict[str, dict[str, str]] = {}
    for file in FILES:
        frame = getattr(frames, file)
        kinds[file] = _kinds(file, frame)
        values[file] = {name: _column(file, frame, name, kind) for name, kind in kinds[file].items()}
    _check_keys(values)
    _check_active(values["configs"])
    _check_datasets(values["datasets"])
    _check_runs(values["runs"])
    _check_curves(values["curves"], all_epochs)
    return values, kinds


def _fail(file: str, values: Mapping[str, Sequence[Any]], row: int, column: str, problem: str) -> NoReturn:
    """Raise the error of one value; runs and datasets are named beside the row."""
    keys = [f"{key} {values[key][row]}" for key in ("run_id", "dataset", "epoch") if _names(values, key, row)]
    value = values[column][row] if column in values and row < len(values[column]) else None
    where = f"{file}, row {row + 1}" + (f" ({', '.join(keys)})" if keys else "")
    raise CurveTableError(f"{where}, column '{column}': {value!r} {problem}.")


def _names(values: Mapping[str, Sequence[Any]], key: str, row: int) -> bool:
    return key in values and row < len(values[key])


def _kinds(file: str, frame: "pd.DataFrame") -> dict[str, str]:
    """Columns of a file with their kinds; an empty frame has all that it needs."""
    known: Mapping[str, Column] = COLUMNS[file]
    present = list(frame.columns)
    lacking = [name for name, column in known.items() if not column.optional and name not in present]
    if lacking and len(frame):
        raise CurveTableError(f"{file} lacks the column '{lacking[0]}'; it has {', '.join(present)}.")
    kinds = {name: column.kind for name, column in known.items() if name in present or not column.optional}
    for name in present:
        if name in known:
            continue
        if file != "configs":
            raise CurveTableError(unknown(f"column of {file}", str(name), known))
        kinds[name] = HYPERPARAMETERS.get(name) or _inferred(frame, name)
    return kinds


def _inferred(frame: "pd.DataFrame", name: str) -> str:
    try:
        return kind_of(frame[name].tolist())
    except TypeError as error:
        raise CurveTableError(
            f"configs, column '{name}' {error}; a hyperparameter's values must be all flags, all numbers, "
            "all texts, or all lists of numbers."
        ) from error


def _column(file: str, frame: "pd.DataFrame", name: str, kind: str) -> list[Any]:
    """The values of one column as Python's own types."""
    if name not in frame.columns:
        return []
    known = COLUMNS[file].get(name)
    raw = frame[name].tolist()
    keys = {key: frame[key].tolist() for key in ("run_id", "dataset", "epoch") if key in frame.columns}
    values: list[Any] = []
    for row, value in enumerate(raw):
        try:
            values.append(native(kind, value))
        except ValueError as error:
            _fail(file, {**keys, name: raw}, row, name, str(error))
        if known is not None and not known.nullable and values[row] in (None, ""):
            _fail(file, {**keys, name: raw}, row, name, "is missing")
    return values


def _check_keys(values: Mapping[str, Values]) -> None:
    """Runs and datasets have unique names, and each file speaks of the same ones."""
    for file, key in (("configs", "run_id"), ("runs", "run_id"), ("datasets", "dataset")):
        seen: set[Any] = set()
        for row, name in enumerate(values[file][key]):
            if name in seen:
                _fail(file, values[file], row, key, "appears twice")
            seen.add(name)
    links = (
        ("configs", "dataset", "datasets"),
        ("configs", "run_id", "runs"),
        ("runs", "run_id", "configs"),
        ("curves", "run_id", "configs"),
    )
    for file, key, other in links:
        known = set(values[other][key])
        for row, name in enumerate(values[file][key]):
            if name not in known:
                _fail(file, values[file], row, key, f"is not in {other}")


def _check_active(configs: Values) -> None:
    """Inactive hyperparameters are null."""
    for name in configs:
        if name not in CONDITIONS:
            continue
        parent = CONDITIONS[name][0]
        if parent not in configs:
            raise CurveTableError(f"configs has the column '{name}' but not '{parent}', on which it depends.")
        for row, value in enumerate(configs[name]):
            if value is not None and not active(name, {parent: configs[parent][row]}):
                _fail("configs", configs, row, name, f"has no effect with {parent}={configs[parent][row]!r}")


def _check_datasets(datasets: Values) -> None:
    for name in ("train_images", "num_classes", "image_size", "channels"):
        for row, value in enumerate(datasets[name]):
            if value < 1:
                _fail("datasets", datasets, row, name, "must be at least 1")


def _check_runs(runs: Values) -> None:
    for row, status in enumerate(runs["status"]):
        if status not in STATUSES:
            _fail("runs", runs, row, "status", f"is none of {', '.join(STATUSES)}")
    for row, memory in enumerate(runs.get("max_memory", ())):
        if memory is not None and not memory > 0:
            _fail("runs", runs, row, "max_memory", "must be positive bytes, or null")


def _check_curves(curves: Values, all_epochs: bool) -> None:
    score, seconds = np.array(curves["score"], float), np.array(curves["seconds"], float)
    epoch = np.array(curves["epoch"], np.int64)
    _first("score", (score < 0) | (score > 1), curves, "lies outside 0 to 1")
    if "test_score" in curves:
        test = np.array(curves["test_score"], float)  # None becomes NaN
        _first("test_score", (test < 0) | (test > 1), curves, "lies outside 0 to 1")
    _first("seconds", ~(seconds > 0), curves, "must be positive")
    _first("epoch", epoch < 1, curves, "must be at least 1: epochs count from 1")
    order, first = sort_points(curves["run_id"], epoch)
    step = np.diff(epoch[order], prepend=0)
    _first("epoch", _unsorted(order, ~first & (step == 0)), curves, "appears twice in this run")
    if all_epochs:
        gap = np.where(first, epoch[order] != 1, step != 1)
        _first("epoch", _unsorted(order, gap), curves, "does not follow: an epoch before it is missing")


def sort_points(
    run_ids: Sequence[str], epoch: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Order of points by run and epoch, and which of the sorted points are the first of their run."""
    if not len(run_ids):
        return np.zeros(0, np.int64), np.zeros(0, bool)
    runs = np.unique(np.array(run_ids, dtype=object), return_inverse=True)[1]
    order = np.lexsort((epoch, runs))
    return order, np.diff(runs[order], prepend=-1) != 0


def _unsorted(order: NDArray[np.int64], flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
    result = np.zeros_like(flags)
    result[order] = flags
    return result


def _first(column: str, wrong: NDArray[np.bool_], curves: Values, problem: str) -> None:
    """Raise the error of the first wrong value, if there is one."""
    rows = np.flatnonzero(wrong)
    if len(rows):
        _fail("curves", curves, int(rows[0]), column, problem)
