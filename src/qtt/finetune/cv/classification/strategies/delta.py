"""DELTA (Li et al. 2019, arXiv 1901.09229): features are kept near those of the pretrained model."""

from torch import Tensor

from qtt.finetune.cv.classification.forward import ForwardStep
from qtt.finetune.cv.classification.loss_terms import declare
from qtt.finetune.cv.classification.strategies.source import Source


def feature_distance(features: Tensor, source: Tensor) -> Tensor:
    """Mean over b images of ‖f − f₀‖², both (b, d) (the paper's regulariser with equal weights)."""
    return (features - source).square().sum(1).mean()


class Delta:
    """λ times the squared distance of the features to the frozen source's, on the same mixed images."""

    needs_features = True

    def __init__(self, weight: float, source: Source) -> None:
        self.weight = weight
        self.source = source

    def __call__(self, step: ForwardStep) -> Tensor:
        """The penalty of a batch."""
        assert step.features is not None
        return self.weight * feature_distance(step.features, self.source.features(step.images))

    @property
    def held(self) -> tuple[Tensor, ...]:
        """Tensors that it keeps in memory."""
        return self.source.tensors


TERM = declare("delta_reg", lambda weight, start: Delta(weight, start.source))
