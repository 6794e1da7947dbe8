"""What a search's report says of images: which of them the best network mistakes, and for what."""

import io
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from qtt.data.sources import list_task
from qtt.data.walking import name_within
from qtt.errors import DatasetError, QTTError
from qtt.reporting import page
from qtt.reporting.kept_predictions import KeptPredictions
from qtt.reporting.mistakes import mistakes_parts
from qtt.reporting.page import Section
from qtt.reporting.validated import Validated
from qtt.runs.kept_models import KeptModel
from qtt.runs.record import RunRecord
from qtt.statistics.scores import find_metric
from qtt.tasks.contract import ReportParts
from qtt.types import TaskInfo

SIDE = 72
"""Pixels of a thumbnail."""


def mistakes(model: KeptModel, record: RunRecord, say: Callable[[str], None]) -> ReportParts:
    """Confusion, calibration and the worst mistakes of a kept network; or the reason why there are none."""
    waiting = f"classifying the validation images with {model.name}"
    seen = validate(model, record.task, record.path, lambda: say(waiting))
    if not isinstance(seen, Validated):
        return ReportParts((Section("Mistakes", page.paragraph(seen)),))
    root = images_root(record.task)

    def picture(position: int) -> bytes | None:
        return thumbnail(root / seen.names[position])

    return mistakes_parts(model, seen, "images", picture, find_metric(record.task.metric))


def validate(model: KeptModel, task: TaskInfo, run_dir: Path, begun: Callable[[], None]) -> Validated | str:
    """What a kept network says of the validation images, or a sentence that says why that cannot be had.

    The answer is kept in the run folder. It is used again while it is of the same epoch of the same pipeline
    and of the same images, and also when the images are gone.

    begun: is called when images are about to be classified.
    """
    kept = KeptPredictions(run_dir, model)
    try:
        listed = list_task(task)
    except QTTError as error:
        return kept.read() or _sentence(error)
    if listed.class_names != model.class_names:
        return "The classes of the dataset are no longer those that the network was trained for."
    samples = [(name_within(listed.root, path), label) for path, label in listed.val]
    found = kept.read()
    if found is not None and found.samples == samples:
        return found
    begun()
    return _classify(model, task, kept)


def _classify(model: KeptModel, task: TaskInfo, kept: KeptPredictions) -> Validated | str:
    from qtt.finetune.cv.classification.inference import predictions

    try:
        told = predictions(model, task, "val")
    except QTTError as error:
        return _sentence(error)
    assert told is not None  # a dataset without validation images cannot be listed
    root = images_root(task)
    names = tuple(name_within(root, path) for path in told.paths)
    seen = Validated(told.probabilities, told.labels, names, model.class_names)
    kept.write(seen)
    return seen


def images_root(task: TaskInfo) -> Path:
    """The folder that names of images are relative to."""
    if task.source.get("layout") not in ("table", "saved"):
        return task.path.expanduser()
    try:
        return list_task(task).root
    except QTTError:
        return task.path.expanduser()


def _sentence(error: QTTError) -> str:
    return f"The validation images cannot be classified: {str(error).splitlines()[0]}"


def thumbnail(path: Path) -> bytes | None:
    """The middle of an image as JPEG; None where the image is gone or damaged."""
    from qtt.finetune.cv.classification.decoding import decode

    try:
        pixels = decode(path, SIDE, "bicubic")
    except DatasetError:
        return None
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=82)
    return stream.getvalue()
