"""The pretrained source model: frozen, with its own classifier, and no part of what is trained or saved."""

import torch
from torch import Tensor, nn


class Source:
    """A frozen timm model in eval mode.

    The model is held by a plain object, so that no module registers it: it is in no state dict, no checkpoint
    and no optimizer, and nothing switches its mode.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model.requires_grad_(False).eval()

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Pre-logit features (b, d), in 32 bits, of normalised images (b, 3, s, s)."""
        features: Tensor = self.model.forward_head(self._maps(images), pre_logits=True)  # type: ignore[operator]
        return features.float()

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> Tensor:
        """Probabilities (b, k) of the source's own k classes for normalised images (b, 3, s, s)."""
        logits: Tensor = self.model(images)
        return logits.float().softmax(1)

    @property
    def classifiers(self) -> tuple[nn.Module, ...]:
        """What timm calls the classifier; distilled models have two."""
        found = self.model.get_classifier()  # type: ignore[operator]
        return tuple(found) if isinstance(found, list | tuple) else (found,)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All that it holds."""
        return (*self.model.parameters(), *self.model.buffers())

    def _maps(self, images: Tensor) -> Tensor:
        maps: Tensor = self.model.forward_features(images)  # type: ignore[operator]
        return maps
