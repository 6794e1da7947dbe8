"""Linear probes: the solver, the pipeline that is one, and pipelines that are finetuned from one."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from models import FAMILIES
from pipelines import PLAIN, forget, learned, run
from qtt.finetune.cv.classification import frozen, objective
from qtt.finetune.cv.classification.data import DataStore
from qtt.finetune.cv.classification.forward import input_scaling
from qtt.finetune.cv.classification.frozen import frozen_features
from qtt.finetune.cv.classification.inference import Classifier
from qtt.finetune.cv.classification.loss_terms import NotApplicable
from qtt.finetune.cv.classification.model import build_plain
from qtt.finetune.cv.classification.probe import Head, Labelled, features_of, fit, linear_classifier
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.runs.kept_models import WEIGHTS, KeptModel
from qtt.space.horizon import probe_of
from qtt.types import Candidates, TaskInfo

MakeTask = Callable[..., TaskInfo]
pytestmark = pytest.mark.usefixtures("cold")

FROM_PROBE = PLAIN | {"head_init": "probe", "freeze_norms": True, "schedule_epochs": 3, "lr": 1e-4}


def clouds(count: int, seed: int, classes: int = 3, spread: float = 0.3) -> Labelled:
    """Classes as clouds of points around fixed centres, on very different scales."""
    centers = torch.randn(classes, 5, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    points = centers[labels] + spread * torch.randn(count, 5, generator=generator)
    return Labelled(points * torch.tensor([1.0, 100.0, 0.01, 1.0, 10.0]) + 50.0, labels)


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_clouds_are_told_apart_in_their_own_units(classes: int) -> None:
    train, val, fresh = (clouds(count, seed, classes) for seed, count in enumerate((120, 60, 300)))
    found = fit(train, val, classes)
    predicted = found.head.logits(fresh.features).argmax(1)
    assert (predicted == fresh.labels).float().mean() > 0.9
    assert torch.allclose(found.head.logits(val.features), found.logits)
    assert found.train_loss < 0.3


def test_regularisation_follows_the_validation_images() -> None:
    noisy = clouds(40, 1, spread=4.0)
    strengths = {
        fit(noisy, val, 3).strength
        for val in (clouds(300, 2, spread=4.0), noisy)  # fresh images, and those that it has learned by heart
    }
    assert len(strengths) == 2


def test_a_class_without_training_images_is_never_predicted() -> None:
    train, val = clouds(90, 0, 3), clouds(90, 1, 3)
    present = train.labels < 2
    part = Labelled(train.features[present], train.labels[present])
    found = fit(part, val, 3)
    assert set(found.logits.argmax(1).tolist()) == {0, 1}
    alone = Labelled(train.features[train.labels == 1], train.labels[train.labels == 1])
    assert set(fit(alone, val, 3).logits.argmax(1).tolist()) == {1}


def test_rare_classes_weigh_more_where_they_are_balanced() -> None:
    train, val = clouds(300, 0, 2, spread=3.0), clouds(200, 1, 2, spread=3.0)
    rare = torch.cat([torch.arange(0, 300, 2), torch.arange(1, 30, 2)])  # ten times as many of class 0
    part = Labelled(train.features[rare], train.labels[rare])
    plain, balanced = (
        fit(part, val, 2, balanced=value).logits.argmax(1).float().mean() for value in (False, True)
    )
    assert balanced > plain


@pytest.mark.parametrize("model", FAMILIES)
def test_features_and_head_are_the_network(make_pretrained_task: MakeTask, model: str) -> None:
    """What the solver sees is what the classifier of the whole network gets, in every family."""
    task, settings = make_pretrained_task(), FinetuneSettings(device="cpu")
    card, store = task.card(model), DataStore()
    features = frozen_features(card, settings, task, store)
    head = Head(torch.randn(3, features.val.features.shape[1]), torch.randn(3))
    network = build_plain(card, settings, task).eval()
    head.into(network)
    _, val = store.splits(task, settings, card.input_size, card.interpolation)
    mean, scale = input_scaling(card.mean, card.std)
    images = val.images.batch(torch.arange(len(val)).numpy())
    with torch.inference_mode():
        expected = network((images.float() - mean) * scale)
    assert torch.allclose(head.logits(features.val.features), expected, atol=1e-3)


def test_a_network_whose_classifier_is_something_else_has_no_probe() -> None:
    class Twice(nn.Module):
        def get_classifier(self) -> Any:
            return nn.Linear(2, 2), nn.Linear(2, 2)

    with pytest.raises(NotApplicable, match="not one linear layer"):
        linear_classifier(Twice())
    with pytest.raises(NotApplicable, match="it has 5 features"):
        Head(torch.zeros(2, 5), torch.zeros(2)).into(_Plain())


class _Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def get_classifier(self) -> nn.Module:
        return self.fc


def test_a_probe_is_a_pipeline_of_one_epoch(make_pretrained_task: MakeTask) -> None:
    task = make_pretrained_task()
    (result,) = run(task, probe_of("test_resnet"), 1)
    assert result.fidelity == 1
    assert result.score >= result.info["baseline"]
    assert result.info["lr"] == 0.0
    assert {"stderr", "examples", "val_loss", "train_loss", "pace", "strength"} <= result.info.keys()


def test_its_weights_are_a_complete_network(make_pretrained_task: MakeTask, tmp_path: Path) -> None:
    task = make_pretrained_task()
    (result,) = run(task, probe_of("test_resnet"), 1)
    weights = task.weights_file(0, 1)
    assert weights is not None
    weights.rename(tmp_path / WEIGHTS)
    candidates = Candidates((probe_of("test_resnet"),), task.models)
    classifier = Classifier.of(KeptModel.of(tmp_path, result, candidates, task.class_names), task)
    settings = FinetuneSettings.from_mapping(task.settings)
    _, val = DataStore().splits(task, settings, classifier.size, classifier.card.interpolation)
    hits = (classifier.probabilities(val).argmax(1) == val.labels.numpy()).mean()
    assert hits == pytest.approx(result.score)


def test_a_worse_probe_leaves_no_weights(make_pretrained_task: MakeTask) -> None:
    task = make_pretrained_task(best_score=2.0)
    run(task, probe_of("test_resnet"), 1)
    weights = task.weights_file(0, 1)
    assert weights is not None
    assert not weights.exists()


def test_without_pretrained_weights_there_is_none(make_task: MakeTask) -> None:
    with pytest.raises(Exception, match="no linear probe of test_resnet: its weights are not pretrained"):
        run(make_task(), probe_of("test_resnet"), 1)


def test_features_are_computed_once_for_all_searches(
    make_pretrained_task: MakeTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"cache_dir": str(tmp_path / "cache"), "cache_gb": 1}
    task = make_pretrained_task(settings=settings)
    first = learned(run(task, probe_of("test_resnet"), 1))
    forget()
    monkeypatch.setattr(frozen, "features_of", None)
    again = learned(run(replace(task, work_dir=tmp_path / "other"), probe_of("test_resnet"), 1))
    assert again == first
    (kept,) = (tmp_path / "cache").glob("*.features")
    kept.write_bytes(b"damaged")
    forget()
    monkeypatch.undo()
    (anew,) = run(replace(task, work_dir=tmp_path / "third"), probe_of("test_resnet"), 1)
    assert anew.score == first[0][1]


def test_other_weights_have_other_features(make_pretrained_task: MakeTask, tmp_path: Path) -> None:
    task = make_pretrained_task(settings={"cache_dir": str(tmp_path / "cache"), "cache_gb": 1})
    run(task, probe_of("test_resnet"), 1)
    run(task, probe_of("test_vit"), 1, config_id=1)
    assert len(list((tmp_path / "cache").glob("*.features"))) == 2


def test_finetuning_starts_from_the_probe(make_pretrained_task: MakeTask) -> None:
    """With a rate that changes nothing, the first epoch scores what the probe scores."""
    task = make_pretrained_task(settings={"crop_area": 1.0})
    (probe,) = run(task, probe_of("test_resnet"), 1)
    (still,) = run(task, FROM_PROBE | {"lr": 1e-12}, 1, config_id=1)
    assert still.score == probe.score
    assert still.info["val_loss"] == pytest.approx(probe.info["val_loss"], rel=1e-3)


def test_one_epoch_at_a_time_is_three_at_once_from_a_probe(
    make_pretrained_task: MakeTask, tmp_path: Path
) -> None:
    expected = learned(run(make_pretrained_task(work_dir=tmp_path / "whole"), FROM_PROBE, 3))
    task = make_pretrained_task(work_dir=tmp_path / "steps")
    results = []
    for fidelity in (1, 2, 3):
        forget()
        results += run(task, FROM_PROBE, fidelity)
    assert learned(results) == expected


def test_a_model_without_a_probe_starts_from_a_random_head(make_task: MakeTask, tmp_path: Path) -> None:
    (told,) = run(make_task(), FROM_PROBE, 1)
    assert told.info["not_applicable"] == {"head_init": "its weights are not pretrained"}
    (plain,) = run(make_task(work_dir=tmp_path / "plain"), FROM_PROBE | {"head_init": "random"}, 1)
    assert told.score == plain.score


def test_frozen_norms_keep_their_statistics(make_pretrained_task: MakeTask) -> None:
    task = make_pretrained_task(best_score=-1.0)
    start = build_plain(task.card("test_resnet"), FinetuneSettings(device="cpu"), task).state_dict()
    for frozen_too in (True, False):
        run(task, FROM_PROBE | {"freeze_norms": frozen_too, "lr": 1e-2}, 1, config_id=int(frozen_too))
        weights = task.weights_file(int(frozen_too), 1)
        assert weights is not None
        after = load_file(weights)
        means = [name for name in start if name.endswith("running_mean")]
        assert all(torch.equal(start[name], after[name]) for name in means) == frozen_too
        assert any(not torch.equal(start[n], after[n]) for n in start if n.endswith("weight"))


def test_a_network_that_is_more_than_its_last_layer_has_no_probe(
    make_pretrained_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_pretrained_task()
    monkeypatch.setattr(frozen, "features_of", lambda network, images: features_of(network, images) + 1.0)
    with pytest.raises(NotApplicable, match="outputs are not those of a linear layer"):
        frozen_features(
            task.card("test_resnet"), FinetuneSettings(device="cpu", cache_gb=0), task, DataStore()
        )


def test_a_pass_goes_on_with_smaller_batches_where_memory_runs_out(
    make_pretrained_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, settings = make_pretrained_task(), FinetuneSettings(device="cpu", cache_gb=0)
    card = task.card("test_resnet")
    expected = frozen_features(card, settings, task, DataStore())
    seen = []

    def small(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
        seen.append(len(images))
        if len(images) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return features_of(network, images)

    monkeypatch.setattr(frozen, "features_of", small)
    found = frozen_features(card, settings, task, DataStore())
    assert torch.allclose(found.train.features, expected.train.features, atol=1e-5)
    assert max(seen) > 5 and sum(count for count in seen if count <= 5) >= 36


def test_a_head_that_does_not_fit_is_left_out(
    make_pretrained_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_pretrained_task(settings={"cache_gb": 0})
    monkeypatch.setattr(frozen, "features_of", lambda network, images: features_of(network, images) + 1.0)
    (told,) = run(task, FROM_PROBE, 1)
    assert told.info["not_applicable"] == {
        "head_init": "its outputs are not those of a linear layer on its features"
    }


def test_pipelines_that_wait_make_room_for_a_probe(
    make_pretrained_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_pretrained_task(settings={"cache_gb": 0})
    run(task, PLAIN, 1, config_id=5)  # stays in memory

    def full(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
        if objective._warm._held:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return features_of(network, images)

    monkeypatch.setattr(frozen, "features_of", full)
    (told,) = run(task, probe_of("test_resnet"), 1)
    assert told.succeeded
