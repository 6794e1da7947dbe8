"""Hugging Face datasets as `save_to_disk` leaves them."""

import builtins
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from images import CLASSES, write_image_folder
from qtt.data.contents import describe_contents
from qtt.data.sources import Source, list_dataset, open_dataset
from qtt.errors import ConfigError, DatasetError

datasets = pytest.importorskip("datasets", reason="the extra datasets is not installed")


def _dataset(files: Sequence[Path], embedded: bool = True, **more: Sequence[Any]) -> Any:
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))}
    features |= {name: datasets.Value("string") for name in more}
    images = [{"bytes": p.read_bytes() if embedded else None, "path": str(p)} for p in files]
    labels = [CLASSES.index(path.parent.name) for path in files]
    columns = {"image": images, "label": labels, **more}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, list[Path]]:
    root = write_image_folder(tmp_path / "set", {"train": 6, "validation": 2, "test": 1})
    return {split: sorted((root / split).rglob("*.png")) for split in ("train", "validation", "test")}


def _save(data: Any, path: Path) -> Path:
    datasets.disable_progress_bars()
    data.save_to_disk(str(path))
    return path


def test_splits_labels_and_bytes_are_those_that_were_saved(
    files: dict[str, list[Path]], tmp_path: Path
) -> None:
    data = datasets.DatasetDict({split: _dataset(paths) for split, paths in files.items()})
    opened = open_dataset(Source.of(_save(data, tmp_path / "saved")))
    assert opened.path == tmp_path / "saved"
    assert opened.images.class_names == CLASSES
    for split, name in (("train", "train"), ("val", "validation"), ("test", "test")):
        found = [(path.read_bytes(), CLASSES[label]) for path, label in opened.images.split(split)]
        assert sorted(found) == sorted((p.read_bytes(), p.parent.name) for p in files[name])
    assert list_dataset(opened.path, json.loads(json.dumps(dict(opened.source)))) == opened.images


def test_images_are_written_once_and_alike(files: dict[str, list[Path]], tmp_path: Path) -> None:
    path = _save(_dataset(files["train"]), tmp_path / "saved")
    first = open_dataset(Source.of(path)).images
    (tmp_path / "kept").mkdir()
    kept = first.root.rename(tmp_path / "kept" / "images")
    again = open_dataset(Source.of(path)).images
    assert again == first  # times of files included
    assert describe_contents(again) == describe_contents(first)
    assert (len(first.train), len(first.val)) == (15, 3)
    assert {p.relative_to(kept) for p in kept.rglob("*")} == {
        p.relative_to(first.root) for p in first.root.rglob("*")
    }
    below = Path(os.environ["QTT_CACHE"]) / "datasets"
    assert first.root.parent == below
    assert not list(below.glob(".dataset-*"))


def test_a_dataset_that_was_saved_anew_is_another_one(files: dict[str, list[Path]], tmp_path: Path) -> None:
    first = open_dataset(Source.of(_save(_dataset(files["train"]), tmp_path / "saved"))).images
    fewer = open_dataset(Source.of(_save(_dataset(files["train"][:-1]), tmp_path / "saved"))).images
    assert len(fewer.train) + len(fewer.val) == len(first.train) + len(first.val) - 1


def test_groups_stay_together(files: dict[str, list[Path]], tmp_path: Path) -> None:
    groups = [str(number // 3) for number in range(18)]
    path = _save(_dataset(files["train"], patient=groups), tmp_path / "saved")
    images = open_dataset(Source.of(path, group_column="patient"), 0.4).images
    of = dict(zip((p.read_bytes() for p in files["train"]), groups, strict=True))
    train, val = ({of[p.read_bytes()] for p, _ in images.split(split)} for split in ("train", "val"))
    assert not train & val
    assert len(images.val) == 9


def test_columns_can_be_named(files: dict[str, list[Path]], tmp_path: Path) -> None:
    names = [path.parent.name.upper() for path in files["train"]]
    data = _dataset(files["train"], kind=names).rename_column("image", "photo").remove_columns("label")
    path = _save(data, tmp_path / "saved")
    with pytest.raises(
        DatasetError, match=r"known to hold labels; it has photo, kind\. .*dataset\.label_column"
    ):
        open_dataset(Source.of(path))
    opened = open_dataset(Source.of(path, label_column="kind"))
    assert opened.images.class_names == tuple(name.upper() for name in CLASSES)
    with pytest.raises(ConfigError, match=r"dataset\.label_column: Unknown column .*'kind'"):
        open_dataset(Source.of(path, label_column="kinds"))


def test_images_that_lie_elsewhere_are_not_followed(files: dict[str, list[Path]], tmp_path: Path) -> None:
    data = _dataset(files["train"])
    table = data.data.table.to_pydict()
    table["image"] = [{"bytes": None, "path": image["path"]} for image in table["image"]]
    path = _save(datasets.Dataset.from_dict(table).cast(datasets.Features(data.features)), tmp_path / "saved")
    for file in path.rglob("*.arrow"):  # save_to_disk embeds: take the images out again
        with datasets.arrow_writer.ArrowWriter(features=data.features, path=str(file)) as writer:
            for row in range(len(table["label"])):
                writer.write({"image": table["image"][row], "label": table["label"][row]})
            writer.finalize()
    with pytest.raises(DatasetError, match="names an image file and does not hold it"):
        open_dataset(Source.of(path))


def test_a_damaged_one_is_named(files: dict[str, list[Path]], tmp_path: Path) -> None:
    path = _save(_dataset(files["train"]), tmp_path / "saved")
    for file in path.rglob("*.arrow"):
        file.write_bytes(b"")
    with pytest.raises(DatasetError, match="saved cannot be read as a saved Hugging Face dataset"):
        open_dataset(Source.of(path))


def test_without_the_package_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "state.json").write_text("{}")
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "datasets":
            raise ImportError("No module named 'datasets'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DatasetError, match=r"pip install 'qtt\[datasets\]'"):
        open_dataset(Source.of(tmp_path / "saved"))
