"""The regularisers of a recipe, built once with a pipeline.

All that they know of the pretrained model comes from its weights, so a pipeline that is restored from a
checkpoint, in whatever process, gets the same ones.
"""

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np
from torch import Tensor, nn

from qtt.finetune.cv.classification.data import Split
from qtt.finetune.cv.classification.model import build_source
from qtt.finetune.cv.classification.module import Regularizer, input_scaling
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.finetune.cv.classification.strategies.bss import BSS
from qtt.finetune.cv.classification.strategies.cotuning import CoTuning, category_relationship
from qtt.finetune.cv.classification.strategies.delta import Delta
from qtt.finetune.cv.classification.strategies.freezing import head_parameters
from qtt.finetune.cv.classification.strategies.source import Source
from qtt.finetune.cv.classification.strategies.sp import SP
from qtt.types import ModelCard, TaskInfo

SOURCE_BATCH = 64
"""Images that the source classifies at once for co-tuning."""


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
    if not any((recipe.sp_reg, recipe.delta_reg, recipe.bss_reg, recipe.cotuning_reg)):
        return Regularizers()
    backbone = trainable_backbone(network)
    if not backbone:
        return Regularizers()
    terms: list[Regularizer] = []
    not_applicable = {}
    source = None
    if recipe.delta_reg > 0:
        source = _source(recipe, settings, task, network)
        terms.append(Delta(recipe.delta_reg, source))
    if recipe.sp_reg > 0:  # where the source is in memory anyway, its weights are the anchors
        initial = backbone if source is None else dict(source.model.named_parameters())
        anchors = [initial[name].detach() for name in backbone]
        if source is None:
            anchors = [anchor.clone().to(settings.device) for anchor in anchors]
        terms.append(SP(recipe.sp_reg, tuple(backbone.values()), anchors))
    if recipe.bss_reg > 0:
        terms.append(BSS(recipe.bss_reg))
    if recipe.cotuning_reg > 0:
        found = _source_classes(recipe, settings, task, network, train)
        if isinstance(found, str):
            not_applicable["cotuning_reg"] = found
        else:
            terms.append(CoTuning(recipe.cotuning_reg, *found))
    return Regularizers(tuple(terms), not_applicable)


def trainable_backbone(network: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that train, by name, without those of the classifier."""
    head = head_parameters(network)
    return {
        name: parameter
        for name, parameter in network.named_parameters()
        if parameter.requires_grad and name not in head
    }


_sources: WeakValueDictionary[str, Source] = WeakValueDictionary()


def _source(recipe: Recipe, settings: FinetuneSettings, task: TaskInfo, network: nn.Module) -> Source:
    """The model that a network starts from; pipelines that live at the same time share it."""
    if not settings.pretrained:
        return Source(deepcopy(network).to(settings.device))
    card = task.card(recipe.model)
    key = _key(card, settings, task)
    source = _sources.get(key)
    if source is None:
        source = _sources[key] = Source(build_source(card, settings, task))
    return source


SourceClasses = tuple[tuple[nn.Module, ...], Tensor]
"""Classifiers of a source, and p(y_source | y_target) for a training split."""

_classes: WeakKeyDictionary[Any, dict[str, SourceClasses]] = WeakKeyDictionary()
"""By the images of the training split, whose dataset and size they thereby know, and the source's key."""


def _source_classes(
    recipe: Recipe, settings: FinetuneSettings, task: TaskInfo, network: nn.Module, train: Split
) -> SourceClasses | str:
    """What co-tuning needs, or the reason why a model cannot have it."""
    card = task.card(recipe.model)
    if not settings.pretrained:
        return "training starts from random weights (pretrained=false)"
    if card.num_classes < 2:
        return f"the weights of {card.name} have no classifier"
    known = _classes.setdefault(train.images, {})
    key = _key(card, settings, task)
    if key not in known:
        source = _source(recipe, settings, task, network)
        if not any(p.any() for part in source.classifiers for p in part.parameters() if p.ndim > 1):
            return f"the classifier in the weights of {card.name} is all zeros"
        probabilities = _probabilities(source, card, settings.device, train)
        relationship = category_relationship(probabilities, task.num_classes).to(settings.device)
        known[key] = source.classifiers, relationship
    return known[key]


def _probabilities(
    source: Source, card: ModelCard, device: str, train: Split
) -> Iterator[tuple[Tensor, Tensor]]:
    """The source's probabilities for the training images, prepared as for validation, and their labels."""
    mean, scale = (tensor.to(device) for tensor in input_scaling(card.mean, card.std))
    for start in range(0, len(train), SOURCE_BATCH):
        indices = np.arange(start, min(start + SOURCE_BATCH, len(train)))
        images = train.images.batch(indices).to(device).float()
        yield source.probabilities((images - mean) * scale), train.labels[indices]


def _key(card: ModelCard, settings: FinetuneSettings, task: TaskInfo) -> str:
    return json.dumps([card.to_dict(), str(task.weights_dir), str(settings), task.image_size])
