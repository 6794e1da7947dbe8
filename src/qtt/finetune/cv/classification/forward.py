"""What a batch is before and after its forward pass, and what may be added to its loss."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import torch
from torch import Tensor

from qtt.errors import QTTError
from qtt.evaluation.faults import EXPLAINED


class TrainingDiverged(QTTError, FloatingPointError):  # noqa: N818 - says what happened, as FloatingPointError
    """The training loss is not a finite number any more."""

    info = MappingProxyType({EXPLAINED: True})


def input_scaling(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """What to subtract from pixels (0 to 255), and to multiply by then, to normalise them; (3, 1, 1) each."""
    return 255 * torch.tensor(mean).view(-1, 1, 1), 1 / (255 * torch.tensor(std).view(-1, 1, 1))


@dataclass(frozen=True)
class ForwardStep:
    """A batch after its forward pass.

    images: (b, 3, s, s) as the network got them, normalised and mixed.
    targets: (b, k), mixed and smoothed.
    logits: (b, k), in 32 bits.
    features: (b, d), the input of the classifier without dropout, in 32 bits; None where nothing needs them.
    """

    images: Tensor
    targets: Tensor
    logits: Tensor
    features: Tensor | None = None


class Regularizer(Protocol):
    """A term of the training loss: one number for a batch, its weight included.

    needs_features: whether it reads `ForwardStep.features`.
    held: tensors that it keeps in memory.
    """

    @property
    def needs_features(self) -> bool:
        """True where it cannot do without them."""

    @property
    def held(self) -> tuple[Tensor, ...]:
        """May be shared with other terms."""

    def __call__(self, step: ForwardStep) -> Tensor:
        """A scalar."""
