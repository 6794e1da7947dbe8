"""A small dataset, and tasks and configs over timm's `test_*` models without pretrained weights."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from images import CLASSES, write_image_folder
from models import FAMILIES, SOURCE_CLASSES, build, make_card
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


@pytest.fixture(scope="session")
def source_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of every family with a classifier of ten source classes, as if pretrained."""
    folder = tmp_path_factory.mktemp("weights")
    for name in FAMILIES:
        save_file(build(name, SOURCE_CLASSES).state_dict(), folder / f"{name}.safetensors")
    return folder


@pytest.fixture
def make_pretrained_task(make_task: Callable[..., TaskInfo], source_weights: Path) -> Callable[..., TaskInfo]:
    """Like `make_task`, with models that start from the weights in `source_weights`."""

    def make(**changes: Any) -> TaskInfo:
        cards = tuple(replace(make_card(name), num_classes=SOURCE_CLASSES) for name in FAMILIES)
        settings = {"pretrained": True} | changes.pop("settings", {})
        values = {"weights_dir": source_weights, "models": cards, "settings": settings}
        return make_task(**(values | changes))

    return make


@pytest.fixture
def cold() -> Iterator[None]:
    """Nothing in memory of earlier tests, nor of this one for later ones."""
    from pipelines import forget

    forget()
    yield
    forget()
