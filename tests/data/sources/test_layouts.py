"""Every layout that a folder may have, and every fault: what is listed, and what is said."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from images import CLASSES, write_image_folder
from qtt.data.contents import describe_contents
from qtt.data.listed import ImageFolder
from qtt.data.sources import Source, list_dataset, list_task, open_dataset
from qtt.errors import ConfigError, DatasetError
from qtt.types import TaskInfo


def _sizes(folder: ImageFolder) -> tuple[int, int, int]:
    return len(folder.train), len(folder.val), len(folder.test)


def _plain(root: Path) -> Path:
    return write_image_folder(root)


def _classes(root: Path) -> Path:
    return write_image_folder(root, {".": 10})


def _renamed(root: Path) -> Path:
    return write_image_folder(root, {"Train": 8, "validation": 4, "Testing": 4})


def _training(root: Path) -> Path:
    return write_image_folder(root, {"training": 10, "testing": 4})


def _nested(root: Path) -> Path:
    write_image_folder(root / "archive" / "photos", {"train": 8, "valid": 4, "test": 4})
    (root / "README.md").write_text("read me")
    (root / "__MACOSX").mkdir()
    return root


def _nested_classes(root: Path) -> Path:
    write_image_folder(root / "photos", {".": 10})
    (root / "annotations").mkdir()
    (root / "annotations" / "list.txt").write_text("")
    return root


LAYOUTS = {
    _plain: (24, 12, 12),
    _classes: (24, 6, 0),
    _renamed: (24, 12, 12),
    _training: (24, 6, 12),
    _nested: (24, 12, 12),
    _nested_classes: (24, 6, 0),
}


@pytest.mark.parametrize("write", LAYOUTS, ids=lambda write: write.__name__)
def test_layouts_are_recognised(write: Callable[[Path], Path], tmp_path: Path) -> None:
    opened = open_dataset(Source.of(write(tmp_path / "set")))
    assert opened.images.class_names == CLASSES
    assert _sizes(opened.images) == LAYOUTS[write]
    assert len(opened.facts) == sum(LAYOUTS[write])
    for split in ("train", "val", "test"):
        assert all(path.parent.name == CLASSES[label] for path, label in opened.images.split(split))


LISTED = """
import json, sys
from qtt.data.contents import describe_contents
from qtt.data.sources import list_task
from qtt.types import TaskInfo
folder = list_task(TaskInfo.from_dict(json.loads(sys.argv[1])))
print(json.dumps([[str(path) for path, _ in folder.split(s)] for s in ("train", "val", "test")]))
print(describe_contents(folder))
"""


@pytest.mark.parametrize("write", [_classes, _nested], ids=lambda write: write.__name__)
def test_another_process_lists_the_same_from_the_task_alone(
    write: Callable[[Path], Path], tmp_path: Path
) -> None:
    opened = open_dataset(Source.of(write(tmp_path / "set")), 0.3, seed=5)
    task = TaskInfo(opened.path, opened.images.class_names, 0.3, 5, source=opened.source)
    done = subprocess.run(
        [sys.executable, "-c", LISTED, json.dumps(task.to_dict())], capture_output=True, text=True, check=True
    )
    listed, contents = done.stdout.splitlines()
    expected = [[str(p) for p, _ in opened.images.split(s)] for s in ("train", "val", "test")]
    assert json.loads(listed) == expected
    assert contents == describe_contents(opened.images)
    assert list_task(task) == opened.images


def test_a_search_over_train_and_val_is_described_as_ever(tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "set")
    opened = open_dataset(Source.of(root))
    assert dict(opened.source) == {}
    assert "source" not in TaskInfo(opened.path, source=opened.source).to_dict()
    files = sorted((*root.glob("train/*/*"), *root.glob("val/*/*")))
    lines = "".join(f"{file.relative_to(root).as_posix()}\0{file.stat().st_size}\n" for file in files)
    digest = hashlib.sha256(lines.encode()).hexdigest()[:16]
    expected = f"24 training and 12 validation images, names and sizes {digest}"
    assert describe_contents(opened.images) == expected


def test_searches_of_before_list_what_they_had(tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "set", {"train": 5, "valid": 2})
    for path in sorted((root / "train").rglob("004.png")):
        Image.new("RGB", (32, 32), path.parent.name == "blue").save(path.with_name("new.gif"))
    shutil.copytree(root / "train" / "blue", root / "train" / "amber" / "@eaDir")
    before = list_dataset(root, {})
    assert _sizes(before) == (16, 4, 0)  # 20 PNGs, five of them thumbnails
    now = open_dataset(Source.of(root))
    assert _sizes(now.images) == (18, 6, 0)
    assert now.source["rules"] == 2
    assert list_dataset(root, now.source) == now.images


def test_a_type_of_file_that_earlier_searches_passed_over_is_written_down(tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "set")
    Image.new("RGB", (32, 32)).save(root / "train" / "blue" / "new.jfif", "JPEG")
    opened = open_dataset(Source.of(root))
    assert dict(opened.source) == {"layout": "splits", "rules": 2}
    assert _sizes(opened.images) == (25, 12, 12)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "set", {".": 5}, classes=("bus", "train", "tram"))
    assert open_dataset(Source.of(root)).images.class_names == ("bus", "train", "tram")


def test_the_unicode_form_of_names_does_not_matter(tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "set", classes=("Äpfel", "Öl", "Zimt"))
    (root / "val" / "Äpfel").rename(root / "val" / unicodedata.normalize("NFD", "Äpfel"))
    (root / "test" / "Öl").rename(root / "test" / unicodedata.normalize("NFD", "Öl"))
    opened = open_dataset(Source.of(root))
    assert opened.images.class_names == tuple(sorted(("Äpfel", "Öl", "Zimt")))
    assert _sizes(opened.images) == (24, 12, 12)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems know no such names")
def test_class_names_that_are_no_utf8_are_named(tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "set", {".": 4})
    os.rename(os.fsencode(root / "blue"), os.fsencode(root) + b"/caf\xe9")  # noqa: PTH104
    with pytest.raises(DatasetError, match=r"class caf\\udce9 in .*set is no UTF-8.*rename it") as caught:
        open_dataset(Source.of(root))
    str(caught.value).encode()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems know no such names")
def test_image_names_that_are_no_utf8_can_be_skipped(tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "set", {"train": 6})
    os.rename(os.fsencode(root / "train/blue/003.png"), os.fsencode(root) + b"/train/blue/\xe9.png")  # noqa: PTH104
    Path(os.fsdecode(os.fsencode(root) + b"/train/blue/\xe9.png")).write_bytes(b"")
    opened = open_dataset(Source(root, max_bad=0.1))
    assert json.loads(json.dumps(opened.source)) == {"skip": ["train/blue/\\udce9.png"]}
    assert sum(_sizes(opened.images)) == 17
    assert list_dataset(root, opened.source) == opened.images


def test_links_of_one_name_in_two_unicode_forms_are_refused(tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "set", {".": 4}, classes=("Äpfel", "Zimt"))
    shutil.copytree(root / "Äpfel", root / unicodedata.normalize("NFD", "Äpfel"))
    if len(list(root.iterdir())) < 3:
        pytest.skip("this file system knows one form alone")
    with pytest.raises(DatasetError, match=r"two classes .*Unicode form alone"):
        open_dataset(Source.of(root))


def test_thumbnails_and_waste_are_no_images_and_no_classes(tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "set", {".": 5})
    for place in (".", "amber"):
        for name in ("@eaDir", ".ipynb_checkpoints", "__MACOSX", "#recycle"):
            shutil.copytree(root / "blue", root / place / name)
    opened = open_dataset(Source.of(root))
    assert opened.images.class_names == CLASSES
    assert _sizes(opened.images) == (12, 3, 0)
    assert opened.images.passed.folders["@eaDir"] == 2


def test_splits_within_classes_are_not_guessed(tmp_path: Path) -> None:
    for name in CLASSES:
        write_image_folder(tmp_path / "set" / name, {".": 4}, classes=("train", "test"))
    opened = open_dataset(Source.of(tmp_path / "set"))
    assert opened.images.class_names == CLASSES
    assert opened.images.notes == (
        "Folders train, val or test inside of classes (amber, blue, coral) are not taken for splits.",
    )


def test_an_odd_test_folder_stops_nothing(tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "set")
    (root / "test" / "blue").rename(root / "test" / "unknown")
    shutil.copy(root / "train" / "coral" / "000.png", root / "test" / "1.png")
    opened = open_dataset(Source.of(root))
    assert _sizes(opened.images) == (24, 12, 8)
    assert {CLASSES[label] for _, label in opened.images.test} == {"amber", "coral"}
    assert any("directly in test have no class and are not used: 1" in note for note in opened.images.notes)
    assert any("unknown (4)" in note for note in opened.images.notes)


@pytest.mark.parametrize("content", ["unlabelled", "unknown", "empty"])
def test_a_test_folder_without_labels_is_noted(content: str, tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "set", {"train": 5})
    (root / "test" / "unknown").mkdir(parents=True)
    if content != "empty":
        shutil.copy(
            root / "train" / "blue" / "000.png", root / "test" / ("" if content == "unlabelled" else content)
        )
    opened = open_dataset(Source.of(root))
    assert opened.images.test == ()
    assert len(opened.images.notes) == (content != "empty")


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def test_a_few_unreadable_images_are_left_out(tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "set", {"train": 60, "val": 10})
    _truncate(root / "train" / "blue" / "017.png")
    _truncate(root / "val" / "coral" / "003.png")
    opened = open_dataset(Source.of(root))
    assert _sizes(opened.images) == (179, 29, 0)
    assert opened.source["skip"] == ["train/blue/017.png", "val/coral/003.png"]
    assert list_dataset(root, json.loads(json.dumps(opened.source))) == opened.images
    (root / "train" / "blue" / "017.png").unlink()
    with pytest.raises(DatasetError, match="cannot be read"):
        open_dataset(Source.of(root, max_bad=0.0))


def test_too_many_unreadable_images_are_an_error_that_names_them(tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "set", {"train": 20})
    for number in range(12):
        _truncate(root / "train" / "blue" / f"{number:03d}.png")
    with pytest.raises(DatasetError) as caught:
        open_dataset(Source.of(root))
    message = str(caught.value)
    assert message.startswith(f"12 of 60 images below {root} cannot be read:\n  train/blue/000.png: ")
    assert "… and 2 more" in message
    allowed = float(message.rpartition("dataset.max_bad=")[2])
    assert _sizes(open_dataset(Source(root, max_bad=allowed)).images) == (38, 10, 0)


def test_a_class_without_any_readable_image_is_an_error(tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "set", {"train": 3})
    for path in (root / "train" / "blue").iterdir():
        _truncate(path)
    with pytest.raises(DatasetError, match="blue holds no image"):
        open_dataset(Source(root, max_bad=1))


def _flat(root: Path) -> None:
    write_image_folder(root, {".": 3})
    for path in sorted(root.rglob("*.png")):
        path.rename(root / f"{path.parent.name}-{path.name}")
        with_files = any(path.parent.iterdir())
        if not with_files:
            path.parent.rmdir()


def _one_class(root: Path) -> None:
    write_image_folder(root, {".": 3}, classes=("only",))


def _one_class_in_train(root: Path) -> None:
    write_image_folder(root, {"train": 3}, classes=("only",))


def _flat_train(root: Path) -> None:
    write_image_folder(root, {"val": 3})
    shutil.copytree(root / "val" / "blue", root / "train")


def _text(root: Path) -> None:
    root.mkdir()
    (root / "notes.txt").write_text("")


def _file(root: Path) -> None:
    root.write_text("")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda root: None, "no dataset folder at .*set"),
        (_flat, "set: 9 images without labels: they lie in no class folders, and no table"),
        (_one_class, "only: 3 images without labels"),
        (_one_class_in_train, "single class 'only'"),
        (_flat_train, "train has no class folders"),
        (_text, r"set: no images \(\.jpg"),
        (_file, "set is neither a folder nor a table"),
    ],
)
def test_what_is_not_understood_shows_what_is(
    write: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    write(tmp_path / "set")
    with pytest.raises(DatasetError, match=message) as caught:
        open_dataset(Source.of(tmp_path / "set"))
    for tree in ("train/<class>/*.jpg", "  <class>/*.jpg", "labels.csv", "save_to_disk"):
        assert tree in str(caught.value)


@pytest.mark.parametrize(
    "bounds", [{"max_bad": 2}, {"max_bad": -0.1}, {"max_pixels": 0}, {"max_pixels": 1.5}]
)
def test_impossible_bounds_are_refused(bounds: dict[str, float], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=next(iter(bounds))):
        Source.of(tmp_path, **bounds)


def test_a_source_is_a_path(tmp_path: Path) -> None:
    source = Source.of(str(tmp_path))
    assert Path(source) == tmp_path
    assert Source.of(source) is source
