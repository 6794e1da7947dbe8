import random
from typing import Any

import numpy as np
import pytest
import torch

from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.finetune.cv.classification.transforms import (
    TrainTransform,
    image_transform,
    random_crops,
    random_mirrors,
)

MEAN = (0.5, 0.4, 0.3)


def _ramp(count: int, side: int = 32) -> torch.Tensor:
    """Images whose red is the column and whose green is the row, times 8."""
    line = torch.arange(side, dtype=torch.uint8) * 8
    image = torch.stack([line.expand(side, side), line[:, None].expand(side, side), torch.zeros(side, side)])
    return image.to(torch.uint8).repeat(count, 1, 1, 1)


def test_crops_cover_at_least_the_share_and_lie_anywhere() -> None:
    crops = random_crops(_ramp(500), 0.5, np.random.default_rng(0)).float()
    red, green = crops[:, 0, 16], crops[:, 1, :, 16]
    width = (red[:, -1] - red[:, 0] + 8) / 8  # seen columns, to about a pixel
    height = (green[:, -1] - green[:, 0] + 8) / 8
    area = width * height / 32**2
    assert 0.42 < area.min() < 0.55
    assert 0.9 < area.max() <= 1.0
    assert area.mean() == pytest.approx(0.75, abs=0.03)
    assert (width / height).max() < 1.25
    assert (width / height).min() > 0.8
    assert red[:, 0].min() < 8
    assert red[:, -1].max() > 240
    assert crops[:, 2].max() == 0


def test_a_crop_of_everything_changes_nothing() -> None:
    images = _ramp(3)
    rng = np.random.default_rng(0)
    torch.testing.assert_close(random_mirrors(images.clone(), 0.0, rng), images)
    same = TrainTransform(Recipe("m"), FinetuneSettings(crop_area=1.0), MEAN, 32)(images.clone(), 1)
    assert torch.equal(same, images)


def test_mirrors_as_often_as_told() -> None:
    images = _ramp(400)
    mirrored = random_mirrors(images.clone(), 0.3, np.random.default_rng(0))
    changed = (mirrored != images).flatten(1).any(1)
    assert changed.float().mean() == pytest.approx(0.3, abs=0.07)
    assert torch.equal(mirrored[changed], images[changed].flip(-1))


AUGMENTATIONS = [
    {"data_augmentation": "trivial_augment"},
    {"data_augmentation": "random_augment", "ra_num_ops": 2, "ra_magnitude": 9},
    {"data_augmentation": "random_augment", "ra_num_ops": 3, "ra_magnitude": 17},
    {"data_augmentation": "auto_augment", "auto_augment": "v0"},
    {"data_augmentation": "auto_augment", "auto_augment": "original"},
]


@pytest.mark.parametrize("options", AUGMENTATIONS, ids=lambda o: "-".join(map(str, o.values())))
def test_augmentations_depend_on_the_seed_alone_and_leave_global_states(options: dict[str, object]) -> None:
    transform = TrainTransform(Recipe("m", **options), FinetuneSettings(crop_area=1.0), MEAN, 32)
    images = _ramp(16)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    first = transform(images.clone(), 7)
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])
    random.seed(1)
    torch.rand(3)
    assert torch.equal(transform(images.clone(), 7), first)
    assert not torch.equal(transform(images.clone(), 8), first)
    assert first.shape == images.shape
    assert first.dtype == torch.uint8
    assert (first != images).flatten(1).any(1).float().mean() > 0.3


def test_options_reach_the_libraries() -> None:
    strong = image_transform(Recipe("m", **AUGMENTATIONS[2]), MEAN, 32)
    assert (strong.num_ops, strong.magnitude, strong.fill) == (3, 17, [128, 102, 76])
    v0 = image_transform(Recipe("m", **AUGMENTATIONS[3]), MEAN, 32)
    original = image_transform(Recipe("m", **AUGMENTATIONS[4]), MEAN, 32)
    names = [{op.name for sub in t.policy for op in sub} for t in (v0, original)]
    assert names[0] != names[1]
    assert "Solarize" in names[1] | names[0]
    off = Recipe("m", data_augmentation="auto_augment", auto_augment=None)
    assert image_transform(off, MEAN, 32) is None
    assert image_transform(Recipe("m"), MEAN, 32) is None


def _operations(policy: str, name: str) -> list[Any]:
    transform = image_transform(Recipe("m", data_augmentation="auto_augment", auto_augment=policy), MEAN, 32)
    return [op for sub in transform.policy for op in sub if op.name == name]


def test_auto_augment_shifts_fit_the_image() -> None:
    assert {op.hparams["translate_const"] for op in _operations("v0", "ShearX")} == {14}


def test_auto_augment_leaves_something_of_the_image() -> None:
    posterize = _operations("v0", "Posterize")
    bits = {op.level_fn(level, {})[0] for op in posterize for level in range(11)}
    assert bits == {1, 2, 3, 4}
