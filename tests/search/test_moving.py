"""A search that moves: the same images elsewhere, other caches and devices; not other images or settings."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from images import write_image_folder
from kept_runs import PLAIN
from models import make_card
from qtt.errors import ConfigError
from qtt.finetune.cv.classification import extract_task_info_metafeat, finetune_script
from qtt.optimizers.random import EpochwiseRandomOptimizer
from qtt.runs.record import RunRecord
from qtt.search.tuner import QuickTuner
from qtt.support.files import read_json, write_json
from qtt.tasks import task_of
from qtt.tracking.base import Summary
from qtt.types import Candidates

SETTINGS = {"pretrained": False, "device": "cpu", "image_size": 32, "max_image_size": 32, "cache_gb": 0}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_image_folder(tmp_path / "here", {"train": 4, "val": 2, "test": 2})


def _search(run: Path, images: Path, evaluations: int, **changes: object) -> Summary:
    optimizer = EpochwiseRandomOptimizer(seed=0, max_fidelity=4)
    optimizer.setup(Candidates((PLAIN | {"model": "test_resnet"},), (make_card("test_resnet"),)))
    task, _ = extract_task_info_metafeat(images, seed=2)
    tuner = QuickTuner(optimizer, finetune_script, run, trackers=(), isolation="inline")
    return tuner.run(replace(task, settings=SETTINGS | changes), evaluations=evaluations)


def test_the_same_images_elsewhere_continue_to_the_same_scores(images: Path, tmp_path: Path) -> None:
    stayed = _search(tmp_path / "stayed", images, 4)
    _search(tmp_path / "moved", images, 2)
    there = Path(shutil.move(images, tmp_path / "there"))
    moved = _search(tmp_path / "moved", there, 4, device="auto", cache_mb=1, oom_accumulation=2)
    assert [r.score for r in moved.history] == [r.score for r in stayed.history]
    record = RunRecord.load(tmp_path / "moved")
    assert record.task.path == there.resolve()
    assert task_of(record).evaluate(record.best_model(), record.task)


def test_facts_about_the_use_of_weights_are_no_part_of_a_search(images: Path, tmp_path: Path) -> None:
    """Run folders that were written before cards had licences go on."""
    _search(tmp_path / "run", images, 1)
    file = tmp_path / "run" / "candidates.json"
    data = read_json(file)
    for card in data["models"]:
        del card["licence"], card["gated"]
    write_json(file, data)
    assert not _search(tmp_path / "run", images, 2).history.failed


def test_other_images_or_settings_are_another_search(images: Path, tmp_path: Path) -> None:
    _search(tmp_path / "run", images, 1)
    with pytest.raises(ConfigError, match=r"settings\.image_size is 32 there and 64 here"):
        _search(tmp_path / "run", images, 2, image_size=64)
    Image.new("RGB", (32, 32)).save(next((images / "train").iterdir()) / "more.png")
    with pytest.raises(ConfigError, match="dataset is '"):
        _search(tmp_path / "run", images, 2)


def test_readers_are_told_where_the_images_are_now(images: Path, tmp_path: Path) -> None:
    _search(tmp_path / "run", images, 1)
    there = Path(shutil.move(images, tmp_path / "there"))
    tuner = QuickTuner.load(tmp_path / "run", data=there, isolation="inline")
    table = tuner.finetune(k=1)
    assert table["epoch"].max() > 1
    record = tuner.record()
    assert task_of(record).evaluate(record.best_model(), record.task)
