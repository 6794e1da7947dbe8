"""Tables of files and labels: every way in which people write them, and every fault."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from images import CLASSES, write_image_folder
from qtt.data.contents import describe_contents
from qtt.data.listed import ImageFolder, stamp_images
from qtt.data.sources import Source, list_dataset, open_dataset
from qtt.errors import ConfigError, DatasetError

Row = tuple[str, ...]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six images of three classes each, under names of their own, in one folder."""
    write_image_folder(tmp_path / "set", {"x": 6})
    folder = tmp_path / "photos"
    folder.mkdir()
    for path in sorted((tmp_path / "set").rglob("*.png")):
        path.rename(folder / f"{path.parent.name}-{path.name}")
    return folder


def _rows(photos: Path, *more: Sequence[str]) -> list[Row]:
    """File, label and further columns of every image."""
    names = sorted(path.name for path in photos.iterdir())
    return [(n, n.split("-")[0], *(str(column[i]) for column in more)) for i, n in enumerate(names)]


def _write(path: Path, head: str, rows: Sequence[Row], separator: str = ",") -> Path:
    lines = [head.replace(",", separator)] if head else []
    path.write_text("\n".join([*lines, *(separator.join(row) for row in rows)]) + "\n", encoding="utf-8")
    return path


def _open(path: Path, **options: object) -> ImageFolder:
    opened = open_dataset(Source.of(path, **options))
    source = json.loads(json.dumps(dict(opened.source)))
    assert list_dataset(opened.path, source) == opened.images
    for split in ("train", "val", "test"):
        for image, label in opened.images.split(split):
            assert image.name.startswith(opened.images.class_names[label])
    return opened.images


@pytest.mark.parametrize(
    ("head", "separator", "suffix"),
    [
        ("file,label", ",", "csv"),
        ("Image Path,Species", ";", "csv"),
        ("filename,class", "\t", "tsv"),
        ("file-name,category,", ",", "csv"),
        ("", ",", "csv"),
        ("picture,what", ",", "csv"),
    ],
)
def test_columns_are_recognised(head: str, separator: str, suffix: str, photos: Path, tmp_path: Path) -> None:
    rows = [(*row, "") if head.endswith(",") else row for row in _rows(photos)]
    found = _open(_write(tmp_path / f"labels.{suffix}", head, rows, separator), images=photos)
    assert found.class_names == CLASSES
    assert (len(found.train), len(found.val), len(found.test)) == (15, 3, 0)


def test_columns_can_be_named(photos: Path, tmp_path: Path) -> None:
    rows = [(b, "x", a, "y") for a, b in _rows(photos)]
    table = _write(tmp_path / "labels.csv", "answer,label,where,file", rows)
    with pytest.raises(DatasetError, match=r"18 images that .*labels.csv names are not below .*photos: y, "):
        open_dataset(Source.of(table, images=photos))
    assert len(_open(table, images=photos, file_column="where", label_column="answer").train) == 15
    with pytest.raises(ConfigError, match=r"dataset\.label_column: Unknown column .*Did you mean 'answer'"):
        open_dataset(Source.of(table, label_column="anser"))


def test_columns_that_cannot_be_told_are_asked_for(photos: Path, tmp_path: Path) -> None:
    table = _write(tmp_path / "labels.csv", "file,a,b", [(*row, "0") for row in _rows(photos)])
    with pytest.raises(
        DatasetError, match=r"Which column of .* holds the label\? It has file, a, b\. Name it: d"
    ):
        open_dataset(Source.of(table, images=photos))


def test_parquet(photos: Path, tmp_path: Path) -> None:
    rows = _rows(photos)
    numbers = [float(CLASSES.index(label)) for _, label in rows]
    frame = pd.DataFrame({"path": [str(photos / name) for name, _ in rows], "target": numbers})
    frame.to_parquet(tmp_path / "labels.parquet")
    opened = open_dataset(Source.of(tmp_path / "labels.parquet"))
    assert opened.images.class_names == ("0", "1", "2")
    assert all(path.name.startswith(CLASSES[label]) for path, label in opened.images.train)


def test_the_split_column_decides(photos: Path, tmp_path: Path) -> None:
    splits = ["Train", "training", "train", "Validation", "test", "extra"] * 3
    found = _open(_write(tmp_path / "labels.csv", "file,label,split", _rows(photos, splits)), images=photos)
    assert (len(found.train), len(found.val), len(found.test)) == (9, 3, 3)
    assert [path.name for path, _ in found.val] == [f"{name}-003.png" for name in CLASSES]
    assert any("extra (3)" in note for note in found.notes)
    assert not found.drawn


def test_rows_without_label_are_noted(photos: Path, tmp_path: Path) -> None:
    rows = [(n, "" if "005" in n else label, "test" if "005" in n else "train") for n, label in _rows(photos)]
    found = _open(_write(tmp_path / "labels.csv", "file,label,split", rows), images=photos)
    assert found.test == ()
    assert found.notes == ("3 rows of test have no label and are not used.",)


def test_a_label_may_be_called_na(photos: Path, tmp_path: Path) -> None:
    rows = [(name, {"amber": "NA", "blue": "None", "coral": "null"}[label]) for name, label in _rows(photos)]
    opened = open_dataset(Source.of(_write(tmp_path / "l.csv", "file,label", rows), images=photos))
    assert opened.images.class_names == ("NA", "None", "null")


@pytest.mark.parametrize("seed", range(4))
def test_images_of_a_group_stay_together(seed: int, photos: Path, tmp_path: Path) -> None:
    patients = [str(number // 2) for number in range(18)]
    table = _write(tmp_path / "labels.csv", "file,label,patient", _rows(photos, patients))
    opened = open_dataset(Source.of(table, images=photos, group_column="patient"), 0.3, seed)
    of = {photos / row[0]: row[2] for row in _rows(photos, patients)}
    train, val = ({of[path] for path, _ in opened.images.split(split)} for split in ("train", "val"))
    assert not train & val
    assert {label for _, label in opened.images.val} == {0, 1, 2}
    assert list_dataset(opened.path, opened.source, 0.3, seed) == opened.images


def test_files_may_lack_extensions_and_folders(photos: Path, tmp_path: Path) -> None:
    rows = [(name.removesuffix(".png"), label) for name, label in _rows(photos)]
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    photos.rename(deep / "photos")
    assert len(_open(_write(tmp_path / "a" / "l.csv", "id,breed", rows)).train) == 15


def test_a_folder_with_one_table_is_enough(photos: Path, tmp_path: Path) -> None:
    rows = _rows(photos)
    _write(photos / "metadata.csv", "file_name,label", rows)
    found = _open(photos)
    assert found.table == photos / "metadata.csv"
    (tmp_path / "data" / "images").mkdir(parents=True)
    photos.rename(tmp_path / "data" / "images" / "photos")
    _write(tmp_path / "data" / "labels.csv", "file,label", rows)
    assert len(_open(tmp_path / "data").train) == 15
    _write(tmp_path / "data" / "other.csv", "file,label", rows)
    with pytest.raises(DatasetError, match=r"several tables .*\n  dataset\.path=.*labels\.csv\n.*other\.csv"):
        open_dataset(Source.of(tmp_path / "data"))
    (tmp_path / "data" / "other.csv").unlink()
    assert len(_open(tmp_path / "data", label_column="label").train) == 15


def test_an_unrelated_table_changes_nothing(tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "set", {".": 5})
    _write(root / "prices.csv", "item,class", [("apple", "1")])
    _write(root / "boxes.csv", "file,label", [("gone.jpg", "1")])
    assert open_dataset(Source.of(root)).source["layout"] == "classes"


def test_a_table_and_its_images_are_the_same_dataset_elsewhere(photos: Path, tmp_path: Path) -> None:
    table = _write(tmp_path / "labels.csv", "file,label", _rows(photos))
    here = open_dataset(Source.of(table, images=photos))
    there = tmp_path / "moved"
    there.mkdir()
    photos.rename(there / "photos")
    table.rename(there / "labels.csv")
    moved = open_dataset(Source.of(there / "labels.csv", images=there / "photos"))
    assert dict(moved.source) == dict(here.source)
    assert describe_contents(moved.images) == describe_contents(here.images)


def test_other_labels_are_another_dataset(photos: Path, tmp_path: Path) -> None:
    rows = _rows(photos)
    table = _write(tmp_path / "labels.csv", "file,label", rows)
    before = open_dataset(Source.of(table, images=photos)).images
    assert stamp_images(before) == before.watched
    rows[0], rows[-1] = (rows[0][0], rows[-1][1]), (rows[-1][0], rows[0][1])
    _write(table, "file,label", [*rows, rows[3]])  # a row twice is one image
    after = open_dataset(Source.of(table, images=photos)).images
    assert len(after.train) == len(before.train)
    assert describe_contents(after) != describe_contents(before)
    assert stamp_images(before) != before.watched


def test_a_few_missing_images_are_noted(photos: Path, tmp_path: Path) -> None:
    rows = [*_rows(photos), ("gone.png", "blue")]
    table = _write(tmp_path / "labels.csv", "file,label", rows)
    with pytest.raises(
        DatasetError, match=r"1 images that .* not below .*photos: gone\.png\..*dataset\.images=DIR"
    ):
        open_dataset(Source.of(table, images=photos))
    found = _open(table, images=photos, max_bad=0.1)
    assert found.missing == ("gone.png",)
    assert any("gone.png" in note for note in found.notes)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("amber-000.png", "blue")], r"gives image .*amber-000\.png two labels: 'amber' and 'blue'"),
        ([("blue-000.png", "blue", "val")], r"gives image .*blue-000\.png two splits: 'train' and 'val'"),
        (
            [("../set.png", "new", "val")],
            "validation images of classes that it has no training images of: new",
        ),
    ],
)
def test_contradictions_are_named(rows: list[Row], message: str, photos: Path, tmp_path: Path) -> None:
    (photos / "amber-001.png").rename(tmp_path / "set.png")
    kept = [(*row, "train") for row in _rows(photos)]
    table = _write(tmp_path / "l.csv", "file,label,split", [*kept, *((*row, "train")[:3] for row in rows)])
    with pytest.raises(DatasetError, match=message):
        open_dataset(Source.of(table, images=photos))


def test_what_is_no_table(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes("file,label\na.png,caf\xe9\n".encode("latin-1"))
    with pytest.raises(DatasetError, match=r"latin\.csv is no UTF-8"):
        open_dataset(Source.of(tmp_path / "latin.csv"))
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match=r"bad\.parquet cannot be read"):
        open_dataset(Source.of(tmp_path / "bad.parquet"))
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(DatasetError, match=r"empty\.csv cannot be read"):
        open_dataset(Source.of(tmp_path / "empty.csv"))
    with pytest.raises(DatasetError, match=r"no table, but dataset.images and columns are of one"):
        open_dataset(Source.of(photos, label_column="label"))
    table = _write(tmp_path / "labels.csv", "file,label", _rows(photos))
    with pytest.raises(DatasetError, match=r"no folder of images at .*nowhere"):
        open_dataset(Source.of(table, images=tmp_path / "nowhere"))


def test_one_class_is_not_enough(photos: Path, tmp_path: Path) -> None:
    table = _write(tmp_path / "labels.csv", "file,label", [(name, "same") for name, _ in _rows(photos)])
    with pytest.raises(DatasetError, match="single class 'same'"):
        open_dataset(Source.of(table, images=photos))
