"""Plans of augmentation: what they follow from, what comes of them, and how they travel."""

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from images import photos
from qtt.finetune.cv.classification import batch_augment
from qtt.finetune.cv.classification.batch_augment import BatchTransform, PlannedImages, policy_of
from qtt.finetune.cv.classification.crews import Batches
from qtt.finetune.cv.classification.data import DataStore, TrainOrder
from qtt.finetune.cv.classification.pipeline import Pipeline
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.finetune.cv.classification.transforms import TrainTransform
from qtt.types import TaskInfo

MEAN = (0.5, 0.4, 0.3)
AUGMENTATIONS: list[dict[str, Any]] = [
    {},
    {"data_augmentation": "trivial_augment"},
    {"data_augmentation": "random_augment", "ra_num_ops": 3, "ra_magnitude": 17},
    {"data_augmentation": "auto_augment", "auto_augment": "v0"},
    {"data_augmentation": "auto_augment", "auto_augment": "original"},
]
each_augmentation = pytest.mark.parametrize(
    "options", AUGMENTATIONS, ids=lambda options: "-".join(map(str, options.values())) or "crops alone"
)


def _photos(count: int, side: int) -> Tensor:
    return torch.from_numpy(photos(count, side)).permute(0, 3, 1, 2)


def _transform(options: dict[str, Any], side: int = 32, **settings: float) -> BatchTransform:
    return BatchTransform(Recipe("m", **options), FinetuneSettings(**settings), MEAN, side)


@pytest.mark.parametrize("side", [33, 64])
def test_crops_and_mirrors_are_those_of_the_cpu(side: int) -> None:
    """The same boxes, and the same pixels up to a grey level: the CPU rounds after either direction."""
    settings = FinetuneSettings(crop_area=0.5, hflip=0.5)
    images = _photos(64, side)
    one_by_one = TrainTransform(Recipe("m"), settings, MEAN, side)(images.clone(), 3)
    at_once = BatchTransform(Recipe("m"), settings, MEAN, side)(images, 3).augmented()
    far = (at_once.int() - one_by_one.int()).abs()
    assert far.max() <= 1
    assert (far > 0).float().mean() < 0.1
    assert (at_once != images).flatten(1).any(1).float().mean() > 0.9


@each_augmentation
def test_a_plan_depends_on_the_seed_alone_and_leaves_global_states(options: dict[str, Any]) -> None:
    transform, images = _transform(options), _photos(24, 32)
    before = images.clone()
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    first = transform(images, 7).augmented()
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])
    random.seed(1)
    torch.rand(3)
    assert torch.equal(_transform(options)(images, 7).augmented(), first)
    assert not torch.equal(transform(images, 8).augmented(), first)
    assert torch.equal(images, before)
    assert (first.shape, first.dtype) == (images.shape, torch.uint8)


@each_augmentation
def test_each_image_is_augmented_for_itself(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else is in the batch, and however many go through an operation at once."""
    planned = _transform(options)(_photos(16, 32), 5)
    whole = planned.augmented()
    monkeypatch.setattr(batch_augment, "PIXELS", 3 * 32**2)
    assert torch.equal(planned.augmented(), whole)
    others = _photos(16, 32).roll(1, 0)
    others[4] = planned.images[4]
    mixed = PlannedImages(
        others, planned.boxes, planned.order, planned.values, planned.steps, planned.fill
    ).augmented()
    assert torch.equal(mixed[4], whole[4])


def test_without_anything_to_do_images_stay() -> None:
    images = _photos(4, 32)
    planned = _transform({}, crop_area=1.0)(images, 1)
    assert (planned.boxes, planned.steps) == (None, ())
    assert torch.equal(planned.augmented(), images)
    off = Recipe("m", data_augmentation="auto_augment", auto_augment=None)
    assert policy_of(off, MEAN, 32) is None


@each_augmentation
def test_nothing_waits_for_the_device(options: dict[str, Any]) -> None:
    """On a device without data, whatever would have to be looked at is an error."""
    planned = _transform(options, hflip=0.5)(_photos(16, 32), 5).to(torch.device("meta"))
    assert planned.images.device.type == "meta"
    assert planned.augmented().shape == (16, 3, 32, 32)


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # how torch starts its workers
def test_plans_do_not_depend_on_the_number_of_workers(make_task: Callable[..., TaskInfo]) -> None:
    drawn = []
    for workers in (0, 2):
        store = DataStore()
        train, _ = store.splits(make_task(), FinetuneSettings(num_workers=workers), 32, "bicubic")
        order = TrainOrder(len(train), 8, seed=0, config_id=0)
        batches: Any = Batches(train, order, _transform(AUGMENTATIONS[3]), store.crews, workers, False)
        drawn.append([(planned.augmented(), labels) for planned, labels in batches])
        store.crews.close()
    for (images, labels), (same_images, same_labels) in zip(*drawn, strict=True):
        assert torch.equal(images, same_images)
        assert torch.equal(labels, same_labels)


def _pipeline(task: TaskInfo, options: dict[str, Any], in_batches: bool | None = True) -> Pipeline:
    recipe = Recipe("test_resnet", batch_size=8, lr=1e-3, mixup=0.4, **options)
    settings = FinetuneSettings(pretrained=False, device="cpu")
    return Pipeline(recipe, settings, task, 0, DataStore(), augment_in_batches=in_batches)


@each_augmentation
def test_three_epochs_are_three_times_one(
    make_task: Callable[..., TaskInfo], options: dict[str, Any]
) -> None:
    """Also where each epoch is a pipeline of its own, restored from the last one."""
    task = make_task()
    whole = _pipeline(task, options)
    expected = []
    for _ in range(3):
        expected.append(whole.train_epoch())
        whole.finish(expected[-1])
    found, last = [], _pipeline(task, options)
    for _ in range(3):
        found.append(last.train_epoch())
        last.finish(found[-1])
        successor = _pipeline(task, options)
        successor.restore(last.progress, last.state())
        last = successor
    assert found == expected
    for name, value in whole.learner.network.state_dict().items():
        assert torch.equal(value, last.learner.network.state_dict()[name]), name


def test_batches_are_augmented_on_gpus(
    make_task: Callable[..., TaskInfo], monkeypatch: pytest.MonkeyPatch
) -> None:
    def kinds(in_batches: bool | None) -> tuple[type, ...]:
        pipeline: Any = _pipeline(make_task(), {}, in_batches)
        return tuple(type(x._transform) for x in (pipeline.train_loader, pipeline.val_loader))

    assert kinds(None) == (TrainTransform, type(None))
    assert kinds(True) == (BatchTransform, type(None))
    monkeypatch.setattr("qtt.finetune.cv.classification.pipeline.on_gpu", lambda device: True)
    assert kinds(None) == (BatchTransform, type(None))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")
@each_augmentation
def test_a_gpu_augments_alike_without_waiting(options: dict[str, Any]) -> None:
    planned = _transform(options, hflip=0.5)(_photos(48, 64), 5)
    there = planned.pin_memory().to(torch.device("cuda"))
    there.augmented()
    torch.cuda.set_sync_debug_mode("error")
    try:
        augmented = there.augmented()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    far = (augmented.cpu().int() - planned.augmented().int()).abs().float()
    assert (far > 0).float().mean() < 0.01  # after a grey level, tables of values may take a larger step
