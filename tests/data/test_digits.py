import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from qtt.data.digits import digits_folder
from qtt.data.image_folder import scan_image_folder
from qtt.errors import ConfigError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return digits_folder(tmp_path_factory.mktemp("digits"))


def test_all_scans_are_there_once_in_stratified_splits(folder: Path) -> None:
    splits = scan_image_folder(folder)
    assert splits.class_names == tuple("0123456789")
    numbers = [int(path.stem) for split in (splits.train, splits.val, splits.test) for path, _ in split]
    assert sorted(numbers) == list(range(1797))
    target = load_digits().target
    whole = Counter(target.tolist())
    for split, share in ((splits.train, 0.6), (splits.val, 0.2), (splits.test, 0.2)):
        assert len(split) == pytest.approx(1797 * share, abs=8)
        for label, count in Counter(label for _, label in split).items():
            assert count == pytest.approx(whole[label] * share, abs=1.5)
        assert all(target[int(path.stem)] == label for path, label in split)


def test_pixels_are_the_scans(folder: Path) -> None:
    scans = load_digits().images
    for path, _ in scan_image_folder(folder).test[::40]:
        with Image.open(path) as image:
            assert (image.size, image.mode) == ((32, 32), "L")
            back = np.asarray(image.resize((8, 8), Image.Resampling.BOX), dtype=float)
        scan = scans[int(path.stem)] * 255 / 16
        assert np.corrcoef(back.ravel(), scan.ravel())[0, 1] > 0.97
        assert abs(back.mean() - scan.mean()) < 6


def test_written_once(folder: Path) -> None:
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}
    assert digits_folder(folder.parent) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")} == times


def test_default_place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QTT_CACHE", str(folder.parent))
    assert digits_folder() == folder


def test_processes_may_write_at_once(tmp_path: Path) -> None:
    code = f"from qtt.data.digits import digits_folder; print(digits_folder({str(tmp_path)!r}))"
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    places = {process.communicate()[0].strip() for process in running}
    assert [process.returncode for process in running] == [0, 0]
    assert [str(path) for path in tmp_path.iterdir()] == list(places)
    assert sum(1 for _ in tmp_path.rglob("*.png")) == 1797


def test_a_broken_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(ConfigError, match=r"no space left.*QTT_CACHE=DIR"):
        digits_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []
