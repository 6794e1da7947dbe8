"""Co-tuning (You et al. 2020, "Co-Tuning for Transfer Learning"): the pretrained classifier is kept in use.

It shall still find in finetuned features the classes of the source that go with an image's target class.

Notation: b images, d features, k target classes, s classes of the source.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from qtt.finetune.cv.classification.forward import ForwardStep, input_scaling
from qtt.finetune.cv.classification.loss_terms import NotApplicable, Start, declare

SOURCE_BATCH = 64
"""Images that the source classifies at once."""


def category_relationship(batches: Iterable[tuple[Tensor, Tensor]], num_classes: int) -> Tensor:
    """p(y_source | y_target), (k, s): the mean of the source's probabilities over the images of a class.

    This is the paper's direct way. Sums are in double precision and in the order of the images.

    batches: the source's probabilities (b, s) and labels (b,); every class has images.
    """
    sums, counts = torch.zeros(num_classes, 0), torch.zeros(num_classes, dtype=torch.int64)
    for probabilities, labels in batches:
        if not sums.numel():
            sums = torch.zeros(num_classes, probabilities.shape[1], dtype=torch.float64)
        sums.index_add_(0, labels, probabilities.double().cpu())
        counts += torch.bincount(labels, minlength=num_classes)
    return (sums / counts[:, None]).float()


def source_cross_entropy(source_logits: Tensor, targets: Tensor, relationship: Tensor) -> Tensor:
    """Mean over b images of the cross-entropy of logits (b, s) with targets (b, k) @ relationship (k, s)."""
    return functional.cross_entropy(source_logits, targets @ relationship)


def classify(classifiers: Sequence[nn.Module], features: Tensor) -> Tensor:
    """Logits (b, s) of features (b, d), from linear or 1 × 1 classifiers; distilled models mean over two."""
    logits = []
    for classifier in classifiers:
        spatial = isinstance(classifier, nn.Conv2d)
        logits.append(classifier(features[..., None, None] if spatial else features).flatten(1))
    return torch.stack(logits).mean(0) if len(logits) > 1 else logits[0]


class CoTuning:
    """λ times the cross-entropy of the frozen source's classifier on the finetuned features.

    classifiers: the source's, in eval mode, without gradients.
    relationship: (k, s), see `category_relationship`.
    """

    needs_features = True

    def __init__(self, weight: float, classifiers: Sequence[nn.Module], relationship: Tensor) -> None:
        self.weight = weight
        self.classifiers = tuple(classifiers)
        self.relationship = relationship

    def __call__(self, step: ForwardStep) -> Tensor:
        """The penalty of a batch, in 32 bits."""
        assert step.features is not None
        with torch.autocast(step.features.device.type, enabled=False):
            source_logits = classify(self.classifiers, step.features)
            return self.weight * source_cross_entropy(source_logits, step.targets, self.relationship)

    @property
    def held(self) -> tuple[Tensor, ...]:
        """Tensors that it keeps in memory."""
        weights = (tensor for part in self.classifiers for tensor in (*part.parameters(), *part.buffers()))
        return self.relationship, *weights


SourceClasses = tuple[tuple[nn.Module, ...], Tensor]
"""Classifiers of a source, and p(y_source | y_target) for a training split."""

_classes: WeakKeyDictionary[Any, dict[str, SourceClasses]] = WeakKeyDictionary()
"""By the images of the training split, whose dataset and size they thereby know, and the source's key."""


def build(weight: float, start: Start) -> CoTuning:
    """The term of a pipeline.

    Raises:
        NotApplicable: its source has no classifier to keep in use.
    """
    card = start.task.card(start.recipe.model)
    if not start.settings.pretrained:
        raise NotApplicable("training starts from random weights (pretrained=false)")
    if card.num_classes < 2:
        raise NotApplicable(f"the weights of {card.name} have no classifier")
    known = _classes.setdefault(start.train.images, {})
    if start.source_key not in known:
        classifiers = start.source.classifiers
        if not any(p.any() for part in classifiers for p in part.parameters() if p.ndim > 1):
            raise NotApplicable(f"the classifier in the weights of {card.name} is all zeros")
        relationship = category_relationship(_probabilities(start), start.task.num_classes)
        known[start.source_key] = classifiers, relationship.to(start.settings.device)
    return CoTuning(weight, *known[start.source_key])


def _probabilities(start: Start) -> Iterator[tuple[Tensor, Tensor]]:
    """The source's probabilities for the training images, prepared as for validation, and their labels."""
    card, train = start.task.card(start.recipe.model), start.train
    device = start.settings.device
    mean, scale = (tensor.to(device) for tensor in input_scaling(card.mean, card.std))
    for first in range(0, len(train), SOURCE_BATCH):
        indices = np.arange(first, min(first + SOURCE_BATCH, len(train)))
        images = train.images.batch(indices).to(device).float()
        yield start.source.probabilities((images - mean) * scale), train.labels[indices]


TERM = declare("cotuning_reg", build)
