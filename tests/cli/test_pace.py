"""How much of a large dataset an epoch has, from the command line: by the budget, and as it began."""

import json
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from images import write_image_folder
from qtt import run
from qtt.cli.configuration import config_directory
from qtt.finetune.cv.classification import pace

SETTINGS = (
    "model_hub=tiny",
    "search_space=quickstart",
    "num_candidates=3",
    "executor=inline",
    "quiet=true",
    "objective.settings.image_size=32",
)


def search(folder: Path, images: Path, *overrides: str) -> dict[str, Any]:
    """Settings of the search that ran."""
    with initialize_config_dir(config_directory(), version_base="1.3"):
        config: DictConfig = compose(
            "run", overrides=["+experiment=image_folder", f"dataset.path={images}", *SETTINGS, *overrides]
        )
    summary = run.search(config, folder)
    assert summary.incumbent is not None
    settings: dict[str, Any] = json.loads((folder / "task.json").read_text())["settings"]
    assert summary.incumbent.info["examples"] == (settings["val_images"] or 12)
    return settings


def test_a_search_takes_what_suits_its_budget_and_goes_on_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = write_image_folder(tmp_path / "images", {"train": 8, "val": 4, "test": 1})
    monkeypatch.setattr(pace, "LEAST", 6)
    monkeypatch.setattr(pace, "ON_A_CORE", 0.001)
    begun = search(tmp_path / "run", images, "trainer=cpu", "budget.seconds=600", "budget.evaluations=1")
    assert (begun["epoch_images"], begun["val_images"]) == (6, 6)
    monkeypatch.setattr(pace, "LEAST", 2000)
    again = search(tmp_path / "run", images, "trainer=cpu", "budget.seconds=900", "budget.evaluations=2")
    assert again == begun
    fresh = search(tmp_path / "new", images, "trainer=cpu", "budget.seconds=600", "budget.evaluations=1")
    assert (fresh["epoch_images"], fresh["val_images"]) == (None, None)
