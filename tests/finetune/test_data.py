from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from images import write_image_folder
from qtt.errors import DatasetError
from qtt.finetune.cv.classification.data import (
    DataStore,
    EvalOrder,
    TrainOrder,
    loader,
    updates_per_epoch,
)
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.finetune.cv.classification.transforms import TrainTransform
from qtt.types import TaskInfo


@pytest.mark.parametrize("batch_size", [1, 2, 8, 24, 512])
@pytest.mark.parametrize("images", [1, 2, 23, 24, 25])
def test_an_epoch_has_every_image_once(images: int, batch_size: int) -> None:
    order = TrainOrder(images, batch_size, seed=0, config_id=0)
    batches = [indices for indices, _ in order]
    assert len(batches) == len(order) == updates_per_epoch(images, batch_size)
    assert sorted(np.concatenate(batches).tolist()) == list(range(images))
    sizes = [len(batch) for batch in batches]
    assert all(size == batch_size for size in sizes[:-1])
    if batch_size > 1 and images > 1:
        assert 2 <= sizes[-1] <= batch_size + 1


def _drawn(order: TrainOrder) -> list[tuple[list[int], int]]:
    return [(indices.tolist(), seed) for indices, seed in order]


def test_order_is_a_function_of_seed_config_and_epoch() -> None:
    order = TrainOrder(24, 8, seed=1, config_id=2)
    first = _drawn(order)
    assert _drawn(order) == first
    order.epoch = 2
    assert _drawn(order) != first
    order.epoch = 1
    assert _drawn(order) == first
    for other in (TrainOrder(24, 8, seed=2, config_id=2), TrainOrder(24, 8, seed=1, config_id=3)):
        assert _drawn(other) != first
    assert len({seed for _, seed in first}) == 3


def test_evaluation_sees_every_image_once_in_order() -> None:
    batches = [indices.tolist() for indices, _ in EvalOrder(10, 4)]
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(EvalOrder(10, 4)) == 3


def test_store_keeps_what_fits(make_task: Callable[..., TaskInfo]) -> None:
    store = DataStore()
    task = make_task()
    roomy = FinetuneSettings(cache_mb=1)
    train, val = store.splits(task, roomy, 32, "bicubic")
    assert (len(train), len(val)) == (24, 12)
    assert train.labels.tolist() == [0] * 8 + [1] * 8 + [2] * 8
    assert store.splits(task, roomy, 32, "bicubic")[0] is train
    store.splits(task, roomy, 128, "bicubic")  # 36 · 48 KiB: no room for both
    assert store.splits(task, roomy, 32, "bicubic")[0] is not train
    tight, validation = store.splits(task, FinetuneSettings(cache_mb=0), 32, "bicubic")
    assert tight.images.nbytes == validation.images.nbytes == 0
    indices = np.arange(24)
    assert torch.equal(tight.images.batch(indices), train.images.batch(indices))


def test_changed_classes_are_refused(make_task: Callable[..., TaskInfo]) -> None:
    with pytest.raises(DatasetError, match="are amber, blue, coral, but this search began with a, b"):
        DataStore().folder(make_task(class_names=("a", "b")))


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # how torch starts its workers
@pytest.mark.parametrize("augmentation", [None, "trivial_augment"])
def test_batches_do_not_depend_on_the_number_of_workers(
    make_task: Callable[..., TaskInfo], augmentation: str | None
) -> None:
    recipe = Recipe("m", data_augmentation=augmentation)
    drawn = []
    for workers in (0, 2):
        settings = FinetuneSettings(num_workers=workers, hflip=0.5)
        train, _ = DataStore().splits(make_task(), settings, 32, "bicubic")
        order = TrainOrder(len(train), 8, seed=0, config_id=0)
        transform = TrainTransform(recipe, settings, (0.5, 0.5, 0.5), 32)
        drawn.append(list(loader(train, order, transform, workers, pin=False)))
    for (images, labels), (same_images, same_labels) in zip(*drawn, strict=True):
        assert torch.equal(images, same_images)
        assert torch.equal(labels, same_labels)


def test_a_damaged_image_is_named(tmp_path: Path, make_task: Callable[..., TaskInfo]) -> None:
    root = write_image_folder(tmp_path / "set")
    (root / "train" / "coral" / "005.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    train, _ = DataStore().splits(make_task(path=root), FinetuneSettings(), 32, "bicubic")
    with pytest.raises(DatasetError, match=r"coral/005\.png cannot be read"):
        list(loader(train, TrainOrder(24, 8, 0, 0), None, 0, pin=False))
    with pytest.raises(DatasetError, match=r"coral/005\.png cannot be read"):
        DataStore().splits(make_task(path=root), FinetuneSettings(num_workers=2), 32, "bicubic")
