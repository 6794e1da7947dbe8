"""A small dataset, and tasks and configs over timm's `test_*` models without pretrained weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from images import CLASSES, write_image_folder
from models import FAMILIES, make_card
from qtt.types import TaskInfo


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes, 8 training and 4 validation images each."""
    return write_image_folder(tmp_path_factory.mktemp("images"))


@pytest.fixture
def make_task(image_folder: Path, tmp_path: Path) -> Callable[..., TaskInfo]:
    """A task on the small dataset, with checkpoints in `tmp_path` unless told otherwise."""

    def make(**changes: Any) -> TaskInfo:
        settings = {"pretrained": False, "device": "cpu"} | changes.pop("settings", {})
        values: dict[str, Any] = {
            "path": image_folder,
            "class_names": CLASSES,
            "work_dir": tmp_path / "pipelines",
            "models": tuple(make_card(name) for name in FAMILIES),
            "settings": settings,
        }
        return TaskInfo(**(values | changes))

    return make
