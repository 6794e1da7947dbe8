"""Epochs and scores of large datasets are of a part of them, as the budget has it."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from qtt.finetune.cv.classification import pace
from qtt.finetune.cv.classification.data import DataStore, TrainOrder, share_of
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.types import MetaFeatures, TaskInfo

CPU: dict[str, Any] = {"device": "cpu"}


def drawn(order: TrainOrder, epoch: int) -> list[int]:
    order.epoch = epoch
    return np.concatenate([rows for rows, _ in order]).tolist()


@pytest.mark.parametrize("part", [1, 4, 7, 10])
def test_parts_of_a_pass_have_every_image_before_any_comes_again(part: int) -> None:
    order = TrainOrder(10, 3, seed=0, config_id=0, part=part)
    row = [image for epoch in range(1, 21) for image in drawn(order, epoch)]
    assert len(row) == 20 * part
    for begin in range(0, len(row) - 9, 10):
        assert sorted(row[begin : begin + 10]) == list(range(10))
    assert row[:10] != row[10:20] or part == 1
    assert drawn(order, 3) == drawn(order, 3), "a resumed epoch is the same"


def test_a_part_of_all_is_a_whole_epoch() -> None:
    whole, large = (TrainOrder(10, 3, seed=0, config_id=0, part=part) for part in (None, 99))
    assert drawn(whole, 2) == drawn(large, 2)
    assert len(large) == len(whole)


def test_a_balanced_part_is_drawn_from_all_classes() -> None:
    labels = torch.tensor([0] * 90 + [1] * 10)
    order = TrainOrder(100, 10, seed=0, config_id=0, balance=labels, part=40)
    counts = Counter(labels[drawn(order, 1)].tolist())
    assert sum(counts.values()) == 40
    assert abs(counts[0] - counts[1]) <= 16


def test_a_share_has_of_each_class_as_much_and_is_always_the_same() -> None:
    samples = [(Path(f"{label}/{i}.png"), label) for label, n in enumerate((40, 20, 4)) for i in range(n)]
    share = share_of(samples, 16, seed=3)
    assert Counter(label for _, label in share) == {0: 10, 1: 5, 2: 1}
    assert share == [sample for sample in samples if sample in share], "in their order"
    assert share == share_of(samples, 16, seed=3)
    assert share != share_of(samples, 16, seed=4)
    assert share_of(samples, None, seed=3) is samples
    assert share_of(samples, 64, seed=3) is samples


def test_scores_are_of_the_share(make_task: Any) -> None:
    task: TaskInfo = make_task()
    store, settings = DataStore(), FinetuneSettings(device="cpu", cache_gb=0)
    _, whole = store.splits(task, settings, 32, "bilinear")
    train, val = store.splits(task, replace(settings, val_images=4), 32, "bilinear")
    assert (len(val), len(set(val.labels.tolist()))) == (4, task.num_classes)
    assert len(whole) > 4
    assert len(train) > 4


def paced(
    images: int, seconds: float, begun: dict[str, Any] | None = None, **given: Any
) -> tuple[dict[str, Any], int]:
    task = TaskInfo(path=Path(), settings={**CPU, **given})
    task, metafeatures = pace.paced(task, MetaFeatures(images, 5, 128, 3), seconds, begun)
    return dict(task.settings), metafeatures.train_images


def test_small_datasets_are_used_whole() -> None:
    settings, images = paced(2900, 60.0)
    assert settings == {**CPU, "epoch_images": None, "val_images": None}
    assert images == 2900


def test_a_large_dataset_has_epochs_that_suit_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace.os, "cpu_count", lambda: 2)
    settings, images = paced(200_000, 60.0)
    assert settings["epoch_images"] == settings["val_images"] == images == pace.LEAST
    settings, images = paced(200_000, 3600.0)
    assert settings["epoch_images"] == images == 9600
    assert paced(200_000, 7 * 24 * 3600.0)[1] == 200_000


def test_what_is_given_and_what_a_search_began_with_stays() -> None:
    settings, images = paced(200_000, 60.0, epoch_images=500)
    assert (settings["epoch_images"], settings["val_images"], images) == (500, pace.LEAST, 500)
    begun = {"epoch_images": 3000, "val_images": None}
    settings, images = paced(200_000, 3600.0, begun)
    assert (settings["epoch_images"], settings["val_images"], images) == (3000, None, 3000)
    assert paced(200_000, 60.0, {})[1] == 200_000
