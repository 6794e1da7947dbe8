"""Building Meta-Album from miniature downloads, the list of datasets and the folds."""

import csv
import json
import re
import shutil
import zipfile
from collections import Counter
from collections.abc import Mapping
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from images import write_image_folder
from qtt.data.image_folder import scan_image_folder
from qtt.data.meta_album import find_archive, read_datasets
from qtt.data.subsets import make_version
from qtt.support.files import read_json

FOLDER = Path(__file__).parents[2] / "meta_dataset"
DATASETS = read_datasets(yaml.safe_load((FOLDER / "datasets.yaml").read_text()))
FOLDS = yaml.safe_load((FOLDER / "folds.yaml").read_text())


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = spec_from_file_location("meta_dataset_build", FOLDER / "build.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_download(root: Path, classes: Mapping[str, int], zipped: bool = False) -> None:
    """Write a dataset as Meta-Album publishes it; the images' content is their name."""
    (root / "images").mkdir(parents=True)
    with (root / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["FILE_NAME", "CATEGORY", "SUPER_CATEGORY"])
        for number, (label, count) in enumerate(classes.items()):
            for image in range(count):
                name = f"{number:03d}_{image:06d}.jpg"
                (root / "images" / name).write_text(f"{label} {name}")
                rows.writerow([name, label, "things"])
    (root / "info.json").write_text(json.dumps({"dataset_name": root.name}))
    (root / "images" / "no_label.jpg").write_text("not in labels.csv")
    if zipped:
        with zipfile.ZipFile(root.with_suffix(".zip"), "w") as archive:
            for path in sorted(root.rglob("*")):
                archive.write(path, path.relative_to(root.parent))
            archive.writestr("__MACOSX/labels.csv", "junk")
        shutil.rmtree(root)


PNU = {f"tissue {i:02d}": 45 + i for i in range(19)}


@pytest.mark.parametrize("zipped", [False, True])
def test_versions_of_a_dataset(build: ModuleType, tmp_path: Path, zipped: bool) -> None:
    write_download(tmp_path / "down" / "PNU_Extended", PNU, zipped)
    for version in ("micro", "mini", "extended"):
        _build(build, tmp_path, version, "--datasets", "PNU")
    for version, images in {"micro": 40 * 19, "mini": 40 * 19, "extended": sum(PNU.values())}.items():
        folder = scan_image_folder(tmp_path / "out" / version / "set1" / "PNU")
        assert list(folder.class_names) == sorted(PNU)
        samples = [*folder.train, *folder.val, *folder.test]
        assert len(samples) == images == len({path.name for path, _ in samples})
        assert len(folder.val) == len(folder.test)
        assert len(folder.train) == pytest.approx(0.6 * images, abs=19)
        for path, label in samples:
            assert path.read_text() == f"{folder.class_names[label]} {path.name}"
    manifest = read_json(tmp_path / "out" / "micro" / "set1" / "PNU" / "subset.json")
    assert (manifest["domain"], manifest["set"], manifest["classes"]) == ("microscopy", "set1", 19)
    assert manifest["images"] == {"train": 24 * 19, "val": 8 * 19, "test": 8 * 19}


def _build(build: ModuleType, tmp_path: Path, version: str, *more: str) -> None:
    build.main(
        [
            "album",
            "--source",
            str(tmp_path / "down"),
            "--out",
            str(tmp_path / "out"),
            "--version",
            version,
            *more,
        ]
    )


def test_builds_what_is_there_and_says_what_is_not(
    build: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_download(tmp_path / "down" / "PNU_Micro", PNU)
    write_download(tmp_path / "down" / "BRD_Micro", {f"bird {i}": 40 for i in range(20)}, zipped=True)
    _build(build, tmp_path, "micro")
    words = " ".join(capsys.readouterr().out.split())
    assert words.count("written") == 2
    assert words.count("no archive") == 28
    _build(build, tmp_path, "micro", "--sets", "1")
    words = " ".join(capsys.readouterr().out.split())
    assert words.count("there already") == 1
    assert words.count("no archive") == 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--datasets", "BRD"], "no archive of BRD. Expected, for instance, BRD_Micro.zip"),
        (["--datasets", "BIRD"], "Did you mean 'BRD'"),
        (["--datasets", "PRT"], "gives 2 classes with enough images; version 'micro' of PRT has 20"),
        (["--datasets", "APL"], "names 2 images that are not there; first line 3: images/000_000001.jpg"),
        (["--datasets", "BTS"], "lacks the column CATEGORY; it has FILE_NAME, LABEL"),
        (["--datasets", "AWA"], "cannot be read as a zip archive"),
        (["--datasets", "FNG"], "has no labels.csv"),
        (["--datasets", "RSD"], "Line 2 of .* is malformed"),
    ],
)
def test_damaged_downloads(
    build: ModuleType, tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    down = tmp_path / "down"
    write_download(down / "PRT", {"a": 40, "b": 40})
    write_download(down / "APL", {"a": 40, "b": 40})
    for number in (1, 7):
        (down / "APL" / "images" / f"000_{number:06d}.jpg").unlink()
    write_download(down / "BTS", {"a": 40})
    (down / "BTS" / "labels.csv").write_text("FILE_NAME,LABEL\n")
    (down / "AWA_Micro.zip").write_text("an error page")
    (down / "FNG").mkdir()
    write_download(down / "RSD", {"a": 40})
    (down / "RSD" / "labels.csv").write_text("FILE_NAME,CATEGORY\n../../secret.jpg,a\n")
    with pytest.raises(SystemExit) as stopped:
        _build(build, tmp_path, "micro", *arguments)
    assert stopped.value.code == 1
    assert re.search(message, " ".join(capsys.readouterr().err.split()))


def test_small_datasets_on_demand(build: ModuleType, tmp_path: Path) -> None:
    write_download(tmp_path / "down" / "PRT", {"a": 40, "b": 10})
    _build(build, tmp_path, "micro", "--datasets", "PRT", "--allow-small")
    folder = scan_image_folder(tmp_path / "out" / "micro" / "set2" / "PRT")
    assert Counter(label for _, label in folder.train) == {0: 24, 1: 6}


def test_the_nearest_archive_is_taken(tmp_path: Path) -> None:
    for name in ("BRD", "BRD_Extended", "brd_mini.zip", "DOG_Micro", "INS_2_Micro"):
        (tmp_path / name).mkdir()
    found = {
        (name, version): getattr(find_archive(tmp_path, name, make_version(version)), "name", None)
        for name in ("BRD", "DOG", "INS")
        for version in ("micro", "mini", "extended")
    }
    assert found == {
        ("BRD", "micro"): "brd_mini.zip",
        ("BRD", "mini"): "brd_mini.zip",
        ("BRD", "extended"): "BRD_Extended",
        ("DOG", "micro"): "DOG_Micro",
        ("DOG", "mini"): None,
        ("DOG", "extended"): None,
        ("INS", "micro"): None,
        ("INS", "mini"): None,
        ("INS", "extended"): None,
    }


def test_versions_of_image_folders(build: ModuleType, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_image_folder(tmp_path / name, {"train": 30, "val": 12}, side=2)
    out, sources = str(tmp_path / "out"), [str(tmp_path / name) for name in ("one", "two")]
    with pytest.raises(SystemExit):
        build.main(["folder", "--source", *sources, "--out", out])  # 30 + 12 images, but 32 + 8 are needed
    build.main(["folder", "--source", *sources, "--out", out, "--allow-small"])
    for name in ("one", "two"):
        folder = scan_image_folder(tmp_path / "out" / "micro" / name)
        assert [len(split) / 3 for split in (folder.train, folder.val, folder.test)] == [22, 8, 8]
    with pytest.raises(SystemExit):
        build.main(["folder", "--source", sources[0], sources[0], "--out", out])


def test_datasets_are_those_of_meta_album() -> None:
    assert len(DATASETS) == 30
    assert Counter(d.album_set for d in DATASETS) == {0: 10, 1: 10, 2: 10}
    assert set(Counter(d.domain for d in DATASETS).values()) == {3}
    assert all(d.classes >= 19 and d.classes_extended >= d.classes for d in DATASETS)
    by_name = {d.name: d for d in DATASETS}
    micro, mini, extended = (make_version(v) for v in ("micro", "mini", "extended"))
    assert [by_name["PLK"].expected(v) for v in (micro, mini, extended)] == [20, 86, 102]
    assert by_name["PNU"].expected(micro) == 19


def test_five_folds_are_balanced() -> None:
    facts = {d.name: d for d in DATASETS}
    assert sorted(name for part in FOLDS["five"] for name in part) == sorted(facts)
    for part in FOLDS["five"]:
        assert Counter(facts[name].album_set for name in part) == {0: 2, 1: 2, 2: 2}
        assert len({facts[name].domain for name in part}) == 6


@pytest.mark.shared
def test_three_folds_follow_the_alphabet(shared_data: Path) -> None:
    names: list[Any] = sorted(json.loads((shared_data / "quicktune_extended" / "perf.json").read_text()))
    assert FOLDS["three"] == [[n for k, n in enumerate(names) if k % 3 == fold] for fold in range(3)]
