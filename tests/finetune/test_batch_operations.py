"""Operations on batches against Pillow on each image, with the same parameters."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import timm.data.auto_augment as timm_operations
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from images import photos
from qtt.finetune.cv.classification.batch_operations import NAMES, OPERATIONS, crop
from qtt.finetune.cv.classification.batch_policies import rotation, shear, shift

FILL = (128, 102, 76)
SIDES = (8, 33, 64)
COUNT = 24


def _ours(name: str, images: NDArray[np.uint8], values: Any) -> NDArray[np.uint8]:
    batch = torch.from_numpy(images).permute(0, 3, 1, 2)
    before = batch.clone()
    result = OPERATIONS[name](
        batch, torch.tensor(values, dtype=torch.float64), torch.tensor(FILL, dtype=torch.uint8)
    )
    assert result.shape == batch.shape
    assert result.dtype == torch.uint8
    assert torch.equal(batch, before)
    return result.permute(0, 2, 3, 1).numpy()


def _pillow(
    function: Callable[..., Image.Image], images: NDArray[np.uint8], values: Any
) -> NDArray[np.uint8]:
    done = [function(Image.fromarray(image), value) for image, value in zip(images, values, strict=True)]
    return np.stack([np.asarray(image) for image in done])


FACTORS = np.linspace(0, 2, COUNT)
BITS = [1 + number % 8 for number in range(COUNT)]
SAME_BYTES: dict[str, tuple[Callable[..., Image.Image], Any, Any]] = {
    "brightness": (lambda image, x: ImageEnhance.Brightness(image).enhance(x), FACTORS, FACTORS),
    "color": (lambda image, x: ImageEnhance.Color(image).enhance(x), FACTORS, FACTORS),
    "contrast": (lambda image, x: ImageEnhance.Contrast(image).enhance(x), FACTORS, FACTORS),
    "sharpness": (lambda image, x: ImageEnhance.Sharpness(image).enhance(x), FACTORS, FACTORS),
    "posterize": (ImageOps.posterize, BITS, [256 - 2 ** (8 - bits) for bits in BITS]),
    "solarize": (ImageOps.solarize, *[np.linspace(256, 0, COUNT)] * 2),
    "solarize_add": (timm_operations.solarize_add, *[list(range(0, 5 * COUNT, 5))] * 2),
    "invert": (lambda image, _: ImageOps.invert(image), FACTORS, FACTORS),
    "autocontrast": (lambda image, _: ImageOps.autocontrast(image), FACTORS, FACTORS),
    "equalize": (lambda image, _: ImageOps.equalize(image), FACTORS, FACTORS),
}
"""Name: Pillow's function, its parameters, and ours."""


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", SAME_BYTES)
def test_the_same_bytes_as_pillow(name: str, side: int) -> None:
    function, theirs, ours = SAME_BYTES[name]
    images = photos(COUNT, side)
    np.testing.assert_array_equal(
        _ours(name, images, np.reshape(ours, (COUNT, 1))), _pillow(function, images, theirs)
    )


@pytest.mark.parametrize("name", SAME_BYTES)
def test_the_same_bytes_of_images_of_few_colours(name: str) -> None:
    """One colour, two, nearly one: where histograms are degenerate."""
    function, theirs, ours = SAME_BYTES[name]
    images = np.zeros((COUNT, 16, 16, 3), dtype=np.uint8)
    images[1::4] = 255
    images[2::4] = (7, 130, 255)
    images[3::4, :8] = 201
    images[4::8, 3, 5] = 90
    np.testing.assert_array_equal(
        _ours(name, images, np.reshape(ours, (COUNT, 1))), _pillow(function, images, theirs)
    )


def _matrices(side: int) -> NDArray[np.float64]:
    """Those of the policies, right angles and the identity among them, and any others."""
    known = [rotation(degrees, side) for degrees in (0, 90, -90, 135, -4.5, 27)]
    known += [shear(axis, slope) for axis in (0, 1) for slope in (0.99, -0.3)]
    known += [shift(axis, pixels) for axis in (0, 1) for pixels in (3, -0.45 * side)]
    others = np.random.default_rng(1).normal([1, 0, 0, 0, 1, 0], 0.3, (COUNT - len(known), 6))
    return np.concatenate([known, others * [1, 1, side, 1, 1, side]])


def _transform(resample: Image.Resampling) -> Callable[[Image.Image, Any], Image.Image]:
    method = Image.Transform.AFFINE
    return lambda image, matrix: image.transform(
        image.size, method, tuple(matrix), resample=resample, fillcolor=FILL
    )


@pytest.mark.parametrize("side", SIDES)
def test_nearest_neighbours_are_pillows(side: int) -> None:
    images, matrices = photos(COUNT, side), _matrices(side)
    theirs = _pillow(_transform(Image.Resampling.NEAREST), images, matrices)
    np.testing.assert_array_equal(_ours("nearest", images, matrices), theirs)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("resample", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])
def test_interpolation_is_pillows_up_to_a_grey_level_in_few_places(
    side: int, resample: Image.Resampling
) -> None:
    images, matrices = photos(COUNT, side), _matrices(side)
    cubic = np.full(COUNT, resample == Image.Resampling.BICUBIC)
    ours = _ours("interpolated", images, np.column_stack([matrices, cubic])).astype(int)
    far = np.abs(ours - _pillow(_transform(resample), images, matrices))
    assert far.max() <= 1
    assert (far > 0).mean() < 0.005


def test_rotations_are_pillows() -> None:
    images = photos(31, 32)
    degrees = [*np.linspace(0, 135, 16), *np.linspace(-135, -9, 15)]
    theirs = _pillow(lambda image, angle: image.rotate(angle, fillcolor=FILL), images, degrees)
    np.testing.assert_array_equal(_ours("nearest", images, [rotation(x, 32) for x in degrees]), theirs)


def test_a_crop_of_everything_and_its_mirror_are_exact() -> None:
    images = torch.from_numpy(photos(6, 33)).permute(0, 3, 1, 2)
    whole, mirrored = [[0, 1, 0, 32], [0, 1, 0, 32]], [[32, -1, 0, 32], [0, 1, 0, 32]]
    assert torch.equal(crop(images, torch.tensor([whole] * 6, dtype=torch.float32)), images)
    assert torch.equal(crop(images, torch.tensor([mirrored] * 6, dtype=torch.float32)), images.flip(-1))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_waits_for_the_device(name: str) -> None:
    """A tensor without data refuses operations whose results, or their shapes, have to be looked at."""
    nowhere: Tensor = torch.empty((5, 3, 16, 16), dtype=torch.uint8, device="meta")
    values = torch.empty((5, 7), dtype=torch.float64, device="meta")
    fill = torch.empty(3, dtype=torch.uint8, device="meta")
    assert OPERATIONS[name](nowhere, values, fill).shape == nowhere.shape


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")
@pytest.mark.parametrize("name", NAMES)
def test_a_gpu_finds_the_same(name: str) -> None:
    batch = torch.from_numpy(photos(COUNT, 33)).permute(0, 3, 1, 2)
    values = torch.zeros((COUNT, 7), dtype=torch.float64)
    values[:, 0] = torch.linspace(0, 1.9, COUNT)
    if name in ("nearest", "interpolated"):
        values[:, :6], values[::2, 6] = torch.from_numpy(_matrices(33)), 1
    inputs = batch, values, torch.tensor(FILL, dtype=torch.uint8)
    there = OPERATIONS[name](*(tensor.cuda() for tensor in inputs)).cpu()
    far = (there.int() - OPERATIONS[name](*inputs).int()).abs()
    assert far.max() <= (name == "interpolated")
    assert (far > 0).float().mean() < 0.005
