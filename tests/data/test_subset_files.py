"""Writing subsets: whole or not at all, resumable, as links or copies."""

import shutil
from pathlib import Path

import pytest

from images import write_image_folder
from qtt.data.image_folder import scan_image_folder
from qtt.data.subset_files import FolderFiles, build_subset, write_subset
from qtt.data.subsets import Version, choose, image_folder_names
from qtt.errors import DatasetError
from qtt.support.files import read_json

SMALL = Version("small", 2, 5)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_image_folder(tmp_path / "source", {"train": 8, "test": 3}, side=4)


def test_a_subset_is_an_image_folder(source: Path, tmp_path: Path) -> None:
    choice, written = build_subset(source, tmp_path / "out" / "source", SMALL)
    assert written
    folder = scan_image_folder(tmp_path / "out" / "source")
    assert [len(folder.train), len(folder.val), len(folder.test)] == [6, 2, 2]
    assert folder.class_names == choice.classes
    manifest = read_json(folder.root / "subset.json")
    assert manifest["images"] == {"train": 6, "val": 2, "test": 2}
    assert (manifest["dataset"], manifest["version"], manifest["classes"]) == ("source", "small", 2)
    for split in ("train", "test"):  # val was taken out of train
        for path, label in getattr(folder, split):
            assert path.read_bytes() == (source / split / folder.class_names[label] / path.name).read_bytes()


@pytest.mark.parametrize("link", [True, False])
def test_files_are_linked_or_copied(source: Path, tmp_path: Path, link: bool) -> None:
    build_subset(source, tmp_path / "out", SMALL, link=link)
    path, _ = scan_image_folder(tmp_path / "out").test[0]
    assert path.stat().st_nlink == (2 if link else 1)


def test_copies_where_links_are_impossible(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise OSError("Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)
    build_subset(source, tmp_path / "out", SMALL)
    path, _ = scan_image_folder(tmp_path / "out").test[0]
    assert path.stat().st_nlink == 1


class _InterruptedError(Exception):
    pass


class _Counting(FolderFiles):
    """Stops after so many files."""

    def __init__(self, root: Path, limit: int) -> None:
        super().__init__(root)
        self.limit = limit
        self.given = 0

    def put(self, name: str, target: Path) -> None:
        if self.given == self.limit:
            target.write_bytes(b"half a fi")
            raise _InterruptedError
        self.given += 1
        super().put(name, target)


def test_an_interrupted_subset_is_taken_up(source: Path, tmp_path: Path) -> None:
    choice = choose(image_folder_names(source), SMALL)
    out = tmp_path / "out"
    with pytest.raises(_InterruptedError):
        write_subset(choice, _Counting(source, 4), out, SMALL, 0, {})
    assert not out.exists()
    rest = _Counting(source, 100)
    assert write_subset(choice, rest, out, SMALL, 0, {})
    assert rest.given == 10 - 4
    assert build_subset(source, tmp_path / "twin", SMALL)[1]
    same = [sorted(p.relative_to(root) for p in root.rglob("*.png")) for root in (out, tmp_path / "twin")]
    assert same[0] == same[1]
    assert not write_subset(choice, _Counting(source, 0), out, SMALL, 0, {}), "complete: nothing is read"
    assert not list(tmp_path.glob(".out*"))


def test_an_interrupted_subset_of_another_choice_is_started_anew(source: Path, tmp_path: Path) -> None:
    names = image_folder_names(source)
    with pytest.raises(_InterruptedError):
        write_subset(choose(names, SMALL, 1), _Counting(source, 4), tmp_path / "out", SMALL, 1, {})
    assert build_subset(source, tmp_path / "out", SMALL)[1]
    assert len(scan_image_folder(tmp_path / "out").train) == 6


def test_something_else_is_not_overwritten(source: Path, tmp_path: Path) -> None:
    build_subset(source, tmp_path / "out", SMALL)
    with pytest.raises(DatasetError, match=r"something else .*seed"):
        build_subset(source, tmp_path / "out", SMALL, seed=3)
    shutil.rmtree(tmp_path / "out")
    (tmp_path / "out").mkdir()
    with pytest.raises(DatasetError, match="something else"):
        build_subset(source, tmp_path / "out", SMALL)


def test_names_that_would_clash_are_errors(tmp_path: Path) -> None:
    version = Version("mini", None, 3)
    clash = {"train": {"a/b": ("1.png", "2.png", "3.png"), "a_b": ("4.png", "5.png", "6.png")}}
    with pytest.raises(DatasetError, match="'a/b' and 'a_b' would share the folder 'a_b'"):
        write_subset(choose(clash, version), FolderFiles(tmp_path), tmp_path / "out", version, 0, {})
    nested = {"train": {c: tuple(f"{c}/{d}/1.png" for d in "wxyz") for c in "ab"}}
    every = Version("all", None, None)
    with pytest.raises(DatasetError, match=r"two files named 1\.png"):
        write_subset(choose(nested, every), FolderFiles(tmp_path), tmp_path / "out", every, 0, {})


def test_a_lost_image_is_named(source: Path, tmp_path: Path) -> None:
    choice = choose(image_folder_names(source), SMALL)
    name = choice.names["train"][choice.classes[0]][0]
    (source / name).unlink()
    with pytest.raises(DatasetError, match=name):
        write_subset(choice, FolderFiles(source), tmp_path / "out", SMALL, 0, {})
