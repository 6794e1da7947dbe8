import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from images import write_image_folder
from qtt.errors import ConfigError, DatasetError
from qtt.finetune.cv.classification import extract_task_info_metafeat
from qtt.finetune.cv.classification.data import (
    DataStore,
    EvalOrder,
    TrainOrder,
    cache_limit,
    updates_per_epoch,
)
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.runs.folder import RunFolder
from qtt.types import Candidates, TaskInfo


@pytest.mark.parametrize("batch_size", [1, 2, 8, 24, 512])
@pytest.mark.parametrize("images", [1, 2, 23, 24, 25])
def test_an_epoch_has_every_image_once(images: int, batch_size: int) -> None:
    order = TrainOrder(images, batch_size, seed=0, config_id=0)
    batches = [indices for indices, _ in order]
    assert len(batches) == len(order) == updates_per_epoch(images, batch_size)
    assert sorted(np.concatenate(batches).tolist()) == list(range(images))
    sizes = [len(batch) for batch in batches]
    assert all(size == batch_size for size in sizes[:-1])
    if batch_size > 1 and images > 1:
        assert 2 <= sizes[-1] <= batch_size + 1


def _drawn(order: TrainOrder) -> list[tuple[list[int], int]]:
    return [(indices.tolist(), seed) for indices, seed in order]


def test_order_is_a_function_of_seed_config_and_epoch() -> None:
    order = TrainOrder(24, 8, seed=1, config_id=2)
    first = _drawn(order)
    assert _drawn(order) == first
    order.epoch = 2
    assert _drawn(order) != first
    order.epoch = 1
    assert _drawn(order) == first
    for other in (TrainOrder(24, 8, seed=2, config_id=2), TrainOrder(24, 8, seed=1, config_id=3)):
        assert _drawn(other) != first
    assert len({seed for _, seed in first}) == 3


@pytest.mark.parametrize("counts", [(19, 1), (10, 5, 2), (1, 1), (30, 30, 3, 1)])
def test_a_balanced_epoch_has_every_class_equally_often(counts: tuple[int, ...]) -> None:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    order = TrainOrder(sum(counts), 4, seed=1, config_id=2, balance=labels)
    first = _drawn(order)
    drawn = np.concatenate([indices for indices, _ in first])
    assert len(drawn) == sum(counts)
    classes = np.bincount(labels.numpy()[drawn], minlength=len(counts))
    assert classes.max() - classes.min() <= 1
    images = np.bincount(drawn, minlength=sum(counts))
    for label in range(len(counts)):
        mine = images[labels.numpy() == label]
        assert mine.max() - mine.min() <= 1
    assert _drawn(order) == first
    order.epoch = 2
    assert sum(counts) == 2 or _drawn(order) != first


def test_evaluation_sees_every_image_once_in_order() -> None:
    batches = [indices.tolist() for indices, _ in EvalOrder(10, 4)]
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(EvalOrder(10, 4)) == 3


def test_store_keeps_what_fits(make_task: Callable[..., TaskInfo]) -> None:
    store = DataStore()
    task = make_task()
    roomy = FinetuneSettings(cache_mb=1)
    train, val = store.splits(task, roomy, 32, "bicubic")
    assert (len(train), len(val)) == (24, 12)
    assert train.labels.tolist() == [0] * 8 + [1] * 8 + [2] * 8
    assert store.splits(task, roomy, 32, "bicubic")[0] is train
    store.splits(task, roomy, 128, "bicubic")  # 36 · 48 KiB: no room for both
    assert store.splits(task, roomy, 32, "bicubic")[0] is not train
    tight, validation = store.splits(task, FinetuneSettings(cache_mb=0), 32, "bicubic")
    assert tight.images.nbytes == validation.images.nbytes == 0
    indices = np.arange(24)
    assert torch.equal(tight.images.batch(indices), train.images.batch(indices))


def test_changed_classes_are_refused(make_task: Callable[..., TaskInfo]) -> None:
    with pytest.raises(DatasetError, match="are amber, blue, coral, but this search began with a, b"):
        DataStore().folder(make_task(class_names=("a", "b")))


def test_workers_in_memory_find_the_images_decoded(
    tmp_path: Path, make_task: Callable[..., TaskInfo]
) -> None:
    root = write_image_folder(tmp_path / "set")
    (root / "train" / "coral" / "005.png").write_bytes(b"")
    settings = FinetuneSettings(num_workers=2, cache_gb=0)
    with pytest.raises(DatasetError, match=r"coral/005\.png cannot be read"):
        DataStore().splits(make_task(path=root), settings, 32, "bicubic")


def _add(root: Path) -> None:
    shutil.copy(root / "train" / "coral" / "001.png", root / "train" / "coral" / "new.png")


def _remove(root: Path) -> None:
    (root / "val" / "blue" / "002.png").unlink()


def _replace(root: Path) -> None:
    path = root / "train" / "amber" / "003.png"
    facts = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"x")  # of equal size
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))


def _rename_class(root: Path) -> None:
    for split in ("train", "val", "test"):
        (root / split / "coral").rename(root / split / "cyan")


CHANGES = [
    (_add, "1 added (train/coral/new.png)", True),
    (_remove, "1 removed (val/blue/002.png)", True),
    (_replace, "1 changed (train/amber/003.png)", False),
    (
        _rename_class,
        "12 added (train/cyan/000.png, train/cyan/001.png, train/cyan/002.png, …); 12 removed",
        True,
    ),
]


@pytest.mark.parametrize(("change", "words", "of_names_or_sizes"), CHANGES)
def test_changes_of_training_or_validation_are_refused(
    tmp_path: Path,
    make_task: Callable[..., TaskInfo],
    change: Callable[[Path], None],
    words: str,
    of_names_or_sizes: bool,
) -> None:
    root = write_image_folder(tmp_path / "set")
    task = extract_task_info_metafeat(root)[0]
    assert task.dataset is not None
    assert task.dataset.startswith("24 training and 12 validation images")
    stores = DataStore(), DataStore()
    tasks = task, make_task(path=root)  # the second does not know what the search began with
    for store, began in zip(stores, tasks, strict=True):
        store.check(began)
    change(root)
    for store, began in zip(stores, tasks, strict=True):
        with pytest.raises(DatasetError, match="has changed since this search listed it") as caught:
            store.check(began)
        assert words in str(caught.value)
        assert "start a new one" in str(caught.value)
    if of_names_or_sizes:  # what another process, and a resumed search, notices
        with pytest.raises(DatasetError, match=r"24 training and 12 validation|search began with amber"):
            DataStore().check(task)
    else:
        DataStore().check(task)
    assert (extract_task_info_metafeat(root)[0].dataset != task.dataset) == of_names_or_sizes


def test_changes_of_a_table_are_refused(tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "set", {"train": 8})
    rows = [f"{path.relative_to(tmp_path)},{path.parent.name}" for path in sorted(root.rglob("*.png"))]
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(["file,label", *rows]))
    task = extract_task_info_metafeat(table)[0]
    store = DataStore()
    store.check(task)
    train, val = store.splits(task, FinetuneSettings(cache_dir=str(tmp_path / "images")), 32, "bicubic")
    assert (len(train), len(val)) == (18, 6)
    rows[0] = rows[0].replace(",amber", ",blue")
    table.write_text("\n".join(["file,label", *rows]))
    with pytest.raises(DatasetError, match=r"since this search listed it: 1 changed \(.*labels\.csv\)"):
        store.check(task)
    with pytest.raises(DatasetError, match=r"it holds 1\d training and \d validation.*search began with\s18"):
        DataStore().check(task)


def test_a_table_may_move_with_its_images(tmp_path: Path) -> None:
    images = write_image_folder(tmp_path / "here" / "photos", {"train": 8})
    rows = [f"{path.relative_to(images)},{path.parent.name}" for path in sorted(images.rglob("*.png"))]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label", *rows]))
    candidates = Candidates(({"model": "m"},))
    with RunFolder(tmp_path / "run") as folder:
        folder.claim(candidates, extract_task_info_metafeat(tmp_path / "labels.csv", images=images)[0])
        (tmp_path / "here").rename(tmp_path / "there")
        moved = tmp_path / "there" / "photos"
        task = extract_task_info_metafeat(tmp_path / "labels.csv", images=moved)[0]
        folder.claim(candidates, task)
        assert folder.task().source == task.source
    DataStore().check(task)


def test_images_that_were_left_out_stay_left_out(tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "set", {"train": 60})
    (root / "train" / "coral" / "005.png").write_bytes(b"")
    task = TaskInfo.from_dict(json.loads(json.dumps(extract_task_info_metafeat(root)[0].to_dict())))
    store = DataStore()
    store.check(task)
    train, val = store.splits(task, FinetuneSettings(cache_gb=0), 32, "bicubic")
    assert (len(train), len(val)) == (143, 36)
    for split in (train, val):
        split.images.fill()


def test_a_copy_and_a_new_test_split_are_the_same_dataset(tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "set", {"train": 8})
    task = extract_task_info_metafeat(root)[0]
    store = DataStore()
    store.check(task)
    write_image_folder(root, {"test": 2})
    (root / "train" / "coral" / "notes.txt").write_text("not an image")
    store.check(task)
    shutil.copytree(root, tmp_path / "copy")
    copy = extract_task_info_metafeat(tmp_path / "copy")[0]
    assert copy.dataset == task.dataset
    DataStore().check(replace(task, path=tmp_path / "copy"))


def test_a_search_is_not_resumed_on_a_changed_dataset(tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "set")
    candidates = Candidates(({"model": "m"},))
    folder = RunFolder(tmp_path / "run")
    with folder:
        folder.claim(candidates, extract_task_info_metafeat(root)[0])
        folder.claim(candidates, extract_task_info_metafeat(root)[0])
        folder.journal.path.touch()  # it has begun
        _add(root)
        with pytest.raises(
            ConfigError, match=r"dataset is '24 training .*' there and '25 training .*another run folder"
        ):
            folder.claim(candidates, extract_task_info_metafeat(root)[0])


def test_sizes_differ_in_their_files_and_settings_bound_them(
    tmp_path: Path, make_task: Callable[..., TaskInfo]
) -> None:
    settings = FinetuneSettings(cache_dir=str(tmp_path / "images"))
    store = DataStore()
    for size in (32, 64):
        store.splits(make_task(), settings, size, "bicubic")
    files = sorted((tmp_path / "images").iterdir())
    assert len(files) == 4
    assert sorted(path.stat().st_size - 4096 for path in files) == sorted(
        count * 3 * size * size for size in (32, 64) for count in (24, 12)
    )
    assert cache_limit(FinetuneSettings(cache_mb=4096, cache_gb=1)) == 2**30
    assert cache_limit(FinetuneSettings(cache_mb=1, cache_gb=1)) == 2**20
    assert cache_limit(FinetuneSettings(cache_mb=4096, cache_gb=0)) == 2**32
