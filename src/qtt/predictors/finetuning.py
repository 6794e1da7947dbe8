"""A few steps of Adam, without the seconds that torch.optim takes to import a compiler first."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

DECAY = (0.9, 0.999)
EPSILON = 1e-8


def adam(
    loss: Callable[[], Tensor], parameters: Sequence[Tensor], rates: Sequence[float], steps: int
) -> None:
    """Minimise `loss` in place by full-batch Adam (Kingma and Ba 2015, Algorithm 1).

    Args:
        loss: the scalar to minimise, a function of the parameters.
        parameters: what to change; all of them take part in the loss.
        rates: learning rate of each parameter.
        steps: how many.
    """
    first = [torch.zeros_like(parameter) for parameter in parameters]
    second = [torch.zeros_like(parameter) for parameter in parameters]
    for step in range(1, steps + 1):
        gradients = torch.autograd.grad(loss(), list(parameters))
        with torch.no_grad():
            for parameter, rate, m, v, gradient in zip(
                parameters, rates, first, second, gradients, strict=True
            ):
                m.lerp_(gradient, 1 - DECAY[0])
                v.lerp_(gradient.square(), 1 - DECAY[1])
                scale = (v / (1 - DECAY[1] ** step)).sqrt() + EPSILON
                parameter.sub_(rate * m / (1 - DECAY[0] ** step) / scale)
