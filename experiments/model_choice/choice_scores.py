"""What is known of each network before it is finetuned: ImageNet accuracy, LogME, LEEP, a linear probe.

    python experiments/model_choice/choice_scores.py --shared SHARED [--sets flowers5,…] [--core 0]

A network and a set are a row of results/scores.csv once they are scored, and are not scored again.
Features, probabilities and probes are of 128 px, decoded as qtt does for validation.
"""

import argparse
import csv
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "images"))

from pixels import Pixels, outputs
from probe import cost
from transferability import leep, logme

from hub import make_hub
from qtt.data.image_folder import scan_image_folder
from qtt.finetune.cv.classification.model import in_fast_layout
from qtt.finetune.cv.classification.probe import Labelled, fit
from qtt.hub.model_hub import ModelHub, load_hub
from qtt.hub.weights import create_model
from qtt.types import ModelCard

Array = NDArray[np.float32]

SCORES = Path(__file__).resolve().parent / "results" / "scores.csv"
SETS = ("blood_cells", "flowers5", "sign_digits", "cifar10", "natural_images", "trashnet")
"""Those with recorded finetuning (`experiments/images/gains.csv`), and the third one that is searched."""

PUBLISHED = {
    "mobilenetv1_100": 70.6,
    "mobilenetv2_100": 72.0,
    "mobilenetv2_100.onnx_backbone": 72.0,
    "tf_mobilenetv3_small_100": 67.4,
    "mobilenet_edgetpu_100": 75.6,
}
"""ImageNet top-1 in % that the authors of an architecture published, where a card has none of its own."""


@dataclass(frozen=True)
class Scored:
    """A row. None: not applicable.

    imagenet: top-1 in %. probe_val, probe_test: accuracy of qtt's linear probe. seconds: of one core
    for LogME and LEEP together, weights and the pass over the images included, and for a set's first network
    the decoding of them.
    """

    set: str
    model: str
    imagenet: float | None
    logme: float
    leep: float | None
    probe_val: float
    probe_test: float
    seconds: float


def imagenet(card: ModelCard) -> float | None:
    """ImageNet top-1 in %; None: no network for ImageNet."""
    return PUBLISHED.get(card.name) if card.top1 is None else card.top1


@dataclass(frozen=True, eq=False)
class Frozen:
    """A pretrained network in eval mode, and the card that says how it takes images."""

    network: Any
    card: ModelCard

    @classmethod
    def of(cls, card: ModelCard, hub: ModelHub) -> "Frozen":
        """A network of a hub."""
        return cls(in_fast_layout(create_model(card, None, weights_dir=hub.weights_dir)).eval(), card)

    def answers(self, images: Tensor) -> tuple[Array, Array | None]:
        """Features (n, d) and source probabilities (n, s) of images (n, 3, a, a) uint8, from one pass.

        Without a source classifier, or with zeros in its place, there are no probabilities.
        """
        classifier = self.network.get_classifier()
        both = outputs(self._both, images, self.card)
        features, probabilities = np.split(both, [classifier.in_features], axis=1)
        return features, probabilities if classifier.weight.any() else None

    def _both(self, x: Tensor) -> Tensor:
        maps = self.network.forward_features(x)
        head = self.network.forward_head
        return torch.cat([head(maps, pre_logits=True), head(maps).softmax(1)], dim=1)


def choose(by: str, hub: ModelHub, images: Path) -> str:
    """The network that a first stage hands to the second one, by `imagenet`, `logme` or `leep`."""
    if by == "imagenet":
        return max(hub, key=lambda card: imagenet(card) or 0.0).name
    pixels = Pixels(scan_image_folder(images))
    labels = pixels.labels("train")
    found: dict[str, float] = {}
    for card in sorted(hub, key=cost):
        features, probabilities = Frozen.of(card, hub).answers(pixels.images("train", card))
        if by == "logme":
            found[card.name] = logme(features, labels)
        elif probabilities is not None:
            found[card.name] = leep(probabilities, labels)
    return max(found, key=found.__getitem__)


def scored(card: ModelCard, hub: ModelHub, pixels: Pixels, name: str) -> Scored:
    """The row of a network on a set."""
    labels = {split: pixels.labels(split) for split in ("train", "val", "test")}
    begun = time.process_time()
    frozen = Frozen.of(card, hub)
    features, probabilities = frozen.answers(pixels.images("train", card))
    evidence = logme(features, labels["train"])
    prediction = None if probabilities is None else leep(probabilities, labels["train"])
    seconds = time.process_time() - begun
    train = _labelled(features, labels["train"])
    val, test = (_labelled(frozen.answers(pixels.images(s, card))[0], labels[s]) for s in ("val", "test"))
    head = fit(train, val, len(pixels.folder.class_names)).head
    probe = (float((head.logits(x.features).argmax(1) == x.labels).float().mean()) for x in (val, test))
    return Scored(name, card.name, imagenet(card), evidence, prediction, *probe, seconds)


def _labelled(features: Array, labels: NDArray[np.int64]) -> Labelled:
    return Labelled(torch.from_numpy(np.ascontiguousarray(features)), torch.from_numpy(labels))


def read_scores(path: Path = SCORES) -> list[Scored]:
    """All rows; none where there is no file."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [_row(row) for row in csv.DictReader(file)]


def _row(row: dict[str, str]) -> Scored:
    names = [item.name for item in fields(Scored)]
    numbers: dict[str, Any] = {name: float(row[name]) if row[name] else None for name in names[2:]}
    return Scored(row["set"], row["model"], **numbers)


def append_score(path: Path, row: Scored) -> None:
    """Add a row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [item.name for item in fields(Scored)], lineterminator="\n")
        if new:
            writer.writeheader()
        values = asdict(row)
        writer.writerow({k: round(v, 5) if isinstance(v, float) else v for k, v in values.items()})


def score_missing(shared: Path, hub: ModelHub, sets: Sequence[str], path: Path) -> None:
    """Score what the table lacks."""
    for name in sets:
        known = {row.model for row in read_scores(path) if row.set == name}
        pixels = Pixels(scan_image_folder(shared / "images" / name))
        for card in sorted(hub, key=cost):
            if card.name not in known:
                append_score(path, scored(card, hub, pixels, name))


def main() -> None:
    """Score what is missing."""
    shared = Path(os.environ.get("QTT_SHARED_DATA", "../shared/data"))
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--shared", type=Path, default=shared, help="folder with images/ and weights/")
    made.add_argument("--out", type=Path, default=Path("runs/model_choice"), help="folder of the joint hub")
    made.add_argument("--sets", type=lambda text: text.split(","), default=SETS, metavar="SET[,SET…]")
    made.add_argument("--core", type=int, default=0, help="the one core that everything runs on")
    options = made.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {options.core})
    torch.set_num_threads(1)
    folder = options.out.resolve() / "hub"
    make_hub(options.shared / "weights", folder)
    score_missing(options.shared, load_hub("folder", weights_dir=folder), options.sets, SCORES)


if __name__ == "__main__":
    main()
