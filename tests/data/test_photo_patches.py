import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from qtt.data.image_folder import scan_image_folder
from qtt.data.photo_patches import HEIGHT, SIDE, _box, photo_patches_folder
from qtt.errors import DatasetError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photo_patches_folder(tmp_path_factory.mktemp("patches"))


def test_ten_balanced_classes(folder: Path) -> None:
    splits = scan_image_folder(folder)
    assert len(splits.class_names) == 10
    for split, count in ((splits.train, 40), (splits.val, 15), (splits.test, 15)):
        assert set(Counter(label for _, label in split).values()) == {count}
    for path, _ in splits.train[::40]:
        with Image.open(path) as image:
            assert image.size == (SIDE, SIDE)


def test_patches_are_of_their_photograph_and_of_the_split_s_part(folder: Path) -> None:
    """Found again by correlation: every one matches best within the part of its split."""
    photo = Image.fromarray(data.chelsea()).convert("L")
    photo = photo.resize((round(photo.width * HEIGHT / photo.height), HEIGHT), Image.Resampling.LANCZOS)
    whole = np.asarray(photo.reduce(8), dtype=float)
    for split, left, right in (("train", 0, 0.5), ("val", 0.5, 0.75), ("test", 0.75, 1)):
        found = [_place(whole, path) for path in sorted((folder / split / "cat").iterdir())[:6]]
        assert sum(left - 0.02 <= x <= right for x, _ in found) >= 5
        assert np.median([match for _, match in found]) > 0.95


def _place(whole: NDArray[np.float64], path: Path) -> tuple[float, float]:
    """Left edge, as a share of the photograph's width, and correlation of the best match over all scales."""
    best = (0.0, -1.0)
    with Image.open(path) as image:
        for side in range(10, 17):
            patch = np.asarray(image.convert("L").resize((side, side), Image.Resampling.BOX), dtype=float)
            windows = np.lib.stride_tricks.sliding_window_view(whole, (side, side))
            centred = windows - windows.mean((2, 3), keepdims=True)
            own = patch - patch.mean()
            scale = np.sqrt((centred**2).sum((2, 3)) * (own**2).sum()) + 1e-9
            match = (centred * own).sum((2, 3)) / scale
            _, x = np.unravel_index(match.argmax(), match.shape)
            best = max(best, (float(x) / whole.shape[1], float(match.max())), key=lambda item: item[1])
    return best


def test_boxes_stay_within_their_columns() -> None:
    random = np.random.default_rng(0)
    boxes = [_box(random, 256, 384) for _ in range(500)]
    assert all(x >= 256 and right <= 384 and y >= 0 and bottom <= HEIGHT for x, y, right, bottom in boxes)
    assert all(right - x == bottom - y for x, y, right, bottom in boxes)
    assert min(x for x, *_ in boxes) < 260
    assert max(right for _, _, right, _ in boxes) > 380


def test_the_same_everywhere(folder: Path, tmp_path: Path) -> None:
    again = photo_patches_folder(tmp_path)
    for path in list(folder.rglob("*.png"))[::50]:
        assert (again / path.relative_to(folder)).read_bytes() == path.read_bytes()


def test_without_scikit_image_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(DatasetError, match=r"qtt\[photos\]"):
        photo_patches_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []
