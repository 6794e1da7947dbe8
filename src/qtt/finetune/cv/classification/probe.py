"""Linear probes: the regularised linear classifier on the frozen features of a network.

Notation: n training images, m validation images, d features, c classes.

The classifier is a logistic regression (scikit-learn) on standardised features, its regularisation chosen on
the validation images; written back into the network it is a complete model, and the place from which
finetuning tears the pretrained features least (LP-FT: Kumar et al., ICLR 2022).
"""

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn import functional

from qtt.finetune.cv.classification.loss_terms import NotApplicable

STRENGTHS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
"""Inverse regularisation of the logistic regression (scikit-learn's C), the strongest first."""

ITERATIONS = 200

NOT_PRETRAINED = "its weights are not pretrained"

ABSENT = -20.0
"""Bias of a class without training images."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """Features (n, d) of images and their labels (n,)."""

    features: Tensor
    labels: Tensor


@dataclass(frozen=True, eq=False)
class Head:
    """A linear classifier on features: weight (c, d), bias (c,)."""

    weight: Tensor
    bias: Tensor

    def logits(self, features: Tensor) -> Tensor:
        """Outputs (m, c) of features (m, d)."""
        return features @ self.weight.T + self.bias

    def into(self, network: nn.Module) -> None:
        """Make it the classifier of a network.

        Raises:
            NotApplicable: the network's classifier is not one linear layer of this size.
        """
        layer = linear_classifier(network)
        if layer.weight.shape != self.weight.shape:
            raise NotApplicable(
                f"it has {self.weight.shape[1]} features, and its classifier takes {layer.weight.shape[1]}"
            )
        with torch.no_grad():
            layer.weight.copy_(self.weight)
            layer.bias.copy_(self.bias)


@dataclass(frozen=True, eq=False)
class Fit:
    """The best head, its C, its validation logits (m, c), its mean training loss."""

    head: Head
    strength: float
    logits: Tensor
    train_loss: float


def linear_classifier(network: nn.Module) -> nn.Linear:
    """The last layer of a timm network.

    Raises:
        NotApplicable: it is not one linear layer with a bias, as in distilled networks, which have two.
    """
    layer = network.get_classifier()  # type: ignore[operator]
    if not isinstance(layer, nn.Linear) or layer.bias is None:
        raise NotApplicable("its classifier is not one linear layer")
    return layer


@torch.inference_mode()
def features_of(network: nn.Module, images: Tensor) -> Tensor:
    """What the classifier of a network in eval mode gets for normalised images (b, 3, s, s); (b, d)."""
    maps = network.forward_features(images)  # type: ignore[operator]
    features: Tensor = network.forward_head(maps, pre_logits=True)  # type: ignore[operator]
    return features.float()


def fit(train: Labelled, val: Labelled, classes: int, balanced: bool = False) -> Fit:
    """The classifier of training features (n, d) with the lowest loss on validation features (m, d).

    The loss and not the score, for it tells regularisations apart where few images do, and finetuning begins
    from calibrated outputs. Weaker ones are tried until the loss rises.

    balanced: all classes weigh the same.
    """
    center, scale = train.features.mean(0), train.features.std(0).clamp_min(1e-6)
    best: Fit | None = None
    lowest = math.inf
    for strength, weight, bias in _solutions(train, center, scale, classes, balanced):
        head = Head(weight / scale, bias - (weight / scale) @ center)
        loss = _loss(head, val)
        if best is not None and loss >= lowest:
            break
        lowest, best = loss, Fit(head, strength, head.logits(val.features), _loss(head, train))
    assert best is not None
    return best


def _loss(head: Head, examples: Labelled) -> float:
    return float(functional.cross_entropy(head.logits(examples.features), examples.labels))


def _solutions(
    train: Labelled, center: Tensor, scale: Tensor, classes: int, balanced: bool
) -> Iterator[tuple[float, Tensor, Tensor]]:
    """C, weight (c, d) and bias (c,) on standardised features; each begins where the one before it ended."""
    rows, labels = ((train.features - center) / scale).numpy(), train.labels.numpy()
    present = np.unique(labels)
    weight, bias = torch.zeros(classes, rows.shape[1]), torch.full((classes,), ABSENT)
    if len(present) == 1:
        bias[present[0]] = 0.0
        yield STRENGTHS[0], weight, bias
        return
    model = LogisticRegression(
        max_iter=ITERATIONS, warm_start=True, class_weight="balanced" if balanced else None
    )
    for strength in STRENGTHS:
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):
            model.set_params(C=strength).fit(rows, labels)
        found = torch.from_numpy(model.coef_).float(), torch.from_numpy(model.intercept_).float()
        if len(present) == 2:  # scikit-learn gives the second class alone, against the first
            found = torch.cat([-found[0], found[0]]) / 2, torch.cat([-found[1], found[1]]) / 2
        weight[present], bias[present] = found
        yield strength, weight.clone(), bias.clone()
