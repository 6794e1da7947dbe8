"""Image classification keeps the contract of tasks."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from images import write_image_folder
from kept_runs import PLAIN
from models import make_card
from qtt.errors import ConfigError
from qtt.finetune.cv.classification import finetune_script
from qtt.finetune.cv.classification.task import ImageClassification
from qtt.optimizers.random import RandomOptimizer
from qtt.search.tuner import QuickTuner
from qtt.tasks import Task, load_task, task_of_objective
from qtt.testing import TaskContract
from qtt.types import Candidates


class TestImageClassification(TaskContract):
    def make(self) -> Task:
        return ImageClassification()

    def write_dataset(self, folder: Path) -> Path:
        return write_image_folder(folder / "photos", {"train": 6, "val": 3, "test": 3})

    def pipelines(self) -> Candidates:
        models = ("test_resnet", "test_vit")
        return Candidates(tuple(PLAIN | {"model": m} for m in models), tuple(make_card(m) for m in models))

    def new_examples(self, dataset: Path) -> Sequence[Path]:
        return [dataset / "test"]

    def settings(self) -> dict[str, object]:
        return {"pretrained": False, "device": "cpu", "image_size": 32, "max_image_size": 32, "cache_gb": 0}


def test_the_finetune_script_brings_its_task_along() -> None:
    optimizer = RandomOptimizer(seed=0)
    assert isinstance(QuickTuner(optimizer, finetune_script).task, ImageClassification)
    assert QuickTuner(optimizer, ImageClassification()).objective is finetune_script


def test_a_function_of_ones_own_has_no_task() -> None:
    assert task_of_objective(lambda trial, task: {}) is None


def test_unknown_tasks_have_close_matches() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'image_classification'"):
        load_task("image_clasification")
