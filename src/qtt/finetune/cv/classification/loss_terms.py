"""Terms of the training loss: each is registered with the hyperparameter that weighs it, in one place.

A term is a class with one formula. It is built once for a pipeline, and called with every batch:

    from qtt.finetune.cv.classification import register_regularizer

    class Confidence:  # λ times the mean negative entropy of the predictions (Pereyra et al. 2017)
        needs_features = False
        held = ()

        def __init__(self, weight, start):
            self.weight = weight

        def __call__(self, step):
            p = step.logits.softmax(1)
            return self.weight * (p * p.clamp_min(1e-12).log()).sum(1).mean()

    CONFIDENCE = register_regularizer("confidence_reg", (0.0, 0.01, 0.1), Confidence)

The hyperparameter then is part of the space variant `full`, of recipes, and of what predictors see. A module
that is imported before the search may do so, or one that an entry point of the group `qtt.regularizers`
names; the training process imports it, too.
"""

import json
import sys
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from weakref import WeakValueDictionary

from torch import nn

from qtt.errors import ConfigError, QTTError
from qtt.finetune.cv.classification.forward import Regularizer
from qtt.finetune.cv.classification.loading import Split
from qtt.finetune.cv.classification.model import build_source
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.finetune.cv.classification.strategies.freezing import head_parameters
from qtt.finetune.cv.classification.strategies.source import Source
from qtt.space.domains import Range
from qtt.space.hyperparameters import BUILT_IN, WEIGHT_HINT, Hyperparameter, not_negative, register
from qtt.types import TaskInfo


class NotApplicable(QTTError):  # noqa: N818 - says of a model that it cannot have a term
    """A model that cannot have a term of the loss; training goes on without it, and its results say why."""


@dataclass(frozen=True)
class Start:
    """A pipeline before its first step, for the terms of its loss.

    network: not trained yet, on its device. train: the training images at the network's input size.
    """

    recipe: Recipe
    settings: FinetuneSettings
    task: TaskInfo
    network: nn.Module
    train: Split

    @cached_property
    def backbone(self) -> dict[str, nn.Parameter]:
        """The parameters that train, by name, without those of the classifier."""
        return trainable_backbone(self.network)

    @cached_property
    def source(self) -> Source:
        """The pretrained model that the network starts from, frozen; pipelines of one time share it."""
        if not self.settings.pretrained:
            return Source(deepcopy(self.network).to(self.settings.device))
        source = _sources.get(self.source_key)
        if source is None:
            card = self.task.card(self.recipe.model)
            source = _sources[self.source_key] = Source(build_source(card, self.settings, self.task))
        return source

    @property
    def loaded_source(self) -> Source | None:
        """The source where another term of this pipeline has asked for it, else None."""
        return self.__dict__.get("source")

    @property
    def source_key(self) -> str:
        """What tells one source from another."""
        card, task = self.task.card(self.recipe.model), self.task
        return json.dumps([card.to_dict(), str(task.weights_dir), str(self.settings), task.image_size])


Build = Callable[[float, Start], Regularizer]
"""Makes a term from its weight, above 0, and the pipeline's start.

Raises:
    NotApplicable: this model cannot have the term.
"""


@dataclass(frozen=True)
class LossTerm:
    """A term of the loss, and the hyperparameter that weighs it."""

    hyperparameter: Hyperparameter
    build: Build

    @property
    def name(self) -> str:
        """Of the hyperparameter."""
        return self.hyperparameter.name


def register_regularizer(
    name: str, options: Sequence[float] | Range, build: Build, *, default: float = 0.0
) -> LossTerm:
    """Register a term of the training loss; what an entry point of `qtt.regularizers` names.

    Args:
        name: of the hyperparameter, for instance `confidence_reg`.
        options: its weights in the search space, from 0, which is off; or a `Range`.
        build: the term's class, or a function: called with the weight and a `Start` where the weight is
            above 0. Where nothing but the classifier trains, there are no terms.
        default: weight of pipelines that leave it out.

    Raises:
        ConfigError: impossible weights, or a name that is taken.
    """
    if not isinstance(options, Range):
        options = tuple(options)
        wrong = [weight for weight in options if not not_negative(weight)]
        if wrong or 0 not in options:
            raise ConfigError(
                f"The options of {name} must be weights from 0, with 0 for off among them; got {options}."
            )
    module = str(sys._getframe(1).f_globals.get("__name__", "__main__"))
    hyperparameter = Hyperparameter(name, options, default, None, not_negative, WEIGHT_HINT, "log")
    return _add(LossTerm(register(hyperparameter, module), build))


def declare(name: str, build: Build) -> LossTerm:
    """The same for one of the papers' hyperparameters, which spaces know without torch."""
    return _add(LossTerm(next(item for item in BUILT_IN if item.name == name), build))


def loss_terms() -> dict[str, LossTerm]:
    """All terms that were registered, by the name of their weight."""
    return dict(_terms)


def trainable_backbone(network: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that train, by name, without those of the classifier."""
    head = head_parameters(network)
    return {
        name: parameter
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and name not in head
    }


_terms: dict[str, LossTerm] = {}
_sources: WeakValueDictionary[str, Source] = WeakValueDictionary()


def _add(term: LossTerm) -> LossTerm:
    _terms[term.name] = term
    return term
