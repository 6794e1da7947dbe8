"""Every model of the shipped hubs can be frozen in part, given layer-wise learning rates and dropout."""

import pytest
import timm
import torch
from torch import nn

from qtt.finetune.cv.classification.model import build_optimizer
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.strategies.freezing import freeze, layer_groups
from qtt.model_hub import ModelHub
from qtt.types import ModelCard

CARDS = [
    pytest.param(card, id=f"{hub}-{card.name}")
    for hub in ("tiny", "table4")
    for card in ModelHub.load(hub).cards
]


@pytest.mark.parametrize("card", CARDS)
def test_builds_with_every_strategy(card: ModelCard) -> None:
    """On torch's meta device, where tensors have no numbers and cost nothing."""
    with torch.device("meta"):
        kwargs = dict(card.create_kwargs)
        model = timm.create_model(card.timm_name, num_classes=5, drop_rate=0.4, **kwargs)
    rates = [module.p for module in model.modules() if isinstance(module, nn.Dropout)]
    assert 0.4 in rates or model.drop_rate == 0.4
    optimizer = build_optimizer(Recipe("m", layer_decay=0.75, weight_decay=0.01), model)
    scales = {group["lr_scale"] for group in optimizer.param_groups}
    groups = layer_groups(model)
    assert len(groups.blocks) >= 5
    assert scales == {0.75**depth for depth in range(len(scales))}
    trainable = []
    for fraction in (0.2, 0.4, 0.6, 0.8, 1.0):  # each freezes what the one before left
        freeze(model, fraction)
        trainable.append({name for name, p in model.named_parameters() if p.requires_grad})
    assert [len(names) for names in trainable] == sorted({len(names) for names in trainable}, reverse=True)
    assert trainable[-1] == set(groups.head)
    assert {p.shape[0] for name, p in model.named_parameters() if name in groups.head} == {5}
