from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qtt.data.image_folder import scan_image_folder
from qtt.errors import DatasetError
from qtt.finetune.cv.classification import cache as cache_module
from qtt.finetune.cv.classification.cache import ImageCache, decode


@pytest.fixture
def paths(image_folder: Path) -> list[Path]:
    return [path for path, _ in scan_image_folder(image_folder).train]


def _pillow(path: Path, size: int) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("kept", [0, 5, 24])
def test_batches_are_pillows_images_whatever_is_kept(paths: list[Path], kept: int) -> None:
    cache = ImageCache(paths, 16, "bicubic", limit=kept * 3 * 16 * 16)
    assert cache.nbytes == kept * 3 * 16 * 16
    for indices in (np.array([3, 20, 4]), np.array([4, 3, 3, 23])):
        batch = cache.batch(indices)
        expected = np.stack([_pillow(paths[index], 16) for index in indices])
        np.testing.assert_array_equal(batch.permute(0, 2, 3, 1).numpy(), expected)
        batch.zero_()  # a copy: the next batch is right all the same


def test_files_are_read_once(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def counted(path: Path, size: int, interpolation: str) -> np.ndarray:
        read.append(path)
        return decode(path, size, interpolation)

    monkeypatch.setattr(cache_module, "decode", counted)
    cache = ImageCache(paths, 8, "bilinear", limit=10**6)
    cache.batch(np.array([1, 2]))
    cache.fill(threads=2)
    cache.batch(np.arange(24))
    assert sorted(read) == sorted(paths)


def test_shorter_side_is_resized_and_the_middle_kept(tmp_path: Path) -> None:
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, 20:40] = (10, 200, 30)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    Image.fromarray(pixels.transpose(1, 0, 2)).save(tmp_path / "tall.png")
    for name in ("wide.png", "tall.png"):
        assert (decode(tmp_path / name, 10, "nearest") == (10, 200, 30)).all()


def test_kinds_of_images(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 64).reshape(8, 8)
    grey = Image.fromarray(ramp.astype(np.uint8))
    grey.save(tmp_path / "grey.png")
    Image.fromarray((ramp * 257).astype(np.uint16)).save(tmp_path / "sixteen.png")
    grey.convert("P").save(tmp_path / "palette.png", transparency=b"\x00\x80")
    grey.convert("CMYK").save(tmp_path / "cmyk.tif")
    grey.convert("LA").save(tmp_path / "alpha.png")
    grey.convert("RGB").save(tmp_path / "colour.bmp")
    for path in sorted(tmp_path.iterdir()):
        pixels = decode(path, 8, "nearest").astype(float)
        assert pixels.shape == (8, 8, 3), path
        assert np.abs(pixels - ramp[..., None]).max() <= 1.5, path


def test_damaged_files_are_named(tmp_path: Path, paths: list[Path]) -> None:
    whole = paths[0].read_bytes()
    for name, content in (("empty", b""), ("cut", whole[: len(whole) // 2]), ("text", b"hello")):
        path = tmp_path / f"{name}.png"
        path.write_bytes(content)
        with pytest.raises(DatasetError, match=rf"{name}\.png cannot be read: .*Repair or remove it"):
            decode(path, 8, "bicubic")
    with pytest.raises(DatasetError, match=r"gone\.png cannot be read"):
        decode(tmp_path / "gone.png", 8, "bicubic")
