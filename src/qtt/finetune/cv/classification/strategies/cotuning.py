"""Co-tuning (You et al. 2020, "Co-Tuning for Transfer Learning"): the pretrained classifier is kept in use.

It shall still find in finetuned features the classes of the source that go with an image's target class.

Notation: b images, d features, k target classes, s classes of the source.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from qtt.finetune.cv.classification.module import ForwardStep


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
