"""A network's pre-logit features while it trains."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd


class FeatureReader:
    """Reads what a timm network's classifier would get without dropout.

    Regularisers compare features, not masks of dropout. A second pass through the head, without its dropout
    and without a second update of its batch norms, costs next to nothing.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network: Any = network
        self.dropouts = tuple(module for module in network.modules() if _drops(module))
        self.norms: tuple[nn.Module, ...] | None = None

    def __call__(self, maps: Tensor) -> Tensor:
        """Features (b, d), in 32 bits, of what `forward_features` gave."""
        if self.norms is None:
            self.norms = self._head_norms(maps)
        with _in_eval_mode(self.dropouts), _spare_statistics(self.norms):
            features: Tensor = self.network.forward_head(maps, pre_logits=True)
        return features.float()

    def _head_norms(self, maps: Tensor) -> tuple[nn.Module, ...]:
        """The batch norms that `forward_head` calls; few models have any."""
        norms = [m for m in self.network.modules() if isinstance(getattr(m, "running_mean", None), Tensor)]
        called: dict[nn.Module, None] = {}
        hooks = [
            norm.register_forward_pre_hook(lambda norm, _: called.update({norm: None})) for norm in norms
        ]
        try:
            with torch.no_grad(), _in_eval_mode((*norms, *self.dropouts)):
                self.network.forward_head(maps, pre_logits=True)
        finally:
            for hook in hooks:
                hook.remove()
        return tuple(called)


def _drops(module: nn.Module) -> bool:
    """Dropout layers, and modules that call dropout as a function, with the rate that timm gave them."""
    rate = module.p if isinstance(module, _DropoutNd) else getattr(module, "drop_rate", None)
    return isinstance(rate, int | float) and rate > 0


@contextmanager
def _in_eval_mode(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Switch modules, not what is inside them, to eval mode, and back to the mode that each had."""
    modes = [(module, module.training) for module in modules]
    for module, _ in modes:
        module.training = False
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def _spare_statistics(norms: Iterable[nn.Module]) -> Iterator[None]:
    """Let norms update copies of their statistics, which are then thrown away."""
    kept = [(norm, dict(norm._buffers)) for norm in norms]
    for norm, buffers in kept:
        for name, buffer in buffers.items():
            norm._buffers[name] = None if buffer is None else buffer.clone()
    try:
        yield
    finally:
        for norm, buffers in kept:
            norm._buffers.update(buffers)
