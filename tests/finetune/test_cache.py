import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from images import write_image_folder
from qtt.data.image_folder import scan_image_folder
from qtt.errors import DatasetError
from qtt.finetune.cv.classification import cache as cache_module
from qtt.finetune.cv.classification import image_file
from qtt.finetune.cv.classification.cache import ImageCache
from qtt.finetune.cv.classification.data import cache_limit, open_split
from qtt.finetune.cv.classification.decoding import decode
from qtt.finetune.cv.classification.image_file import (
    ImageFile,
    MemoryImages,
    images_key,
    make_room,
    open_images,
)
from qtt.finetune.cv.classification.settings import FinetuneSettings

SIDE = 16
BYTES = 3 * SIDE * SIDE


@pytest.fixture
def paths(image_folder: Path) -> list[Path]:
    return [path for path, _ in scan_image_folder(image_folder).train]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are decoded, as it happens."""
    read = []

    def counted(path: Path, size: int, interpolation: str) -> np.ndarray:
        read.append(path)
        return decode(path, size, interpolation)

    monkeypatch.setattr(cache_module, "decode", counted)
    return read


def _pillow(path: Path, size: int) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC))


def _expected(paths: list[Path], indices: np.ndarray) -> np.ndarray:
    return np.stack([_pillow(paths[index], SIDE).transpose(2, 0, 1) for index in indices])


def _store(kind: str, folder: Path, count: int) -> ImageFile | MemoryImages:
    return open_images(folder if kind == "file" else None, "key", count, SIDE, 10**9)


@pytest.mark.parametrize("kind", ["file", "memory"])
@pytest.mark.parametrize("kept", [0, 5, 24])
def test_batches_are_pillows_images_whatever_is_kept(
    paths: list[Path], tmp_path: Path, kind: str, kept: int
) -> None:
    cache = ImageCache(paths, SIDE, "bicubic", _store(kind, tmp_path, kept))
    assert cache.nbytes == kept * BYTES
    assert cache.in_memory == (kind == "memory" or not kept)
    for indices in (np.array([3, 20, 4]), np.array([4, 3, 3, 23]), np.array([4, 3, 3, 23])):
        batch = cache.batch(indices)
        np.testing.assert_array_equal(batch.numpy(), _expected(paths, indices))
        batch.zero_()  # a copy: the next batch is right all the same


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_files_are_decoded_once(paths: list[Path], tmp_path: Path, kind: str, decoded: list[Path]) -> None:
    cache = ImageCache(paths, SIDE, "bicubic", _store(kind, tmp_path, 24))
    cache.batch(np.array([1, 2, 2]))
    cache.fill()
    cache.batch(np.arange(24))
    assert sorted(decoded) == sorted(paths)
    later = ImageCache(paths, SIDE, "bicubic", _store(kind, tmp_path, 24))
    np.testing.assert_array_equal(later.batch(np.arange(24)).numpy(), _expected(paths, np.arange(24)))
    assert len(decoded) == (24 if kind == "file" else 48)


def test_a_damaged_record_is_decoded_again(paths: list[Path], tmp_path: Path, decoded: list[Path]) -> None:
    ImageCache(paths, SIDE, "bicubic", _store("file", tmp_path, 24)).fill()
    decoded.clear()
    with (tmp_path / "key.images").open("r+b") as file:
        file.seek(image_file.PAGE + 7 * BYTES + 100)  # a torn page of image 7
        file.write(b"\0" * 200)
        file.seek(4 * 9)  # image 9 without checksum: killed between pixels and checksum
        file.write(b"\0" * 4)
    cache = ImageCache(paths, SIDE, "bicubic", _store("file", tmp_path, 24))
    np.testing.assert_array_equal(cache.batch(np.arange(24)).numpy(), _expected(paths, np.arange(24)))
    assert sorted(decoded) == [paths[7], paths[9]]


def _fill_forever(paths: list[Path], folder: Path) -> None:
    while True:
        cache = ImageCache(paths, SIDE, "bicubic", _store("file", folder, len(paths)))
        cache.fill()
        (folder / "key.images").unlink(missing_ok=True)


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_killed_and_parallel_processes_leave_right_images(paths: list[Path], tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    for seconds in (0.0, 0.003, 0.01, 0.02, 0.05):
        others = [fork.Process(target=_fill_forever, args=(paths, tmp_path)) for _ in range(2)]
        for other in others:
            other.start()
        time.sleep(seconds)
        for other in others:
            os.kill(other.pid or 0, signal.SIGKILL)
            other.join()
        cache = ImageCache(paths, SIDE, "bicubic", _store("file", tmp_path, 24))
        np.testing.assert_array_equal(cache.batch(np.arange(24)).numpy(), _expected(paths, np.arange(24)))


def test_a_full_disk_falls_back_to_memory(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    written = []

    def full(descriptor: int, content: bytes, position: int) -> int:
        written.append(position)
        if len(written) > 9:
            raise OSError(28, "No space left on device")
        return pwrite(descriptor, content, position)

    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", full)
    cache = ImageCache(paths, SIDE, "bicubic", _store("file", tmp_path, 24))
    for _ in range(2):
        np.testing.assert_array_equal(cache.batch(np.arange(24)).numpy(), _expected(paths, np.arange(24)))
    assert cache.in_memory
    assert len(caplog.records) == 1
    assert "No space left on device" in caplog.text


def test_a_folder_that_cannot_be_used_falls_back_to_memory(
    paths: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "file").write_text("in the way")
    store = open_images(tmp_path / "file", "key", 24, SIDE, 10**9)
    assert isinstance(store, MemoryImages)
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "Images are kept in memory" in caplog.text


def test_files_used_longest_ago_give_way(tmp_path: Path, paths: list[Path]) -> None:
    caches = {}
    for age, name in enumerate(("new", "middle", "old")):
        caches[name] = ImageCache(paths, SIDE, "bicubic", open_images(tmp_path, name, 24, SIDE, 10**9))
        caches[name].fill()
        os.utime(tmp_path / f"{name}.images", (1e9 - age, 1e9 - age))
    size = (tmp_path / "old.images").stat().st_size
    make_room(tmp_path, 2 * size, tmp_path / "newest.images")
    assert {path.stem for path in tmp_path.iterdir()} == {"new", "middle"}
    caches["old"].batch(np.arange(24))  # still whole for who has it open
    open_images(tmp_path, "middle", 24, SIDE, 10**9)  # used
    open_images(tmp_path, "newest", 24, SIDE, 2 * size)
    assert {path.stem for path in tmp_path.iterdir()} == {"middle", "newest"}


def test_the_key_changes_with_every_path_size_and_time(tmp_path: Path) -> None:
    paths, stamps = [tmp_path / "a", tmp_path / "b"], [(1, 2), (3, 4)]
    keys = {
        images_key(tmp_path, paths, stamps, 32, "bicubic"),
        images_key(tmp_path, paths, stamps, 64, "bicubic"),
        images_key(tmp_path, paths, stamps, 32, "bilinear"),
        images_key(tmp_path, paths[:1], stamps[:1], 32, "bicubic"),
        images_key(tmp_path, [paths[0], tmp_path / "c"], stamps, 32, "bicubic"),
        images_key(tmp_path, paths, [(1, 2), (3, 5)], 32, "bicubic"),
        images_key(tmp_path, paths, [(1, 2), (4, 4)], 32, "bicubic"),
        images_key(tmp_path.parent, paths, stamps, 32, "bicubic"),
    }
    assert len(keys) == 8
    assert images_key(tmp_path, paths, stamps, 32, "bicubic") in keys


def test_other_processes_find_the_images(image_folder: Path, tmp_path: Path, decoded: list[Path]) -> None:
    code = (
        "import sys, numpy as np; from pathlib import Path;"
        "from qtt.data.image_folder import scan_image_folder;"
        "from qtt.finetune.cv.classification.data import cache_limit, open_split;"
        "from qtt.finetune.cv.classification.settings import FinetuneSettings;"
        "settings = FinetuneSettings(cache_dir=sys.argv[2]); folder = scan_image_folder(sys.argv[1]);"
        "open_split(folder, folder.train, settings, 16, 'bicubic', cache_limit(settings)).images.fill()"
    )
    subprocess.run([sys.executable, "-c", code, str(image_folder), str(tmp_path)], check=True)
    settings, folder = FinetuneSettings(cache_dir=str(tmp_path)), scan_image_folder(image_folder)
    split = open_split(folder, folder.train, settings, SIDE, "bicubic", cache_limit(settings))
    batch = split.images.batch(np.arange(24))
    assert decoded == []
    assert (batch.numpy() == _expected([path for path, _ in folder.train], np.arange(24))).all()


def test_an_image_that_changed_since_it_was_listed_is_refused(tmp_path: Path) -> None:
    folder = scan_image_folder(write_image_folder(tmp_path / "set"))
    split = open_split(folder, folder.train, FinetuneSettings(cache_gb=0), SIDE, "bicubic", 10**6)
    path = folder.train[3][0]
    Image.new("RGB", (99, 99)).save(path)
    with pytest.raises(DatasetError, match=r"003\.png has changed since this search listed it"):
        split.images.batch(np.arange(5))
    path.unlink()
    with pytest.raises(DatasetError, match=r"003\.png cannot be read: No such file"):
        split.images.batch(np.arange(5))


def test_a_cache_goes_to_another_process(paths: list[Path], tmp_path: Path) -> None:
    import pickle

    for kind in ("file", "memory"):
        cache = ImageCache(paths, SIDE, "bicubic", _store(kind, tmp_path, 5))
        cache.batch(np.arange(3))
        copy = pickle.loads(pickle.dumps(cache))
        np.testing.assert_array_equal(copy.batch(np.arange(9)).numpy(), _expected(paths, np.arange(9)))
