"""A small dataset, and tasks and configs over timm's `test_*` models without pretrained weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from images import CLASSES, write_image_folder
from qtt.types import ModelCard, TaskInfo

FAMILIES = (
    "test_vit",
    "test_resnet",
    "test_convnext",
    "test_efficientnet",
    "test_byobnet",
    "test_mambaout",
    "test_vit_relpos",
    "test_coatnet",
)
SIDE = 32


def make_card(name: str) -> ModelCard:
    """A card of a timm model at 32 pixels."""
    kwargs: dict[str, Any] = {"img_size": SIDE} if "vit" in name or "coatnet" in name else {}
    if name == "test_coatnet":
        kwargs["img_size"] = 64
    return ModelCard(
        name=name,
        timm_name=name,
        family=name,
        params=0.3,
        input_size=kwargs.get("img_size", SIDE),
        create_kwargs=tuple(kwargs.items()),
    )


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
