"""Batch spectral shrinkage (BSS, Chen et al. 2019, "Catastrophic Forgetting Meets Negative Transfer").

Directions of the feature space with small singular values transfer badly; shrinking them suppresses them.
"""

import torch
from torch import Tensor

from qtt.finetune.cv.classification.forward import ForwardStep, TrainingDiverged
from qtt.finetune.cv.classification.loss_terms import declare

SMALLEST = 1
"""k of the paper: how many of the smallest singular values shrink."""


def spectral_shrinkage(features: Tensor, smallest: int = SMALLEST) -> Tensor:
    """Sum of the squares of the smallest of the min(b, d) singular values of (b, d).

    σ² are the eigenvalues of the smaller Gram matrix, in double precision so that squaring costs no accuracy.
    That takes less time than singular values with their gradient.

    Raises:
        TrainingDiverged: a feature is not finite.
    """
    f = features.double()
    gram = f @ f.T if f.shape[0] <= f.shape[1] else f.T @ f
    try:
        squares = torch.linalg.eigvalsh(gram)
    except RuntimeError:  # no convergence
        if gram.isfinite().all():
            raise
        raise TrainingDiverged("The features of a batch are not finite any more.") from None
    shrunk: Tensor = squares[:smallest].clamp_min(0).sum()
    return shrunk.to(features.dtype)


class BSS:
    """λ σ² of the smallest singular value of a batch's features."""

    needs_features = True
    held: tuple[Tensor, ...] = ()

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def __call__(self, step: ForwardStep) -> Tensor:
        """The penalty of a batch."""
        assert step.features is not None
        return self.weight * spectral_shrinkage(step.features)


TERM = declare("bss_reg", lambda weight, start: BSS(weight))
