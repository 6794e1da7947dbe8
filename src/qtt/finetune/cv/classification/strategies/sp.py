"""L2-SP (Li et al. 2018, arXiv 1802.01483): weights are drawn to where they started instead of to zero."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from qtt.finetune.cv.classification.forward import ForwardStep
from qtt.finetune.cv.classification.loss_terms import Start, declare


def squared_distance(weights: Sequence[Tensor], anchors: Sequence[Tensor]) -> Tensor:
    """‖w − w₀‖² over all tensors together: the paper's penalty without its factor ½."""
    distance: Tensor = _SquaredDistance.apply(tuple(anchors), *weights)
    return distance


class SP:
    """λ ‖w − w₀‖² over the backbone's trainable weights.

    It takes the place of their weight decay, which stays for the classifier: see `build_optimizer`.
    """

    needs_features = False

    def __init__(self, weight: float, weights: Sequence[Tensor], anchors: Sequence[Tensor]) -> None:
        self.weight = weight
        self.weights = tuple(weights)
        self.anchors = tuple(anchors)

    def __call__(self, step: ForwardStep) -> Tensor:
        """The penalty of the weights as they are, whatever the batch."""
        return self.weight * squared_distance(self.weights, self.anchors)

    @property
    def held(self) -> tuple[Tensor, ...]:
        """Tensors that it keeps in memory."""
        return self.anchors


def build(weight: float, start: Start) -> SP:
    """The term of a pipeline; where its source is in memory anyway, that holds the anchors."""
    source = start.loaded_source
    if source is not None:
        initial = dict(source.model.named_parameters())
        anchors = [initial[name].detach() for name in start.backbone]
    else:
        device = start.settings.device
        anchors = [tensor.detach().clone().to(device) for tensor in start.backbone.values()]
    return SP(weight, tuple(start.backbone.values()), anchors)


TERM = declare("sp_reg", build)


class _SquaredDistance(torch.autograd.Function):
    """One operation on all tensors forwards, and one backwards, where autograd takes several for each."""

    @staticmethod
    def forward(ctx: Any, anchors: tuple[Tensor, ...], *weights: Tensor) -> Tensor:
        ctx.differences = torch._foreach_sub(weights, anchors)
        return torch.stack(torch._foreach_norm(ctx.differences)).square().sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, *torch._foreach_mul(ctx.differences, 2 * gradient)
