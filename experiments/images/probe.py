"""Logistic regression on frozen features of every network, the cheapest network first.

Features are pooled and standardised by the training split; C and the network are chosen on validation, among
equals the stronger regularisation and the cheaper network. There is no chance in it, and no budget: all
networks have their turn, and the point after each one tells when.
"""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

from numpy.typing import NDArray
from pixels import Pixels, outputs
from points import Job, Point, answer, job_of, parser
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from qtt.data.image_folder import scan_image_folder
from qtt.evaluation.memory import keep_memory
from qtt.finetune.cv.classification.model import in_fast_layout
from qtt.hub.model_hub import load_hub
from qtt.hub.weights import create_model
from qtt.types import ModelCard

STRENGTHS = tuple(10.0**power for power in range(-5, 2))
"""C of the logistic regression: inverse strengths of its regularisation."""

Array = NDArray[Any]


def probe(job: Job) -> Iterator[Point]:
    """A point after each network: the best of the networks so far."""
    pixels = Pixels(scan_image_folder(job.images))
    labels = {split: pixels.labels(split) for split in ("train", "val", "test")}
    val, test, what = -1.0, 0.0, ""
    for card in sorted(load_hub("folder", weights_dir=job.hub), key=cost):
        extract = extractor(in_fast_layout(create_model(card, None, weights_dir=job.hub)))
        train, held = (outputs(extract, pixels.images(split, card), card) for split in ("train", "val"))
        strength, score, model = fitted(train, labels["train"], held, labels["val"])
        if score > val:
            val, what = score, f"{card.name} C={strength:g}"
            with job.clock.standing():
                features = outputs(extract, pixels.images("test", card), card)
                test = float(model.score(features, labels["test"]))
        yield Point(job.clock.seconds, val, test, what)


def cost(card: ModelCard) -> float:
    """Multiply-adds of an image of a given size, up to a factor; parameters where they are not known."""
    return card.params if card.macs is None else card.macs / card.input_size**2


def extractor(network: Any) -> Callable[[Tensor], Tensor]:
    """The pretrained features (b, d) that the classifier would get."""
    network.eval()
    return lambda x: network.forward_head(network.forward_features(x), pre_logits=True)


def fitted(train: Array, labels: Array, held: Array, held_labels: Array) -> tuple[float, float, Pipeline]:
    """C, validation accuracy and model of the regression that does best on validation.

    train (n, d), held (m, d): features; labels (n,), held_labels (m,): theirs.
    """
    best: tuple[float, float, Pipeline] | None = None
    for strength in STRENGTHS:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=300))
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
            model.fit(train, labels)
        score = float(model.score(held, held_labels))
        if best is None or score > best[1]:
            best = strength, score, model
    assert best is not None
    return best


if __name__ == "__main__":
    keep_memory()
    answer(probe, job_of(parser(__doc__).parse_args()))
