"""What the best network says of the validation images: predictions, kept for the next report, and mistakes.

Notation: n images, c classes.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from qtt.data.image_folder import scan_image_folder
from qtt.errors import QTTError
from qtt.runs.kept_models import KeptModel
from qtt.types import TaskInfo

Array = NDArray[np.float64]

CACHE = "predictions"
"""Folder within the run folder."""


@dataclass(frozen=True, eq=False)
class Validated:
    """probabilities: (n, c) of the classes. labels: (n,) positions in class_names. paths: of the images."""

    probabilities: NDArray[np.float32]
    labels: NDArray[np.int64]
    paths: tuple[Path, ...]
    class_names: tuple[str, ...]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(n,) the most probable classes."""
        return np.asarray(self.probabilities.argmax(1), dtype=np.int64)

    @property
    def confidence(self) -> Array:
        """(n,) probabilities of the predicted classes."""
        return np.asarray(self.probabilities.max(1), dtype=np.float64)

    @property
    def accuracy(self) -> float:
        """Share of images whose class is the predicted one."""
        return float((self.predicted == self.labels).mean())


@dataclass(frozen=True)
class Mistake:
    """Images of class `true` taken for `predicted`, most confident first; of: how many are of `true`."""

    true: int
    predicted: int
    images: tuple[int, ...]
    of: int


def validate(model: KeptModel, task: TaskInfo, run_dir: Path, begun: Callable[[], None]) -> Validated | str:
    """What a kept network says of the validation images, or a sentence that says why that cannot be had.

    The answer is kept in the run folder. It is used again while it is of the same epoch of the same pipeline
    and of the same images, and also when the images are gone.

    begun: is called when images are about to be classified.
    """
    file = run_dir / CACHE / f"{model.name.replace('/', '-')}.npz"
    try:
        listed = scan_image_folder(task.path, task.val_fraction, task.seed)
    except QTTError as error:
        return _read(file, model, task) or _sentence(error)
    if listed.class_names != model.class_names:
        return "The classes of the dataset are no longer those that the network was trained for."
    samples = [[path.relative_to(listed.root).as_posix(), label] for path, label in listed.val]
    found = _read(file, model, task)
    if found is not None and _samples(found, task) == samples:
        return found
    begun()
    return _classify(model, task, file)


def _classify(model: KeptModel, task: TaskInfo, file: Path) -> Validated | str:
    from qtt.finetune.cv.classification.inference import predictions

    try:
        told = predictions(model, task, "val")
    except QTTError as error:
        return _sentence(error)
    assert told is not None  # a dataset without validation images cannot be listed
    seen = Validated(told.probabilities, told.labels, told.paths, model.class_names)
    _write(file, model, task, seen)
    return seen


def _samples(seen: Validated, task: TaskInfo) -> list[list[Any]]:
    """Paths within the dataset, with labels."""
    root = task.path.expanduser()
    pairs = zip(seen.paths, seen.labels.tolist(), strict=True)
    return [[path.relative_to(root).as_posix(), label] for path, label in pairs]


def _write(file: Path, model: KeptModel, task: TaskInfo, seen: Validated) -> None:
    """Keep predictions; a folder that cannot be written to only costs the time to predict again."""
    unfinished = file.with_suffix(".unfinished")
    about = json.dumps({"network": _identity(model), "samples": _samples(seen, task)})
    try:
        file.parent.mkdir(exist_ok=True)
        with unfinished.open("wb") as stream:
            np.savez_compressed(stream, about=np.array(about), probabilities=seen.probabilities)
        unfinished.replace(file)
    except OSError:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def _read(file: Path, model: KeptModel, task: TaskInfo) -> Validated | None:
    """Kept predictions of that network; None where there are none."""
    try:
        with np.load(file, allow_pickle=False) as kept:
            about, probabilities = json.loads(str(kept["about"])), kept["probabilities"]
        if about["network"] != _identity(model):
            return None
        paths = tuple(task.path.expanduser() / path for path, _ in about["samples"])
        labels = np.array([label for _, label in about["samples"]], dtype=np.int64)
        return Validated(probabilities, labels, paths, model.class_names)
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile):
        return None


def _identity(model: KeptModel) -> dict[str, Any]:
    """What tells one network from another, as JSON gives it back."""
    return {"pipeline": model.config_id, "epoch": model.fidelity, "score": model.score}


def _sentence(error: QTTError) -> str:
    return f"The validation images cannot be classified: {str(error).splitlines()[0]}"


def confusion_matrix(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """Counts (c, c): row i, column j: images of class i that were taken for class j."""
    counts = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return np.asarray(counts.reshape(classes, classes), dtype=np.int64)


def worst_mistakes(seen: Validated, most: int) -> list[Mistake]:
    """The most frequent confusions, of equally frequent ones the first by class."""
    classes = len(seen.class_names)
    counts = confusion_matrix(seen.labels, seen.predicted, classes)
    pairs = [(i, j) for i, j in zip(*np.nonzero(counts), strict=True) if i != j]
    pairs.sort(key=lambda pair: (-counts[pair], pair))
    mistakes = []
    for i, j in pairs[:most]:
        mine = np.flatnonzero((seen.labels == i) & (seen.predicted == j))
        order = mine[np.argsort(-seen.confidence[mine], kind="stable")]
        mistakes.append(Mistake(int(i), int(j), tuple(order.tolist()), int(counts[i].sum())))
    return mistakes
