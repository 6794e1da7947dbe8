import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from images import CLASSES, write_image_folder
from qtt.data.image_folder import scan_image_folder, stamp_images
from qtt.errors import DatasetError


def _counts(samples) -> dict[int, int]:
    return dict(Counter(label for _, label in samples))


def test_reads_the_splits_that_are_there(tmp_path: Path) -> None:
    folder = scan_image_folder(write_image_folder(tmp_path))
    assert folder.class_names == CLASSES
    for split, count in (("train", 8), ("val", 4), ("test", 4)):
        samples = getattr(folder, split)
        assert _counts(samples) == {0: count, 1: count, 2: count}
        assert all(path.parent == tmp_path / split / CLASSES[label] for path, label in samples)
    assert folder.train == tuple(sorted(folder.train))


def test_test_split_is_optional_and_val_is_split_off_by_class(tmp_path: Path) -> None:
    folder = scan_image_folder(write_image_folder(tmp_path, {"train": 10}), val_fraction=0.3)
    assert folder.test == ()
    assert _counts(folder.train) == {0: 7, 1: 7, 2: 7}
    assert _counts(folder.val) == {0: 3, 1: 3, 2: 3}
    everything = set((tmp_path / "train").rglob("*.png"))
    assert {path for path, _ in folder.train} | {path for path, _ in folder.val} == everything
    assert len(folder.train) + len(folder.val) == len(everything)


def test_split_is_a_function_of_seed_and_share(tmp_path: Path) -> None:
    write_image_folder(tmp_path, {"train": 20})
    first = scan_image_folder(tmp_path, 0.25, seed=3)
    assert scan_image_folder(tmp_path, 0.25, seed=3) == first
    other = scan_image_folder(tmp_path, 0.25, seed=4)
    assert other.val != first.val
    assert _counts(other.val) == _counts(first.val)


def test_ignores_hidden_files_and_other_types_and_takes_nested_ones(tmp_path: Path) -> None:
    write_image_folder(tmp_path)
    extra = tmp_path / "train" / "amber"
    image = extra / "000.png"
    for name in ("._000.png", "notes.txt", ".hidden/000.png", "__MACOSX/000.png", "deeper/new.PNG"):
        (extra / name).parent.mkdir(exist_ok=True)
        shutil.copy(image, extra / name)
    (tmp_path / "train" / ".cache").mkdir()
    (tmp_path / "train" / "README.md").write_text("read me")
    names = [path.name for path, label in scan_image_folder(tmp_path).train if label == 0]
    assert names == [f"{number:03d}.png" for number in range(8)] + ["new.PNG"]


def test_links_are_followed_but_not_round_and_round(tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "set")
    amber = root / "train" / "amber"
    (tmp_path / "elsewhere").mkdir()
    for name in ("000.png", "001.png"):
        (amber / name).rename(tmp_path / "elsewhere" / name)
    (amber / "linked.png").symlink_to(tmp_path / "elsewhere" / "000.png")
    (amber / "more").symlink_to(tmp_path / "elsewhere")
    (amber / "round").symlink_to(amber)
    (root / "train" / "dusk").symlink_to(tmp_path / "elsewhere")
    folder = scan_image_folder(root)
    names = [path.relative_to(amber).as_posix() for path, label in folder.train if label == 0]
    assert names == [*(f"{n:03d}.png" for n in range(2, 8)), "linked.png", "more/000.png", "more/001.png"]
    assert _counts(folder.train)[folder.class_names.index("dusk")] == 2


def test_stamps_are_of_every_image(tmp_path: Path) -> None:
    root = write_image_folder(tmp_path)
    folder = scan_image_folder(root)
    paths = [path for split in (folder.train, folder.val, folder.test) for path, _ in split]
    assert folder.stamps == {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}
    learned = {str(path) for path, _ in (*folder.train, *folder.val)}
    assert stamp_images(folder) == folder.learned == {path: folder.stamps[path] for path in learned}


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_links_that_lead_nowhere_are_named(tmp_path: Path, split: str) -> None:
    root = write_image_folder(tmp_path / "set")
    (root / split / "blue" / "link.JPG").symlink_to(tmp_path / "moved away.jpg")
    with pytest.raises(
        DatasetError, match=r"blue/link\.JPG is a link to .*/moved away\.jpg, which cannot be"
    ):
        scan_image_folder(root)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_pipes_are_refused_and_not_waited_for(tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "set")
    os.mkfifo(root / "train" / "blue" / "pipe.png")
    with pytest.raises(DatasetError, match=r"pipe\.png is no file but a pipe"):
        scan_image_folder(root)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root lists every folder")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "set")
    (root / "train" / "blue").chmod(0)
    with pytest.raises(DatasetError, match=r"blue cannot be listed: Permission denied"):
        scan_image_folder(root)
    (root / "train" / "blue").chmod(0o755)


def test_long_names(tmp_path: Path) -> None:
    classes = ("a" * 255, "b" * 255)
    root = write_image_folder(tmp_path, {"train": 2}, classes=classes)
    (root / "train" / classes[0] / "000.png").rename(root / "train" / classes[0] / ("x" * 251 + ".png"))
    assert scan_image_folder(root).class_names == classes


def test_unicode_names(tmp_path: Path) -> None:
    classes = ("Äpfel", "梨", "огурец с пробелом")
    folder = scan_image_folder(write_image_folder(tmp_path / "früchte", classes=classes))
    assert folder.class_names == tuple(sorted(classes))
    assert len(folder.train) == 24


def _missing(root: Path) -> None:
    shutil.rmtree(root)


def _flat(root: Path) -> None:
    for folder in list((root / "train").iterdir()):
        folder.rename(root / folder.name)
    for split in ("train", "val", "test"):
        shutil.rmtree(root / split)


def _no_classes(root: Path) -> None:
    shutil.rmtree(root / "train")
    (root / "train").mkdir()


def _one_class(root: Path) -> None:
    shutil.rmtree(root / "train" / "amber")
    shutil.rmtree(root / "train" / "blue")


def _empty_class(root: Path) -> None:
    (root / "train" / "dusk").mkdir()


def _other_files(root: Path) -> None:
    (root / "train" / "dusk").mkdir()
    for name in ("a.gif", "b.heic", "c.txt", "d.gif"):
        (root / "train" / "dusk" / name).write_text("")


def _not_split(root: Path) -> None:
    shutil.rmtree(root)
    root.mkdir()
    (root / "photo.jpg").write_text("")


def _train_is_a_file(root: Path) -> None:
    shutil.rmtree(root / "train")
    (root / "train").write_text("")


def _flat_train(root: Path) -> None:
    for path in sorted((root / "train").rglob("*.png")):
        path.rename(root / "train" / f"{path.parent.name}-{path.name}")
    for folder in (root / "train").iterdir():
        if folder.is_dir():
            folder.rmdir()


def _strange_val(root: Path) -> None:
    (root / "val" / "blue").rename(root / "val" / "bleu")


def _empty_val(root: Path) -> None:
    shutil.rmtree(root / "val")
    (root / "val").mkdir()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_missing, "no dataset folder at"),
        (_flat, "has no folder 'train'.*\n *train/<class>/"),
        (_no_classes, "no class folders.*\n *train/<class>/"),
        (_one_class, "single class 'coral'.*\n *train/<class>/"),
        (_empty_class, r"dusk holds no image \([^)]*\)\. Add images or remove the folder"),
        (_other_files, r"dusk holds no image \([^)]*\), only a\.gif, b\.heic, c\.txt, …\. Add"),
        (_not_split, "has no folder 'train'.*\n *train/<class>/"),
        (_train_is_a_file, "has no folder 'train'"),
        (_flat_train, "no class folders.*\n *train/<class>/"),
        (_strange_val, "val has classes that train lacks: bleu.*\n *train/<class>/"),
        (_empty_val, "val holds no images.*\n *val/<class>/"),
    ],
)
def test_says_what_is_wrong(tmp_path: Path, damage, message: str) -> None:
    root = write_image_folder(tmp_path / "set")
    damage(root)
    with pytest.raises(DatasetError, match=f"(?s){message}"):
        scan_image_folder(root)


def test_a_class_may_be_absent_from_val(tmp_path: Path) -> None:
    root = write_image_folder(tmp_path)
    shutil.rmtree(root / "val" / "blue")
    assert _counts(scan_image_folder(root).val) == {0: 4, 2: 4}


def test_refuses_classes_of_single_images(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no class has two images"):
        scan_image_folder(write_image_folder(tmp_path, {"train": 1}))


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5])
def test_refuses_impossible_shares(tmp_path: Path, fraction: float) -> None:
    with pytest.raises(DatasetError, match="between 0 and 1"):
        scan_image_folder(tmp_path, fraction)
