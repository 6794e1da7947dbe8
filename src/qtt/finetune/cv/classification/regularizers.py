"""The regularisers of a recipe, built once with a pipeline: every registered term whose weight is above 0.

All that they know of the pretrained model comes from its weights, so a pipeline that is restored from a
checkpoint, in whatever process, gets the same ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

from qtt.finetune.cv.classification.forward import Regularizer
from qtt.finetune.cv.classification.loading import Split
from qtt.finetune.cv.classification.loss_terms import LossTerm, NotApplicable, Start, loss_terms
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.finetune.cv.classification.strategies import bss, cotuning, delta, sp
from qtt.space.hyperparameters import FULL
from qtt.types import TaskInfo

FIRST = (delta.TERM, sp.TERM, bss.TERM, cotuning.TERM)
"""The papers' terms in the order of their sum; SP takes its anchors from the source that DELTA has loaded."""


@dataclass(frozen=True)
class Regularizers:
    """Terms of a recipe's loss.

    not_applicable: hyperparameters that ask for a term which this model cannot have, and the reason.
    """

    terms: tuple[Regularizer, ...] = ()
    not_applicable: Mapping[str, str] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Memory of what the terms hold, counted once where they share it."""
        held = {tensor.data_ptr(): tensor.nbytes for term in self.terms for tensor in term.held}
        return sum(held.values())


def build_regularizers(
    recipe: Recipe, settings: FinetuneSettings, task: TaskInfo, network: nn.Module, train: Split
) -> Regularizers:
    """The recipe's terms for a network that has not been trained yet.

    Where nothing but the classifier trains there are none: neither weights nor features can change.

    train: the training images at the network's input size.
    """
    weights = [(term, weight) for term, weight in _weights(recipe) if weight > 0]
    start = Start(recipe, settings, task, network, train)
    if not weights or not start.backbone:
        return Regularizers()
    terms: list[Regularizer] = []
    not_applicable = {}
    for term, weight in weights:
        try:
            terms.append(term.build(weight, start))
        except NotApplicable as reason:
            not_applicable[term.name] = str(reason)
    return Regularizers(tuple(terms), not_applicable)


def _weights(recipe: Recipe) -> list[tuple[LossTerm, float]]:
    """The weight of every registered term; a sum must not depend on which module was imported first."""
    others = sorted((term for name, term in loss_terms().items() if name not in FULL), key=lambda t: t.name)
    known = [(term, recipe.value(term.name)) for term in FIRST]
    return known + [(term, recipe.extras.get(term.name, term.hyperparameter.default)) for term in others]
