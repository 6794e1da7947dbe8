from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import nn

from models import FAMILIES, SOURCE_CLASSES, build, make_card
from qtt.finetune.cv.classification.loss_terms import trainable_backbone
from qtt.finetune.cv.classification.model import build_learner, build_source
from qtt.finetune.cv.classification.randomness import seeded
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.finetune.cv.classification.strategies.freezing import freeze, head_parameters
from qtt.finetune.cv.classification.strategies.source import Source
from qtt.hub.weights import create_model
from qtt.types import TaskInfo

CPU = FinetuneSettings(device="cpu")


@pytest.mark.parametrize("name", FAMILIES)
def test_the_source_is_the_weights_file(name: str, make_pretrained_task: Callable[..., TaskInfo]) -> None:
    """With its own classifier; and the network starts from the same backbone."""
    task = make_pretrained_task()
    file = load_file(task.weights_dir / f"{name}.safetensors")
    source = build_source(task.card(name), CPU, task)
    assert source.state_dict().keys() == file.keys()
    for key, tensor in source.state_dict().items():
        assert torch.equal(tensor, file[key]), key
    network = build_learner(Recipe(name, drop=0.2), CPU, task, 0, "32-true").network
    for key, parameter in trainable_backbone(network).items():
        assert torch.equal(parameter, file[key]), key
        assert parameter.stride() == source.get_parameter(key).stride(), key  # so that SP is one fast pass


def test_a_model_keeps_its_classifier_on_request(source_weights: Path) -> None:
    card = replace(make_card("test_resnet"), num_classes=SOURCE_CLASSES)
    kept, fresh = (create_model(card, count, weights_dir=source_weights) for count in (None, SOURCE_CLASSES))
    weight = load_file(source_weights / "test_resnet.safetensors")["fc.weight"]
    assert torch.equal(kept.fc.weight, weight)
    assert fresh.fc.weight.shape == weight.shape and not torch.equal(fresh.fc.weight, weight)
    assert create_model(card, None, pretrained=False).num_classes == SOURCE_CLASSES


def test_building_a_source_draws_nothing(make_pretrained_task: Callable[..., TaskInfo]) -> None:
    with seeded(1):
        before = torch.get_rng_state()
        build_source(make_pretrained_task().card("test_vit"), CPU, make_pretrained_task())
        assert torch.equal(torch.get_rng_state(), before)


def test_probabilities_are_timms_at_inference() -> None:
    model = build("test_resnet", 4)
    images = torch.randn(3, 3, 32, 32)
    source = Source(model.train())
    with torch.no_grad():
        expected = model.eval()(images).exp() / model(images).exp().sum(1, keepdim=True)
    found = source.probabilities(images)
    torch.testing.assert_close(found, expected)
    assert not found.requires_grad
    (classifier,) = source.classifiers
    assert classifier is model.fc


def test_both_classifiers_of_volo_are_its_head() -> None:
    """The second, over the patches, is new with the task too: it trains when all else is frozen."""
    with torch.device("meta"):
        model = timm.create_model("volo_d1_224", num_classes=3)
    head = {"head.weight", "head.bias", "aux_head.weight", "aux_head.bias"}
    assert head_parameters(model) == head
    freeze(model, 1.0)
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == head


def test_distilled_models_have_two_classifiers() -> None:
    model = timm.create_model("deit_tiny_distilled_patch16_224", num_classes=3, depth=1)
    classifiers = Source(model).classifiers
    assert len(classifiers) == 2 and all(isinstance(classifier, nn.Linear) for classifier in classifiers)
