"""The format of curve tables: which files and columns there are, of which types, and what null means.

configs.parquet   run_id, dataset, one column per hyperparameter (`model` is one) in native types
curves.parquet    run_id, epoch (from 1), score (0 to 1), seconds (of this epoch); optional: loss, test_score
datasets.parquet  dataset, set, domain, train_images, num_classes, image_size, channels
runs.parquet      run_id, status, max_memory (bytes), note
manifest.json     format, source, licence, counts, sha256 of every file (`qtt.curves.manifest`)

The rows of configs, runs and curves are sorted by dataset, run_id and epoch, and every dataset is a row group
of its own, so that one dataset is read without the others.

A hyperparameter's null means None where that is one of its options (`hyperparameters.FULL`) and its condition
holds; otherwise the hyperparameter is inactive, and absent from the config.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from qtt.space.hyperparameters import CONDITIONS, FULL
from qtt.types import Config

if TYPE_CHECKING:
    import pandas as pd

FINISHED, CAPPED, FAILED, UNUSABLE = STATUSES = ("finished", "capped", "failed", "unusable")
"""finished: all epochs that were asked for. capped: stopped by a time cap. failed: broke off, or never gave a
score. unusable: an artefact of the recording, kept for completeness; no candidate, and no training data."""

FLAG, INTEGER, NUMBER, TEXT, NUMBERS = (
    "true or false",
    "an integer",
    "a number",
    "a text",
    "a list of numbers",
)
"""Kinds of values, as errors name them."""

ARROW: Mapping[str, pa.DataType] = {
    FLAG: pa.bool_(),
    INTEGER: pa.int64(),
    NUMBER: pa.float64(),
    TEXT: pa.dictionary(pa.int32(), pa.string()),
    NUMBERS: pa.list_(pa.float64()),
}

EXACT: Mapping[str, type] = {FLAG: bool, INTEGER: int, NUMBER: float, TEXT: str}
"""Python's types of the kinds but lists."""


@dataclass(frozen=True)
class Column:
    """A column of every table: the kind of its values, and whether they, or the column, may be missing."""

    kind: str
    nullable: bool = False
    optional: bool = False


COLUMNS: Mapping[str, Mapping[str, Column]] = {
    "configs": {"run_id": Column(TEXT), "dataset": Column(TEXT), "model": Column(TEXT)},
    "curves": {
        "run_id": Column(TEXT),
        "epoch": Column(INTEGER),
        "score": Column(NUMBER),
        "seconds": Column(NUMBER),
        "loss": Column(NUMBER, nullable=True, optional=True),
        "test_score": Column(NUMBER, nullable=True, optional=True),
    },
    "datasets": {
        "dataset": Column(TEXT),
        "set": Column(TEXT, nullable=True),
        "domain": Column(TEXT, nullable=True),
        "train_images": Column(INTEGER),
        "num_classes": Column(INTEGER),
        "image_size": Column(INTEGER),
        "channels": Column(INTEGER),
    },
    "runs": {
        "run_id": Column(TEXT),
        "status": Column(TEXT),
        "max_memory": Column(NUMBER, nullable=True, optional=True),
        "note": Column(TEXT, nullable=True, optional=True),
    },
}
FILES = tuple(COLUMNS)


@dataclass(frozen=True)
class Frames:
    """The contents of a curve table as data frames, rows in any order; configs may hold Python objects."""

    configs: "pd.DataFrame"
    curves: "pd.DataFrame"
    datasets: "pd.DataFrame"
    runs: "pd.DataFrame"


def missing(value: Any) -> bool:
    """Whether a value of a data frame stands for null."""
    return value is None or value != value or type(value).__name__ == "NAType"


def kind_of(values: Iterable[Any]) -> str:
    """The kind that all values have; nulls have every kind. Without any value: a text.

    Raises:
        TypeError: values of kinds that cannot be mixed, or of none of them.
    """
    kinds = {_kind(value) for value in map(_plain, values) if not missing(value)}
    if kinds == {INTEGER, NUMBER}:
        return NUMBER
    if len(kinds) > 1:
        raise TypeError(f"mixes {' and '.join(sorted(kinds))}")
    return kinds.pop() if kinds else TEXT


def native(kind: str, value: Any) -> Any:
    """A value as the kind's Python type: numpy's become Python's, lists tuples, null None, 9.0 the integer 9.

    Raises:
        ValueError: the value is of another kind.
    """
    exact = type(value) is EXACT.get(kind)
    if exact and (kind != NUMBER or math.isfinite(value)):
        return value  # as nearly all are
    value = _plain(value)
    if missing(value):
        return None
    if kind == INTEGER and isinstance(value, float) and value.is_integer():
        return int(value)
    try:
        found = _kind(value)
    except TypeError:
        found = None
    if found == kind:
        return tuple(float(item) for item in value) if kind == NUMBERS else value
    if kind == NUMBER and found == INTEGER:
        return float(value)
    raise ValueError(f"is not {kind}")


def active(name: str, config: Mapping[str, Any]) -> bool:
    """Whether a hyperparameter takes part, given the others' values."""
    parent, values = CONDITIONS.get(name, (None, ()))
    return parent is None or config.get(parent) in values


def without_inactive(config: Config) -> dict[str, Any]:
    """`config` without hyperparameters that have no effect, and without None where it is no option."""
    return {
        name: value
        for name, value in config.items()
        if active(name, config) and (value is not None or None in FULL.get(name, ()))
    }


def decode_configs(columns: Mapping[str, Sequence[Any]]) -> tuple[Config, ...]:
    """Configs from the columns of the hyperparameters: native values, inactive ones absent."""
    values = [[tuple(v) if isinstance(v, list) else v for v in column] for column in columns.values()]
    return tuple(without_inactive(dict(zip(columns, row, strict=True))) for row in zip(*values, strict=True))


def _plain(value: Any) -> Any:
    """Scalars and arrays of numpy as Python's numbers and lists."""
    return value.tolist() if hasattr(value, "tolist") else value


def _kind(value: Any) -> str:
    value = _plain(value)
    if isinstance(value, bool):
        return FLAG
    if isinstance(value, int):
        return INTEGER
    if isinstance(value, float):
        if math.isinf(value):
            raise TypeError("holds an infinite number")
        return NUMBER
    if isinstance(value, str):
        return TEXT
    if isinstance(value, list | tuple) and all(_kind(item) in (INTEGER, NUMBER) for item in value):
        return NUMBERS
    raise TypeError(f"holds a {type(value).__name__}")


HYPERPARAMETERS: Mapping[str, str] = {
    "model": TEXT,
    **{name: kind_of(options) for name, options in FULL.items()},
}
"""Kinds of the known hyperparameters' values."""
