"""A kept network as files that need no qtt: a timm checkpoint, ONNX, and a model card.

model.safetensors, config.json   for `timm.create_model("local-dir:FOLDER", pretrained=True)`
model.onnx                       normalised images (b, 3, s, s) to logits (b, c), any b
README.md                        the model card
"""

import json
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qtt.data.image_types import open_image
from qtt.data.sources import list_task
from qtt.errors import ConfigError, DatasetError
from qtt.finetune.cv.classification.cache import channels_first
from qtt.finetune.cv.classification.decoding import decode, upright
from qtt.finetune.cv.classification.inference import Classifier, predictions
from qtt.finetune.cv.classification.model_card import CardFacts, card_text
from qtt.finetune.cv.classification.onnx_export import missing_packages, require_packages, write_onnx
from qtt.finetune.cv.classification.timm_checkpoint import CONFIG, WEIGHTS, check_checkpoint, write_checkpoint
from qtt.runs.kept_models import KeptModel
from qtt.runs.record import RunRecord
from qtt.statistics.metrics import calibration_error, log_loss, top_accuracy
from qtt.statistics.scores import find_metric
from qtt.support.files import write_text
from qtt.tasks.contract import Export
from qtt.types import ACCURACY, TaskInfo

ONNX, CARD = "model.onnx", "README.md"
FILES = (WEIGHTS, CONFIG, ONNX, CARD)

CHECKED = 50
"""Validation images on which exported files are compared with the network."""

NOISE = 8
"""Images of noise that stand in where the dataset is gone."""


@dataclass(frozen=True)
class TimmAgreement:
    """How near timm's transform of upright images comes to the preparation of training, on validation images.

    same: images of the same class, of `images`; difference: the largest of a probability.
    """

    images: int
    same: int
    difference: float


@dataclass(frozen=True)
class ImageExport(Export):
    """What was written.

    images: what files were compared on, in words. onnx_difference: largest of an output; None: there is no
    ONNX file. agreement: None without the dataset.
    """

    images: str = ""
    onnx_difference: float | None = None
    agreement: TimmAgreement | None = None


def export_model(
    run: RunRecord | str | Path,
    out: str | Path | None = None,
    *,
    model: str | int = "best",
    onnx: bool | None = None,
) -> ImageExport:
    """Write one of a run's networks as plain files, and check each against the network.

    Args:
        run: the run folder, or what was read of it.
        out: folder to write to; default: `export` in the run folder. An earlier export there is replaced.
        model: see `RunRecord.kept_model`.
        onnx: whether to write `model.onnx`; None: where the packages of the extra `export` are installed.

    Raises:
        ConfigError: no such network, `out` holds other files, packages for ONNX are missing, or a file does
            not compute what the network does; the message says which.
    """
    record = run if isinstance(run, RunRecord) else RunRecord.load(run)
    kept = record.kept_model(model)
    if onnx:
        require_packages()
    classifier = Classifier.of(kept, record.task, "cpu")
    folder = _prepare(record.path / "export" if out is None else Path(out))
    paths = _some_images(record.task)
    inputs = classifier.normalized(_pixels(paths, classifier))
    images = f"{len(paths)} validation images" if paths else f"{NOISE} images of noise"
    write_checkpoint(classifier, folder)
    loaded = check_checkpoint(classifier.network, inputs, folder)
    agreement = _timm_agreement(loaded, inputs, paths) if paths else None
    difference = None
    if onnx or (onnx is None and not missing_packages()):
        difference = write_onnx(classifier.network, inputs, folder / ONNX, _metadata(classifier))
    told = _told(images, difference, agreement, onnx)
    use = f'To load it in Python: timm.create_model("local-dir:{folder}", pretrained=True)'
    done = ImageExport(folder, kept, told, use, images, difference, agreement)
    write_text(folder / CARD, card_text(_card_facts(done, record, classifier)))
    return done


def _told(
    images: str, difference: float | None, agreement: TimmAgreement | None, onnx: bool | None
) -> tuple[str, ...]:
    """What the command says of the files."""
    lines = [f"timm checkpoint: loads with timm and gives the network's outputs on {images}"]
    if agreement is not None:
        lines.append(
            f"timm's transform of upright images alone: the same class for {agreement.same} of "
            f"{agreement.images}, probabilities differ by at most {agreement.difference:.2g}"
        )
    if difference is not None:
        lines.append(f"model.onnx: outputs differ by at most {difference:.1g} on {images}")
    elif onnx is None:
        missing = ", ".join(missing_packages())
        lines.append(f"model.onnx: not written, for {missing} is not installed: pip install 'qtt[export]'")
    return tuple(lines)


def _prepare(folder: Path) -> Path:
    """An empty folder, or one that holds an earlier export, which goes."""
    if folder.is_file():
        raise ConfigError(f"{folder} is a file. Name a folder to export to.")
    if folder.is_dir():
        others = sorted(path.name for path in folder.iterdir() if path.name not in FILES)
        if others or (any(folder.iterdir()) and not (folder / CONFIG).is_file()):
            raise ConfigError(
                f"{folder} holds other files ({', '.join(others[:3]) or CARD}). Name an empty folder, or "
                "that of an earlier export."
            )
        for name in FILES:
            (folder / name).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _some_images(task: TaskInfo) -> list[Path]:
    """Validation images from all over the split; none where the dataset is gone."""
    try:
        val = list_task(task).val
    except DatasetError:
        return []
    chosen = np.unique(np.linspace(0, len(val) - 1, min(CHECKED, len(val))).astype(int))
    return [val[index][0] for index in chosen]


def _pixels(paths: list[Path], classifier: Classifier) -> Tensor:
    """Images (b, 3, s, s) uint8."""
    size = classifier.size
    if not paths:
        return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (NOISE, 3, size, size), np.uint8))
    return channels_first(np.stack([decode(path, size, classifier.card.interpolation) for path in paths]))


@torch.inference_mode()
def _timm_agreement(loaded: nn.Module, inputs: Tensor, paths: list[Path]) -> TimmAgreement:
    """Compare the preparation that `config.json` describes with that of training."""
    timm: Any = import_module("timm.data")
    transform = timm.create_transform(**timm.resolve_model_data_config(loaded), is_training=False)
    prepared = []
    for path in paths:
        with open_image(path) as image:
            prepared.append(transform(upright(image).convert("RGB")))
    ours, theirs = (loaded(images).softmax(1) for images in (inputs, torch.stack(prepared)))
    same = int((ours.argmax(1) == theirs.argmax(1)).sum())
    return TimmAgreement(len(paths), same, (ours - theirs).abs().max().item())


def _metadata(classifier: Classifier) -> dict[str, str]:
    """What ONNX's users must know, in the file itself."""
    card = classifier.card
    return {
        "class_names": json.dumps(list(classifier.class_names)),
        "image_size": str(classifier.size),
        "mean": json.dumps(list(card.mean)),
        "std": json.dumps(list(card.std)),
        "interpolation": card.interpolation,
    }


def _card_facts(done: ImageExport, record: RunRecord, classifier: Classifier) -> CardFacts:
    agreement = done.agreement
    near = None
    if agreement is not None:
        near = (
            f"on {agreement.images} validation images it gave the same class for {agreement.same}, and "
            f"probabilities that differ by at most {agreement.difference:.2g}"
        )
    return CardFacts(
        model=done.model,
        record=record,
        size=classifier.size,
        parameters=classifier.parameters,
        test=_test_figures(done.model, record.task),
        timm_agreement=near,
        onnx=None if done.onnx_difference is None else f"{done.onnx_difference:.1g} on {done.images}",
    )


def _test_figures(model: KeptModel, task: TaskInfo) -> dict[str, float]:
    """On the dataset's test split; empty where there is none, or the dataset is gone."""
    try:
        tested = predictions(model, task, "test")
    except DatasetError:
        return {}
    if tested is None:
        return {}
    labels: NDArray[np.int64] = tested.labels
    metric = find_metric(task.metric)
    other = {} if metric.name == ACCURACY else {metric.title: metric.score(tested.probabilities, labels)}
    return {
        "images": len(labels),
        **other,
        "top-1 accuracy": top_accuracy(tested.probabilities, labels),
        "log loss": log_loss(tested.probabilities, labels),
        "calibration error (ECE, 15 bins)": calibration_error(tested.probabilities, labels),
    }
