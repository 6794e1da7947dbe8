"""Batches are the same whoever makes them, and so are errors; who makes them stays, and may be lost."""

import multiprocessing
import os
import pickle
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from images import write_image_folder
from qtt.errors import DatasetError
from qtt.finetune.cv.classification.crews import Batches, Crews, WorkersLost, tells_of_lost_workers
from qtt.finetune.cv.classification.data import DataStore, TrainOrder
from qtt.finetune.cv.classification.loading import Batch, Split
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.finetune.cv.classification.transforms import TrainTransform
from qtt.types import TaskInfo

MakeTask = Callable[..., TaskInfo]

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # how torch starts workers

AUGMENTATIONS = [
    {},
    {"data_augmentation": "trivial_augment"},
    {"data_augmentation": "random_augment", "ra_num_ops": 3, "ra_magnitude": 17},
    {"data_augmentation": "auto_augment", "auto_augment": "v0"},
    {"data_augmentation": "auto_augment", "auto_augment": "original"},
]


@pytest.fixture(autouse=True)
def _quick_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch looks more often whether workers have died."""
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1)
    monkeypatch.setattr("torch.utils.data.dataloader._utils.MP_STATUS_CHECK_INTERVAL", 0.1)


@pytest.fixture
def crews() -> Iterator[Crews]:
    made = Crews()
    yield made
    made.close()


@pytest.fixture
def method(request: pytest.FixtureRequest) -> Iterator[str]:
    """How processes start, as a Python of another version or system would start them."""
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method(request.param, force=True)
    yield request.param
    multiprocessing.set_start_method(before, force=True)


def _split(task: TaskInfo, **settings: int) -> Split:
    return DataStore().splits(task, FinetuneSettings(**settings), 32, "bicubic")[0]


def _transform(**options: object) -> TrainTransform:
    return TrainTransform(Recipe("m", **options), FinetuneSettings(hflip=0.5), (0.5, 0.4, 0.3), 32)


def _batches(
    split: Split, crews: Crews, workers: int, transform: TrainTransform | None = None, config_id: int = 0
) -> Batches:
    order = TrainOrder(len(split), 5, seed=0, config_id=config_id)
    return Batches(split, order, transform, crews, workers, pin=False)


def _same(batches: list[Batch], others: list[Batch]) -> bool:
    pairs = [pair for two in zip(batches, others, strict=True) for pair in zip(*two, strict=True)]
    return all(torch.equal(one, other) for one, other in pairs)


def _workers() -> set[int | None]:
    return {child.pid for child in multiprocessing.active_children()}


@pytest.mark.parametrize("options", AUGMENTATIONS, ids=lambda options: "-".join(map(str, options.values())))
def test_augmentations_travel_to_other_processes(options: dict[str, object]) -> None:
    images = torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8)
    transform = _transform(**options)
    copy = pickle.loads(pickle.dumps(transform))
    for seed in range(5):  # every operation of a policy
        assert torch.equal(copy(images.clone(), seed), transform(images.clone(), seed))


KEPT = {"in a file": {}, "nowhere": {"cache_mb": 0}, "in memory": {"cache_gb": 0}}
METHODS = ["fork", "forkserver", "spawn"]
QUICK = [*(("fork", kept) for kept in KEPT), ("forkserver", "in a file")]
WAYS = [
    pytest.param(method, kept, marks=() if (method, kept) in QUICK else pytest.mark.slow)
    for method in METHODS
    for kept in KEPT
]


@pytest.mark.parametrize(("method", "kept"), WAYS, indirect=["method"])
def test_batches_do_not_depend_on_who_makes_them(
    make_task: MakeTask, crews: Crews, method: str, kept: str
) -> None:
    split = _split(make_task(), num_workers=2, **KEPT[kept])
    transforms = [_transform(**options) for options in AUGMENTATIONS]
    expected = [list(_batches(split, Crews(), 0, transform)) for transform in transforms]
    workers = 2 if method == "fork" else 1  # which import torch anew
    made = [list(_batches(split, crews, workers, transform)) for transform in transforms]
    assert all(map(_same, made, expected))
    assert not _same(made[0], made[1])


def test_states_that_networks_draw_from_do_not_depend_on_workers(make_task: MakeTask, crews: Crews) -> None:
    split = _split(make_task())

    def drawn(workers: int) -> list[Tensor]:
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        epochs = (_batches(split, crews, workers) for _ in range(2))
        return [torch.rand(2) + random.random() + np.random.rand() for epoch in epochs for _ in epoch]

    assert torch.equal(torch.stack(drawn(0)), torch.stack(drawn(2)))


def test_workers_stay_for_other_epochs_and_pipelines_and_go_for_other_images(
    make_task: MakeTask, crews: Crews
) -> None:
    split, other = _split(make_task()), _split(make_task(), cache_mb=1)
    list(_batches(split, crews, 2))
    first = _workers()
    assert len(first) == 2
    list(_batches(split, crews, 2, _transform(data_augmentation="trivial_augment"), config_id=1))
    list(_batches(other, crews, 0))
    assert _workers() == first
    list(_batches(other, crews, 2))
    assert len(_workers()) == 2
    assert not _workers() & first
    crews.close()
    assert not _workers()


def test_an_epoch_that_is_left_half_way_leaves_no_batches_to_the_next(
    make_task: MakeTask, crews: Crews
) -> None:
    split = _split(make_task())
    expected = list(_batches(split, Crews(), 0, config_id=1))
    for _ in _batches(split, crews, 2):
        break
    assert _same(list(_batches(split, crews, 2, config_id=1)), expected)


@pytest.mark.parametrize("where", [{}, {"num_workers": 2}, {"num_workers": 2, "cache_mb": 0}])
def test_a_damaged_image_is_named_in_one_line(
    tmp_path: Path, make_task: MakeTask, crews: Crews, where: dict[str, int]
) -> None:
    root = write_image_folder(tmp_path / "set")
    damaged = root / "train" / "coral" / "005.png"
    damaged.write_bytes(b"\x89PNG\r\n\x1a\n")
    split = _split(make_task(path=root), **where)
    with pytest.raises(DatasetError) as caught:
        list(_batches(split, crews, where.get("num_workers", 0)))
    assert str(caught.value).startswith(f"Image {damaged} cannot be read: ")
    assert "\n" not in str(caught.value)


class Failing(TrainTransform):
    """Raises what cannot be pickled."""

    def __call__(self, images: Tensor, seed: int) -> Tensor:
        raise type("Local", (ValueError,), {})("no such luck")


def test_an_error_in_a_worker_says_what_it_says_here(make_task: MakeTask, crews: Crews) -> None:
    transform = Failing(Recipe("m"), FinetuneSettings(), (0.5, 0.4, 0.3), 32)
    with pytest.raises(RuntimeError, match="Local: no such luck") as caught:
        list(_batches(_split(make_task()), crews, 2, transform))
    assert not isinstance(caught.value, WorkersLost)
    assert "in __call__" in caught.value.__notes__[0]


def _kill_all_workers(epoch: Batches, crews: Crews) -> None:
    """While they work; torch raises where it hears of it, as it does in training."""
    try:
        for _ in range(2):  # the last batches of an epoch may be there already
            for _ in epoch:
                for pid in _workers():
                    os.kill(pid or 0, signal.SIGKILL)
    except RuntimeError as error:
        assert tells_of_lost_workers(error)
        crews.lost(str(error))
    except WorkersLost:
        return
    else:
        raise AssertionError("nobody has noticed")


def test_lost_workers_are_followed_by_half_as_many_and_the_epoch_is_the_same(
    make_task: MakeTask, crews: Crews, caplog: pytest.LogCaptureFixture
) -> None:
    split = _split(make_task())
    expected = list(_batches(split, Crews(), 0))
    for left in (1, 0):
        _kill_all_workers(_batches(split, crews, 2), crews)
        assert not _workers()
        assert f"with {left or 'none'} of" in caplog.text
    assert _same(list(_batches(split, crews, 2)), expected)


def test_too_little_shared_memory_costs_workers_and_no_batch(
    make_task: MakeTask, crews: Crews, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(tensor: Tensor) -> Tensor:
        raise RuntimeError("unable to allocate shared memory: No space left on device (28)")

    split = _split(make_task())
    expected = list(_batches(split, Crews(), 0))
    monkeypatch.setattr(Tensor, "share_memory_", refuse)
    with pytest.raises(WorkersLost, match="No space left"):
        list(_batches(split, crews, 1))
    assert "--shm-size" in caplog.text
    assert _same(list(_batches(split, crews, 1)), expected)
