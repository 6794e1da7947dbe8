"""Imports the curves published with Quick-Tune-Tool (repository rapanti/quicktune), version extended.

perf.json         {dataset: {run_id: [validation top-1 in percent, one per epoch]}}
cost.json         the same shape: seconds of each epoch, training and evaluation
table.csv         one row per run_id; categorical hyperparameters one-hot as `cat:<name>:<value>`, None as -1
descriptors.json  {dataset: [training images, classes, image size, channels]}
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qtt.curves.importers.files import csv_rows, json_object, metafeatures, require
from qtt.curves.importers.recorded import (
    LINEAR_PROBING_NOTE,
    Imported,
    RecordedRun,
    album_dataset,
    ending,
    frames_of,
)
from qtt.curves.importers.values import read_config
from qtt.curves.schema import HYPERPARAMETERS, UNUSABLE
from qtt.data.meta_album import AlbumDataset
from qtt.errors import CurveTableError, unknown
from qtt.space.hyperparameters import FULL
from qtt.types import Config

FILES = ("perf.json", "cost.json", "table.csv", "descriptors.json")
ONE_HOT = "cat:"
NOTES = (
    "Linear-probing runs are unusable: all were recorded with a single epoch of a few seconds.",
    "Statuses are told from the recorded seconds: see the data card.",
    "The authors' scores are percent; values up to 4e-9 above 1 were set to 1.",
)


def read(source: Path, facts: Mapping[str, AlbumDataset] | None = None) -> Imported:
    """Read the folder `source`; facts: of Meta-Album's datasets, for their set and domain.

    Raises:
        CurveTableError: a file is missing or malformed, or the files contradict each other.
    """
    require(source, FILES, "the layout perf.json, cost.json, table.csv, descriptors.json")
    scores, seconds = json_object(source / "perf.json"), json_object(source / "cost.json")
    configs = _configs(source / "table.csv")
    datasets = [
        album_dataset(name, metafeatures(values, f"descriptors.json, {name}"), facts or {})
        for name, values in json_object(source / "descriptors.json").items()
    ]
    runs = [
        _run(dataset, run_id, curve, seconds, configs)
        for dataset, curves in scores.items()
        for run_id, curve in curves.items()
    ]
    without = configs.keys() - {run.run_id for run in runs}
    if without:
        raise CurveTableError(f"table.csv: run {min(without)} has no curve in perf.json.")
    return Imported(
        frames_of(runs, datasets),
        source="Quick-Tune meta-dataset, version extended, sets 0 and 1 (repository rapanti/quicktune)",
        licence="BSD-3-Clause",
        notes=NOTES,
    )


def _run(
    dataset: str, run_id: str, curve: list[float], seconds: dict[str, Any], configs: Mapping[str, Config]
) -> RecordedRun:
    where = f"dataset {dataset}, run {run_id}"
    costs = seconds.get(dataset, {}).get(run_id)
    if costs is None or len(costs) != len(curve):
        found = "none" if costs is None else len(costs)
        raise CurveTableError(f"{where}: perf.json has {len(curve)} epochs, cost.json {found}.")
    if run_id not in configs:
        raise CurveTableError(f"{where} is not in table.csv.")
    config = configs[run_id]
    status = ending(config, costs)
    note = LINEAR_PROBING_NOTE if status == UNUSABLE else None
    fractions = [_fraction(score) for score in curve]
    return RecordedRun(run_id, dataset, config, status, range(1, len(curve) + 1), fractions, costs, note=note)


def _fraction(percent: float) -> float:
    """Percent as a share; float32 arithmetic of the source left 100.00000036."""
    return 1.0 if 100 < percent < 100.000001 else percent / 100


def _configs(path: Path) -> dict[str, Config]:
    """Configs by run; line numbers count the header."""
    configs: dict[str, Config] = {}
    for line, row in enumerate(csv_rows(path), start=2):
        run_id = row.pop("run_id", "")
        where = f"table.csv, line {line} (run {run_id})"
        if not run_id or run_id in configs:
            raise CurveTableError(f"{where}, column 'run_id': missing, or there twice.")
        values: dict[str, Any] = {}
        for column, value in row.items():
            _decode(values, column, value, where)
        hot = {column.split(":")[1] for column in row if column.startswith(ONE_HOT)}
        if hot - values.keys():
            raise CurveTableError(f"{where}: none of the options of {min(hot - values.keys())} is 1.")
        configs[run_id] = read_config(values, where)
    return configs


def _decode(values: dict[str, Any], column: str, value: str, where: str) -> None:
    """Add one cell to `values`: one-hot columns give the option whose cell is 1, -1 is None."""
    _, hot, rest = column.partition(ONE_HOT) if column.startswith(ONE_HOT) else ("", "", column)
    name, _, option = rest.partition(":") if hot else (rest, "", "")
    if name not in HYPERPARAMETERS:
        raise CurveTableError(f"{where}: " + unknown("hyperparameter", name, HYPERPARAMETERS))
    if not hot:
        optional = None in FULL.get(name, ())
        values[name] = None if optional and value in ("-1", "-1.0") else value
    elif value not in ("0", "1"):
        raise CurveTableError(f"{where}, column '{column}': {value!r} is not 0 or 1.")
    elif value == "1":
        if name in values:
            raise CurveTableError(f"{where}, column '{column}': another option of {name} is 1 too.")
        values[name] = option
