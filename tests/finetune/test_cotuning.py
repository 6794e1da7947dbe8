from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

from images import CLASSES
from models import FAMILIES, SOURCE_CLASSES, build, make_card
from qtt.finetune.cv.classification.data import DataStore
from qtt.finetune.cv.classification.forward import ForwardStep
from qtt.finetune.cv.classification.loading import Split
from qtt.finetune.cv.classification.model import build_network
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.regularizers import Regularizers, build_regularizers
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.finetune.cv.classification.strategies import cotuning
from qtt.finetune.cv.classification.strategies.cotuning import (
    CoTuning,
    category_relationship,
    classify,
    source_cross_entropy,
)
from qtt.finetune.cv.classification.strategies.source import Source
from qtt.hub.model_hub import load_hub
from qtt.types import TaskInfo

MakeTask = Callable[..., TaskInfo]


def test_relationship_by_hand() -> None:
    """Class 0 has the first and third image, class 1 the second; batches may be of any size."""
    probabilities = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.2, 0.8], [0.1, 0.7, 0.2]])
    labels = torch.tensor([0, 1, 0])
    expected = torch.tensor([[0.3, 0.6, 0.1], [0.0, 0.2, 0.8]])
    batches = [(probabilities[:1], labels[:1]), (probabilities[1:], labels[1:])]
    torch.testing.assert_close(category_relationship(iter(batches), 2), expected)


def test_cross_entropy_by_hand() -> None:
    """Target mixed half and half: source targets (.25, .5, .25); logits log 1, log 2, log 1 are that too."""
    relationship = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]])
    logits = torch.tensor([[0.0, np.log(2), 0.0]])
    expected = 0.5 * np.log(4) + 0.5 * np.log(2)
    assert source_cross_entropy(logits, torch.tensor([[0.5, 0.5]]), relationship) == pytest.approx(expected)


def test_term_by_hand() -> None:
    """A classifier of ones: both source classes are equally likely, which costs log 2."""
    classifier = nn.Linear(3, 2)
    nn.init.ones_(classifier.weight)
    nn.init.zeros_(classifier.bias)
    features, relationship = torch.randn(4, 3), torch.tensor([[0.9, 0.1], [0.0, 1.0]])
    step = ForwardStep(torch.zeros(4, 3, 1, 1), torch.eye(2)[[0, 1, 1, 0]], torch.zeros(4, 2), features)
    term = CoTuning(0.5, (classifier.requires_grad_(False),), relationship)
    assert term(step) == pytest.approx(0.5 * np.log(2))
    with torch.autocast("cpu", torch.bfloat16):
        assert term(step).dtype is torch.float32


def test_gradients_are_finite_differences() -> None:
    torch.manual_seed(0)
    classifier = nn.Linear(5, 4).double().requires_grad_(False)
    relationship, targets = (torch.rand(n, m).double().softmax(1) for n, m in ((3, 4), (2, 3)))
    features = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)

    def term(f: torch.Tensor) -> torch.Tensor:
        return source_cross_entropy(classify((classifier,), f), targets, relationship)

    assert torch.autograd.gradcheck(term, features)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_sources_classifier_is_timms(name: str) -> None:
    """Applied to the source's own features it gives the source's logits."""
    torch.manual_seed(0)
    source = Source(build(name, SOURCE_CLASSES))
    images = torch.randn(2, 3, *source.model.test_size)
    logits = classify(source.classifiers, source.features(images))
    torch.testing.assert_close(logits.softmax(1), source.probabilities(images))


def test_convolutional_and_distilled_classifiers() -> None:
    torch.manual_seed(0)
    dla = Source(timm.create_model("dla46x_c", num_classes=SOURCE_CLASSES))
    images = torch.randn(2, 3, 64, 64)
    assert isinstance(dla.classifiers[0], nn.Conv2d)
    logits = classify(dla.classifiers, dla.features(images))
    torch.testing.assert_close(logits.softmax(1), dla.probabilities(images))
    distilled = timm.create_model("deit_tiny_distilled_patch16_224", num_classes=SOURCE_CLASSES, depth=1)
    features = torch.randn(2, 192)
    torch.testing.assert_close(
        classify(Source(distilled).classifiers, features),
        (distilled.head(features) + distilled.head_dist(features)) / 2,
    )


def _build(task: TaskInfo, model: str, store: DataStore | None = None, **options: Any) -> Regularizers:
    recipe = Recipe(model, **({"cotuning_reg": 1.0} | options))
    settings = FinetuneSettings.from_mapping(task.settings)
    return build_regularizers(
        recipe, settings, task, build_network(recipe, settings, task, 0), _train(task, store)
    )


def _train(task: TaskInfo, store: DataStore | None = None) -> Split:
    store = store or DataStore()
    settings = FinetuneSettings.from_mapping(task.settings)
    return store.splits(task, settings, settings.image_size or 32, "bicubic")[0]


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_relationship_against_a_loop_over_the_files(name: str, make_pretrained_task: MakeTask) -> None:
    """timm's model on one file after another, prepared by hand, training split alone."""
    task = make_pretrained_task()
    (term,) = _build(task, name).terms
    assert isinstance(term, CoTuning)
    card = task.card(name)
    model = build(name, SOURCE_CLASSES)
    model.load_state_dict(load_file(task.weights_dir / f"{name}.safetensors"))
    model.eval()
    expected = []
    for label in CLASSES:
        rows = []
        for file in sorted((Path(task.path) / "train" / label).iterdir()):
            pixels = torch.from_numpy(np.array(Image.open(file).convert("RGB"))).float() / 255
            image = (pixels - torch.tensor(card.mean)) / torch.tensor(card.std)
            with torch.no_grad():
                rows.append(model(image.permute(2, 0, 1)[None]).softmax(1))
        expected.append(torch.cat(rows).mean(0))
    torch.testing.assert_close(term.relationship, torch.stack(expected), rtol=1e-4, atol=1e-5)


def test_relationship_is_computed_once(
    make_pretrained_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    compute = cotuning.category_relationship
    monkeypatch.setattr(cotuning, "category_relationship", lambda *args: calls.append(1) or compute(*args))
    task, store = make_pretrained_task(), DataStore()
    first, second, other = (_build(task, name, store) for name in ("test_vit", "test_vit", "test_resnet"))
    assert len(calls) == 2
    relationships = [regularizer.terms[0].relationship for regularizer in (first, second, other)]
    assert relationships[0] is relationships[1]
    fresh = _build(task, "test_vit").terms[0].relationship  # as in another process
    assert len(calls) == 3 and torch.equal(fresh, relationships[0])


def test_not_applicable_without_a_source_classifier(
    make_pretrained_task: MakeTask, make_task: MakeTask, tmp_path: Path
) -> None:
    scratch = _build(make_task(), "test_resnet", delta_reg=0.1)
    assert scratch.not_applicable == {
        "cotuning_reg": "training starts from random weights (pretrained=false)"
    }
    assert len(scratch.terms) == 1
    for change, reason in (({"num_classes": 1}, "have no classifier"), ({}, "is all zeros")):
        model = build("test_resnet", change.get("num_classes", SOURCE_CLASSES))
        nn.init.zeros_(model.fc.weight)
        save_file(model.state_dict(), tmp_path / "test_resnet.safetensors")
        card = replace(make_card("test_resnet"), **({"num_classes": SOURCE_CLASSES} | change))
        found = _build(make_pretrained_task(models=(card,), weights_dir=tmp_path), "test_resnet")
        assert found.terms == () and reason in found.not_applicable["cotuning_reg"]


@pytest.mark.shared
def test_real_weights_know_their_classes(make_task: MakeTask, shared_data: Path, tmp_path: Path) -> None:
    """For photos of ImageNet's own classes the likeliest source class is the class itself."""
    position = {"garbage_truck": 569, "golf_ball": 574, "tench": 0}
    for split, name in ((split, name) for split in ("train", "val") for name in position):
        folder = tmp_path / "photos" / split / name
        folder.mkdir(parents=True)
        for file in sorted((shared_data / "images" / "imagenette_160" / split / name).iterdir())[:4]:
            (folder / file.name).symlink_to(file)
    names = ["tf_mobilenetv3_small_100", "mobilenetv2_100.onnx_backbone"]
    hub = load_hub("folder", models=names, weights_dir=shared_data / "weights")
    task = make_task(
        path=tmp_path / "photos",
        class_names=tuple(position),
        models=tuple(hub),
        weights_dir=shared_data / "weights",
        settings={"pretrained": True, "image_size": 224},
    )
    (term,) = _build(task, names[0]).terms
    assert isinstance(term, CoTuning)
    assert term.relationship.argmax(1).tolist() == list(position.values())
    backbone = _build(task, names[1])
    assert "all zeros" in backbone.not_applicable["cotuning_reg"]
