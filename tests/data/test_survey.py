import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from images import write_image_folder
from qtt.data.sources import Source, open_dataset
from qtt.data.survey import Survey, survey


def _survey(path: Path, **options: object) -> Survey:
    opened = open_dataset(Source.of(path, **options))
    found = survey(opened.path, opened.images, opened.facts)
    json.dumps(found.to_dict(), ensure_ascii=False).encode()
    return found


def test_an_ordinary_folder_gives_figures_and_no_warning(tmp_path: Path) -> None:
    found = _survey(write_image_folder(tmp_path / "set"))
    assert found.warnings == []
    assert found.totals == {"train": 24, "val": 12, "test": 12}
    assert found.counts["val"] == {"amber": 4, "blue": 4, "coral": 4}
    assert found.lines == [
        f"Data: {tmp_path / 'set'} (class folders in train, val, test)",
        "  24 training, 12 validation, 12 test images of 3 classes, 8 a class to train on",
        "  48 PNG; shorter side 32 pixels",
    ]


def test_sizes_formats_and_turned_photos_are_counted(tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "set", {"train": 4})
    exif = Image.Exif()
    exif[0x0112] = 6
    for side in (20, 50, 90):
        Image.new("RGB", (side, 100), (side, 0, 0)).save(root / "train" / "blue" / f"{side}.jpg", exif=exif)
    found = _survey(root)
    assert found.formats == {"PNG": 12, "JPEG": 3}
    assert (found.sides, found.turned) == ((20, 32, 90), 3)
    assert "shorter side 20 to 90 pixels, median 32; 3 turned upright by their EXIF data" in found.lines[-1]


def test_what_is_not_used_is_counted_aloud(tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "set", {"train": 5})
    for number in range(60):
        (root / "train" / "blue" / f"{number}.dng").write_text("")
    (root / "train" / "blue" / "notes.txt").write_text("")
    (root / "train" / "blue" / "Thumbs.db").write_text("")
    shutil.copytree(root / "train" / "blue", root / "train" / "amber" / "@eaDir")
    found = _survey(root)
    assert dict(found.passed) == {".dng": 60, ".txt": 1, "× @eaDir/": 1}
    assert found.lines[-1] == "  not used, for they are no images: 1 .txt, 1 × @eaDir/"
    assert found.warnings == ["Not used: 60 .dng, which cannot be opened here; convert them to JPEG or PNG."]


def test_unreadable_images_are_named(tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "set", {"train": 60})
    (root / "train" / "blue" / "007.png").write_bytes(b"")
    found = _survey(root)
    assert found.unreadable == {"train/blue/007.png": "cannot identify image file"}
    (warning,) = found.warnings
    assert warning == "1 unreadable image left out: train/blue/007.png (cannot identify image file)."
    assert sum(found.totals.values()) == 179


def test_a_validation_of_one_class_is_no_measure(tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "set", {"train": 12}, classes=("a", "b", "c", "d"))
    for name in "bcd":
        for path in sorted((root / "train" / name).iterdir())[1:]:
            path.unlink()
    found = _survey(root)
    assert found.missing == {"val": ("b", "c", "d")}
    text = "\n".join(found.warnings)
    assert "Validation lacks 3 of 4 classes: b, c, d." in text
    assert "a network that always answers it has 1.0000" in text
    assert "Classes with a single image to train on: b, c, d." in text
    assert "right for 100.0%" in text


def test_uneven_classes_come_with_the_rate_of_guessing(tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "set", {"train": 40, "val": 19}, classes=("common", "rare"))
    for split, kept in (("train", 2), ("val", 1)):
        for path in sorted((root / split / "rare").iterdir())[kept:]:
            path.unlink()
    (warning,) = _survey(root).warnings
    assert warning == (
        "Classes are uneven: 'common' has 40 images to train on, 'rare' 2. Answering 'common' for all "
        "validation images is right for 95.0%."
    )


def test_a_copy_of_train_is_no_validation(tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "set", {"train": 8})
    shutil.copytree(root / "train", root / "val")
    found = _survey(root)
    assert found.duplicates == {"train and val": 24}
    assert re.search(
        r"^24 of 24 images of val are copies of training images.*Remove val, or", found.warnings[0]
    )


def test_some_copies_across_splits_are_counted(tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "set")
    shutil.copy(root / "train" / "blue" / "000.png", root / "test" / "blue" / "other name.png")
    shutil.copy(root / "val" / "blue" / "000.png", root / "test" / "blue" / "another.png")
    shutil.copy(root / "train" / "blue" / "000.png", root / "train" / "coral" / "wrong.png")
    found = _survey(root)
    assert found.duplicates == {"train and test": 1, "val and test": 1}
    assert found.twice == 1
    assert found.warnings == [
        "1 of 14 images of test are copies of images of train.",
        "1 of 14 images of test are copies of images of val.",
        "1 training images are there twice.",
    ]


@pytest.mark.parametrize("drawn", [True, False])
def test_copies_that_a_drawn_split_tears_apart_are_to_be_removed(drawn: bool, tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "set", {"train": 5} if drawn else {"train": 5, "val": 1})
    for path in list(root.rglob("*.png")):
        shutil.copy(root / "train" / "blue" / "000.png", path) if path.name != "000.png" else None
        if path.name == "000.png" and path.parent.name + path.parent.parent.name != "bluetrain":
            shutil.copy(root / "train" / "blue" / "000.png", path)
    warning = _survey(root).warnings[0]
    assert ("Remove the copies." if drawn else "Remove val, or put other images there.") in warning
