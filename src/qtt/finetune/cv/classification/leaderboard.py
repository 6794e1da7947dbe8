"""Every network that a search kept, on labelled images that it has not seen (tool paper, section 3)."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from qtt.data.found_images import LabelledImages
from qtt.data.sources import list_task
from qtt.data.sources.labelled import find_test_images
from qtt.errors import DatasetError, QTTError
from qtt.finetune.cv.classification.inference import BATCH, Classifier
from qtt.finetune.cv.classification.predictor import ImagePredictor
from qtt.runs.kept_models import KeptModel
from qtt.runs.record import RunRecord
from qtt.statistics.by_class import class_table, majority_note
from qtt.statistics.metrics import calibration_error, log_loss, top_accuracy
from qtt.statistics.scores import Metric, find_metric
from qtt.tasks.contract import Column, LeftOut, Scoreboard, Watch
from qtt.types import ACCURACY, TaskInfo

TIMED = 1.0
"""Seconds for which a network's speed is measured."""


COLUMNS = {
    "name": Column("name"),
    "model": Column("model"),
    "validation": Column("validation", ".4f"),
    "score": Column("score", ".4f"),
    "stderr": Column("±", ".4f"),
    **{f"top{k}": Column(f"top-{k}", ".4f") for k in range(1, 6)},
    "log_loss": Column("log loss", ".4f"),
    "calibration_error": Column("ECE", ".4f"),
    "images_per_second": Column("images/s", ".0f"),
    "parameters": Column("params (M)", ".2f"),
}
LEGEND = (
    "±: standard error of the score. ECE: expected calibration error, 15 bins. images/s: of the network "
    "here, decoding not counted."
)


def leaderboard(
    record: RunRecord,
    path_to_test_data: str | Path,
    *,
    ignore_unknown: bool = False,
    device: str = "auto",
    watch: Watch = lambda name, done, images: None,
) -> Scoreboard:
    """Evaluate every kept network; a report for people, never used for choosing among the networks.

    Whoever chose by these figures would need yet other images to know how good the choice is.

    Columns of the table: name, config_id, model, validation (score in the search), score (in the search's
    metric, by which rows are sorted) and its stderr, top1, top5 (accuracies; with c < 5 classes `top<c>`),
    log_loss, calibration_error (see `metrics`; 15 bins), images_per_second (of the network on this machine,
    in batches of 64, without decoding), parameters (millions), images.

    Args:
        record: the run.
        path_to_test_data: folder of class folders, or one with such a folder `test`; or a table or saved
            dataset, whose split `test` counts where it has one.
        ignore_unknown: leave out images of classes that the search does not know.
        device: auto (CUDA where there is one), cpu or cuda.
        watch: told how far it is.

    Raises:
        ConfigError: no network was kept, or one cannot be loaded.
        DatasetError: no images, none that can be read, or unknown classes.
    """
    record.best_model()
    labelled = find_test_images(Path(path_to_test_data), record.task, ignore_unknown)
    metric = find_metric(record.task.metric, len(record.task.class_names))
    rows, images = [], 0
    legend = LEGEND
    chosen: pd.DataFrame | None = None
    unreadable: tuple[LeftOut, ...] = ()
    for kept in record.kept():
        predictor = ImagePredictor.of(kept, record, device)
        probabilities, labels, unreadable = _predict(predictor, labelled, watch)
        images = len(labels)
        rows.append(_row(kept, predictor.classifier, metric, probabilities, labels))
        if chosen is None:  # the best in validation comes first
            chosen = class_table(probabilities, labels, kept.class_names)
            legend = f"{majority_note(labels, kept.class_names)} {LEGEND}"
    table = pd.DataFrame(rows).sort_values(["score", "log_loss"], ascending=[False, True], ignore_index=True)
    shown = {name: column for name, column in COLUMNS.items() if name in table}
    if metric.name == ACCURACY:
        del shown["top1"]  # the score says the same
    shown["score"] = replace(shown["score"], head=metric.title)
    notes, seen = _notes(labelled, unreadable), _seen(labelled, record.task)
    return Scoreboard(table, images, notes, shown, legend, chosen, seen)


def _seen(labelled: LabelledImages, task: TaskInfo) -> int:
    """How many of the images the search has trained on or chosen by; 0 where its dataset is gone."""
    try:
        listing = list_task(task)
    except QTTError:
        return 0
    known = {path.resolve() for path, _ in (*listing.train, *listing.val)}
    return sum(path.resolve() in known for path, _ in labelled.samples)


def _notes(labelled: LabelledImages, unreadable: Sequence[LeftOut]) -> tuple[str, ...]:
    """What a reader of the table must know of the images, in sentences."""
    notes = []
    if labelled.ignored:
        counts = ", ".join(f"{name} ({count})" for name, count in labelled.ignored.items())
        total = sum(labelled.ignored.values())
        notes.append(f"{total} images of classes that the search does not know are left out: {counts}.")
    if labelled.missing:
        names = ", ".join(labelled.missing)
        notes.append(f"Classes without test images, about which nothing is said: {names}.")
    if unreadable:
        reasons = " ".join(left_out.reason for left_out in unreadable)
        notes.append(f"{len(unreadable)} images cannot be read and are left out: {reasons}")
    return tuple(notes)


def _predict(
    predictor: ImagePredictor, labelled: LabelledImages, watch: Watch
) -> tuple[NDArray[np.float32], NDArray[np.int64], tuple[LeftOut, ...]]:
    """Probabilities (n, c) and labels (n,) of the images that can be read, and the others."""
    paths = [path for path, _ in labelled.samples]
    known = np.array([label for _, label in labelled.samples], dtype=np.int64)
    probabilities, positions = [], []
    unreadable: list[LeftOut] = []
    for part in predictor.stream(paths, skip_unreadable=True):
        probabilities.append(part.probabilities)
        positions.append(part.positions)
        unreadable += part.unreadable
        watch(predictor.kept.name, sum(map(len, positions)) + len(unreadable), len(paths))
    labels = known[np.concatenate(positions)]
    if not len(labels):
        raise DatasetError(f"None of the {len(paths)} test images can be read: {unreadable[0].reason}")
    return np.concatenate(probabilities), labels, tuple(unreadable)


def _row(
    kept: KeptModel,
    classifier: Classifier,
    metric: Metric,
    probabilities: NDArray[np.float32],
    labels: NDArray[np.int64],
) -> dict[str, object]:
    several = min(5, len(kept.class_names))
    return {
        "name": kept.name,
        "config_id": kept.config_id,
        "model": kept.config.get("model"),
        "validation": kept.score,
        "score": metric.score(probabilities, labels),
        "stderr": metric.error(probabilities, labels),
        "top1": top_accuracy(probabilities, labels),
        f"top{several}": top_accuracy(probabilities, labels, several),
        "log_loss": log_loss(probabilities, labels),
        "calibration_error": calibration_error(probabilities, labels),
        "images_per_second": measure_speed(classifier),
        "parameters": classifier.parameters / 1e6,
        "images": len(labels),
    }


def measure_speed(classifier: Classifier, seconds: float = TIMED) -> float:
    """Images per second of a network on its device, in batches of 64: the median of repeated passes.

    Uploading, normalising and the pass itself count, decoding does not.
    """
    images = torch.zeros((BATCH, 3, classifier.size, classifier.size), dtype=torch.uint8)
    images = images.contiguous(memory_format=torch.channels_last)
    classifier.logits(images)  # the first pass sets things up
    passes: list[float] = []
    while sum(passes) < seconds or len(passes) < 3:
        begin = time.perf_counter()
        classifier.logits(images)  # its result is on the CPU, so the device has finished
        passes.append(time.perf_counter() - begin)
    return BATCH / float(np.median(passes))
