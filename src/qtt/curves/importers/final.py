"""Imports final_scores.csv: hyperparameters, last epoch and its score and seconds of runs of version micro.

The table that comes of it has no curves: one row a run, at the last epoch it reached.
"""

from collections.abc import Mapping
from pathlib import Path

from qtt.curves.importers.files import csv_rows, require
from qtt.curves.importers.recorded import Imported, RecordedRun, album_dataset, frames_of
from qtt.curves.importers.values import AUGMENTATION, read_config, read_value
from qtt.curves.schema import FAILED, FINISHED, HYPERPARAMETERS, INTEGER, NUMBER
from qtt.data.meta_album import AlbumDataset
from qtt.errors import CurveTableError, unknown
from qtt.types import MetaFeatures

FILE = "final_scores.csv"
FACTS = {
    "run_id": None,
    "dataset": None,
    "num_classes": INTEGER,
    "epochs": INTEGER,
    "last_epoch": INTEGER,
    "eval_top1": NUMBER,
    "eval_loss": NUMBER,
    "train_time": NUMBER,
    "eval_time": NUMBER,
}
"""Columns beside the hyperparameters, and the kinds of their values."""

TRAIN_IMAGES_A_CLASS, IMAGE_SIZE, CHANNELS = 24, 128, 3
"""Version micro has 40 images of each class, of which 60 % train."""

NOTES = (
    "Only the last recorded epoch of every run is known, with the seconds of that epoch.",
    "Runs that ended before epoch 50 failed: none of them was long enough for the time cap.",
)


def read(source: Path, facts: Mapping[str, AlbumDataset] | None = None) -> Imported:
    """Read final_scores.csv in the folder `source`; facts: of Meta-Album's datasets, for set and domain.

    Raises:
        CurveTableError: the file is missing, or a column or value is.
    """
    require(source, [FILE], FILE)
    runs: list[RecordedRun] = []
    classes: dict[str, int] = {}
    for line, row in enumerate(csv_rows(source / FILE), start=2):
        where = f"{FILE}, line {line}"
        run, num_classes = _run(row, where)
        if classes.setdefault(run.dataset, num_classes) != num_classes:
            raise CurveTableError(
                f"{where}, column 'num_classes': {num_classes}, not {classes[run.dataset]}."
            )
        runs.append(run)
    datasets = [
        album_dataset(
            name,
            MetaFeatures(TRAIN_IMAGES_A_CLASS * num_classes, num_classes, IMAGE_SIZE, CHANNELS),
            facts or {},
        )
        for name, num_classes in classes.items()
    ]
    return Imported(
        frames_of(runs, datasets),
        source="Quick-Tune, final scores of version micro (repository machinelearningnuremberg/QuickTune)",
        licence=None,
        notes=NOTES,
        all_epochs=False,
    )


def _run(row: Mapping[str, str], where: str) -> tuple[RecordedRun, int]:
    """One row, and the number of classes it gives."""
    values = {}
    for name, kind in FACTS.items():
        try:
            values[name] = read_value(kind, row[name])
        except KeyError:
            raise CurveTableError(f"{where}: there is no column '{name}'.") from None
        except ValueError as error:
            raise CurveTableError(f"{where}, column '{name}': {row[name]!r} {error}.") from error
        if values[name] is None and name != "eval_loss":
            raise CurveTableError(f"{where}, column '{name}' has no value.")
    rest = {name: value for name, value in row.items() if name not in FACTS}
    for name in rest:
        if name not in HYPERPARAMETERS and name not in AUGMENTATION:
            raise CurveTableError(f"{where}: " + unknown("column", name, [*HYPERPARAMETERS, *FACTS]))
    config = read_config(rest, where)
    run = RecordedRun(
        run_id=values["run_id"],
        dataset=values["dataset"],
        config=config,
        status=FINISHED if values["last_epoch"] >= values["epochs"] else FAILED,
        epochs=[values["last_epoch"]],
        scores=[values["eval_top1"] / 100],
        seconds=[values["train_time"] + values["eval_time"]],
        losses=[values["eval_loss"]],
    )
    return run, values["num_classes"]
