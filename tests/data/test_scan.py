import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from images import write_image_folder
from qtt.data import scan
from qtt.data.image_folder import scan_image_folder
from qtt.data.scan import look, scan_images


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file was read, by name."""
    read: Counter[str] = Counter()

    def counted(path: str) -> scan.ImageFacts:
        read[Path(path).name] += 1
        return look(path)

    monkeypatch.setattr(scan, "look", counted)
    return read


def _photo(path: Path, orientation: int | None = None) -> None:
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    pixels = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, exif=exif)


def test_facts_are_those_that_were_written(tmp_path: Path) -> None:
    _photo(tmp_path / "a.jpg")
    _photo(tmp_path / "b.jpg", orientation=1)
    _photo(tmp_path / "c.jpg", orientation=6)
    facts = {name: look(str(tmp_path / f"{name}.jpg")) for name in "abc"}
    assert all((fact.width, fact.height, fact.format) == (90, 60, "JPEG") for fact in facts.values())
    assert {name: fact.turned for name, fact in facts.items()} == {"a": False, "b": False, "c": True}
    assert len({fact.digest for fact in facts.values()}) == 3
    (tmp_path / "copy.jpg").write_bytes((tmp_path / "a.jpg").read_bytes())
    assert look(str(tmp_path / "copy.jpg")) == facts["a"]


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "tif"])
def test_files_that_end_too_early_are_found(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    _photo(path)
    assert look(str(path)).error is None
    path.write_bytes(path.read_bytes()[: -path.stat().st_size // 3])
    assert look(str(path)).error


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "cannot identify"), (b"%!PS-Adobe-3.0 EPSF-3.0\n", "cannot identify"), (None, "No such file")],
)
def test_what_is_no_image_has_a_reason(content: bytes | None, reason: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    fact = look(str(tmp_path / "a.png"))
    assert fact.error is not None
    assert reason in fact.error


def test_a_second_scan_reads_what_changed_alone(tmp_path: Path, looked: Counter[str]) -> None:
    root = write_image_folder(tmp_path / "set", {"train": 4, "val": 2})
    first = scan_images(scan_image_folder(root))
    assert set(looked.values()) == {3} | {3 * 2}  # by name: numbers 0 and 1 are in val too
    looked.clear()
    assert scan_images(scan_image_folder(root)) == first
    assert not looked
    _photo(root / "train" / "blue" / "003.png")
    again = scan_images(scan_image_folder(root))
    assert looked == {"003.png": 1}
    changed = {path for path in first if first[path] != again[path]}
    assert changed == {str(root / "train" / "blue" / "003.png")}


def test_a_file_that_could_not_be_opened_is_tried_again(tmp_path: Path, looked: Counter[str]) -> None:
    root = write_image_folder(tmp_path / "set", {"train": 4})
    folder = scan_image_folder(root)
    path = root / "train" / "blue" / "003.png"
    away = path.rename(tmp_path / "away.png")
    assert scan_images(folder)[str(path)].error == "No such file or directory"
    away.rename(path)
    looked.clear()
    assert scan_images(folder)[str(path)].error is None
    assert looked == {"003.png": 1}


def test_facts_are_made_again_where_their_file_is_damaged(tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "set", {"train": 3})
    facts = scan_images(scan_image_folder(root))
    files = sorted((Path(os.environ["QTT_CACHE"]) / "scans").iterdir(), key=lambda file: file.stat().st_mtime)
    files[-1].write_bytes(b"PAR1 torn")
    assert scan_images(scan_image_folder(root)) == facts


def test_facts_need_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = scan_image_folder(write_image_folder(tmp_path / "set", {"train": 3}))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("QTT_CACHE", str(tmp_path / "file"))
    assert all(fact.error is None for fact in scan_images(folder).values())


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_the_bound_of_pixels_makes_images_unreadable(tmp_path: Path) -> None:
    folder = scan_image_folder(write_image_folder(tmp_path / "set", {"train": 3}))
    reasons = {fact.error for fact in scan_images(folder, max_pixels=1023).values()}
    assert reasons == {"it has more pixels than dataset.max_pixels allows"}
    assert {fact.error for fact in scan_images(folder, max_pixels=1024).values()} == {None}
    assert {fact.error for fact in scan_images(folder).values()} == {None}
