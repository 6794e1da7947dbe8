"""Stochastic normalisation (StochNorm, Kou et al. 2020): batch norms that rely less on small batches.

Notation, for one channel of a layer: x its values in the batch, m and v their mean and variance, M and V the
layer's running mean and variance as they were before the batch, γ and β its weight and bias.

    batch       y = γ (x − m) / √(v + ε) + β
    running     y = γ (x − M) / √(V + ε) + β
    training    batch with probability ½, else running: one draw per channel, layer and forward pass
    evaluation  running

After the batch, M and V move towards m and v in every channel, whatever was drawn, as in plain batch norm.
Draws come from torch's global generator of the layer's device, which training seeds for each epoch.
"""

from typing import Any

import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from qtt.errors import ConfigError

_BATCH_SHARE = 0.5


def apply_stochastic_norm(model: nn.Module) -> None:
    """Make every batch norm of a model a stochastic one, in place.

    The layers keep their parameters, buffers, modes and hooks, so that state dicts stay those of timm. Layers
    without running statistics have nothing to mix and are left alone, and so are models without batch norm.

    Raises:
        ConfigError: a batch norm is of a kind that may compute something else.
    """
    for name, module in model.named_modules():
        if not isinstance(module, _BatchNorm) or isinstance(module, StochasticNorm):
            continue
        if not module.track_running_stats or module.running_mean is None:
            continue
        stochastic = _STOCHASTIC.get(type(module))
        if stochastic is None:
            raise ConfigError(
                f"stoch_norm does not know {type(module).__name__}, the kind of batch norm that "
                f"{type(model).__name__} has in '{name}'; leave stoch_norm out for this model."
            )
        module.__class__ = stochastic


def draw_channels(count: int, device: torch.device) -> Tensor:
    """Which channels are normalised by the batch: (count,) booleans, each True with probability ½."""
    return torch.rand(count, device=device) < _BATCH_SHARE


def mix_channels(by_batch: Tensor, by_running: Tensor, chosen: Tensor) -> Tensor:
    """Channels of `by_batch` where `chosen` (c,) is True, of `by_running` elsewhere; both (b, c, …)."""
    return torch.where(chosen.view(-1, *[1] * (by_batch.ndim - 2)), by_batch, by_running)


class StochasticNorm(_BatchNorm):
    """What the stochastic variants of batch norm have in common."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (b, c, …); in training mode each channel by the batch or by the running statistics.

        A batch with one value per channel has no variance: the running statistics normalise all of it, and
        stay as they are.
        """
        if not self.training or self.running_mean is None or self.running_var is None:
            return _BatchNorm.forward(self, input)
        # copies: torch updates the buffers, and would then use the new values in the backward pass
        mean, var = self.running_mean.clone(), self.running_var.clone()
        by_running = functional.batch_norm(input, mean, var, self.weight, self.bias, eps=self.eps)
        chosen = draw_channels(self.num_features, input.device)
        if input.numel() == input.shape[1]:
            return by_running
        return mix_channels(_BatchNorm.forward(self, input), by_running, chosen)


class StochasticNorm1d(StochasticNorm, nn.BatchNorm1d):
    """Of (b, c) or (b, c, l)."""


class StochasticNorm2d(StochasticNorm, nn.BatchNorm2d):
    """Of (b, c, h, w)."""


class StochasticNorm3d(StochasticNorm, nn.BatchNorm3d):
    """Of (b, c, d, h, w)."""


class StochasticNormAct2d(StochasticNorm2d, BatchNormAct2d):
    """Of (b, c, h, w), followed by dropout and the activation that timm fuses with the norm."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise, drop, activate."""
        activated: Tensor = self.act(self.drop(super().forward(input)))
        return activated


_STOCHASTIC: dict[type[nn.Module], type[Any]] = {
    nn.BatchNorm1d: StochasticNorm1d,
    nn.BatchNorm2d: StochasticNorm2d,
    nn.BatchNorm3d: StochasticNorm3d,
    BatchNormAct2d: StochasticNormAct2d,
}
