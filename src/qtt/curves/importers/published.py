"""Imports the Quick-Tune meta-dataset as its authors publish it (folder qt_metadataset), version by version.

<version>/<quantity>.json   {dataset: {run_id: [one per epoch]}}: eval_top1, train_time, eval_time, eval_loss
<version>/args.json         {run_id: {argument: value}}
dataset-meta-features/meta-album/meta-features.json
                            dataset_names, and dataset_descriptors: [training images, classes, size, channels]

Datasets are called mtlbm/<version>/<set>/<name>. Seconds of an epoch are train_time + eval_time.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qtt.curves.importers.files import json_object, metafeatures, require
from qtt.curves.importers.recorded import (
    EPOCHS,
    LINEAR_PROBING_NOTE,
    Imported,
    RecordedDataset,
    RecordedRun,
    album_dataset,
    ending,
    frames_of,
)
from qtt.curves.importers.values import AUGMENTATION, read_config
from qtt.curves.schema import FAILED, HYPERPARAMETERS, UNUSABLE
from qtt.data.meta_album import AlbumDataset
from qtt.errors import CurveTableError
from qtt.types import MetaFeatures

VERSIONS = ("micro", "mini", "extended")
ROOT = "mtlbm"
DESCRIPTORS = "dataset-meta-features/meta-album/meta-features.json"
NEEDED = ("eval_top1", "train_time", "eval_time")
COLLAPSE_EPOCH, COLLAPSE = 26, 20.0
"""Under mixed precision some runs broke off in epoch 26, and its score is the broken network's: more than 20
points below the one before."""
NOTES = (
    "A curve ends before its first epoch without score or seconds.",
    "Linear-probing runs with a single epoch are unusable; other statuses are told from the seconds.",
    "Where a run under mixed precision broke off in epoch 26 with 20 points less, that epoch is left out.",
)

Quantities = Mapping[str, Mapping[str, Mapping[str, Sequence[Any]]]]


@dataclass(frozen=True)
class _Curve:
    """Scores in percent, seconds, and losses of the epochs that have a score and seconds."""

    scores: list[float]
    seconds: list[float]
    losses: list[float | None]
    note: str | None


def read(source: Path, version: str, facts: Mapping[str, AlbumDataset] | None = None) -> Imported:
    """Read one version below the folder `source`; facts: of Meta-Album's datasets, for their domain.

    Raises:
        CurveTableError: a file is missing or malformed, or the files contradict each other.
    """
    names = (*(f"{version}/{name}.json" for name in (*NEEDED, "args")), DESCRIPTORS)
    require(source, names, f"version {version} of the Quick-Tune meta-dataset")
    loss = source / version / "eval_loss.json"
    quantities = {name: json_object(source / version / f"{name}.json") for name in NEEDED}
    quantities["eval_loss"] = json_object(loss) if loss.is_file() else {}
    arguments = json_object(source / version / "args.json")
    descriptors = _descriptors(source / DESCRIPTORS)
    datasets = [_dataset(key, version, descriptors, facts or {}) for key in quantities["eval_top1"]]
    runs = [
        _run(key, run_id, quantities, arguments)
        for key, curves in quantities["eval_top1"].items()
        for run_id in curves
    ]
    return Imported(
        frames_of(runs, datasets),
        source=f"Quick-Tune meta-dataset (Pineda Arango et al. 2024), version {version}",
        licence=None,
        notes=NOTES,
    )


def _run(dataset: str, run_id: str, quantities: Quantities, arguments: Mapping[str, Any]) -> RecordedRun:
    where = f"dataset {dataset}, run {run_id}"
    if not isinstance(arguments.get(run_id), dict):
        raise CurveTableError(f"{where} has no arguments in args.json.")
    given = arguments[run_id]
    if given.get("dataset", dataset) != dataset:
        raise CurveTableError(f"{where}: args.json says that its dataset is {given['dataset']}.")
    known = {name: value for name, value in given.items() if name in HYPERPARAMETERS or name in AUGMENTATION}
    config = read_config(known, f"args.json, {where}")
    curve = _curve(dataset, run_id, quantities)
    status = ending(config, curve.seconds)
    note = LINEAR_PROBING_NOTE if status == UNUSABLE else curve.note
    if status == FAILED and config.get("amp") and _collapsed(curve.scores):
        curve = _Curve(curve.scores[:-1], curve.seconds[:-1], curve.losses[:-1], note)
        note = f"broke off in epoch {COLLAPSE_EPOCH} under mixed precision"
    memory = given.get("max_memory_allocated")
    return RecordedRun(
        run_id,
        dataset.rpartition("/")[2],
        config,
        status,
        range(1, len(curve.scores) + 1),
        [score / 100 for score in curve.scores],
        curve.seconds,
        curve.losses,
        max_memory=memory if _known(memory) and memory > 0 else None,
        note=note,
    )


def _curve(dataset: str, run_id: str, quantities: Quantities) -> _Curve:
    """The epochs of a run up to the first without score or seconds."""
    where = f"dataset {dataset}, run {run_id}"
    columns = {name: _list(values.get(dataset, {}).get(run_id)) for name, values in quantities.items()}
    scores, train, evaluation = (columns[name] for name in NEEDED)
    if not len(scores) == len(train) == len(evaluation):
        lengths = ", ".join(f"{name} {len(columns[name])}" for name in NEEDED)
        raise CurveTableError(f"{where}: the quantities have different numbers of epochs: {lengths}.")
    if len(scores) > EPOCHS:
        raise CurveTableError(f"{where}: {len(scores)} epochs; runs have at most {EPOCHS}.")
    complete = [all(map(_known, values)) for values in zip(scores, train, evaluation, strict=True)]
    end = complete.index(False) if False in complete else len(complete)
    losses = columns["eval_loss"] + [None] * len(scores)
    return _Curve(
        scores[:end],
        [a + b for a, b in zip(train[:end], evaluation[:end], strict=True)],
        [loss if _known(loss) else None for loss in losses[:end]],
        note=f"epoch {end + 1} has no score or no seconds" if end < len(scores) else None,
    )


def _collapsed(scores: Sequence[float]) -> bool:
    return len(scores) == COLLAPSE_EPOCH and scores[-2] - scores[-1] > COLLAPSE


def _known(value: Any) -> bool:
    """Whether a value is a finite number; null, NaN and the text None are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _list(values: Any) -> list[Any]:
    """A curve; one of a single epoch may be a bare number."""
    return list(values) if isinstance(values, list) else [] if values is None else [values]


def _descriptors(path: Path) -> dict[str, MetaFeatures]:
    """Meta-features by dataset, as <version>/<set>/<name>."""
    data = json_object(path)
    names, values = data.get("dataset_names"), data.get("dataset_descriptors")
    if not isinstance(names, list) or not isinstance(values, list) or len(names) != len(values):
        raise CurveTableError(f"{path} must hold dataset_names and as many dataset_descriptors.")
    return {name: metafeatures(row, f"{path.name}, {name}") for name, row in zip(names, values, strict=True)}


def _dataset(
    key: str, version: str, descriptors: Mapping[str, MetaFeatures], facts: Mapping[str, AlbumDataset]
) -> RecordedDataset:
    """The dataset of a key mtlbm/<version>/<set>/<name>."""
    parts = key.split("/")
    if len(parts) != 4 or parts[:2] != [ROOT, version]:
        raise CurveTableError(f"Dataset '{key}' is not called {ROOT}/{version}/<set>/<name>.")
    described = descriptors.get(key.removeprefix(f"{ROOT}/"))
    if described is None:
        raise CurveTableError(f"{DESCRIPTORS} does not describe the dataset {key}.")
    return album_dataset(parts[3], described, facts, group=parts[2])
