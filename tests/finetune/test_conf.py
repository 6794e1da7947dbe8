from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from qtt.finetune.cv.classification import FinetuneSettings, finetune_script
from qtt.tasks import load_task

CONF = Path(__file__).parents[2] / "conf"
DATASETS = ("digits", "image_folder", "table")


def _read(name: str) -> dict[str, object]:
    return yaml.safe_load((CONF / name).read_text())


def test_settings_are_the_defaults() -> None:
    settings = _read("objective/finetune.yaml")["settings"]
    assert isinstance(settings, dict)
    assert settings | _read("trainer/auto.yaml") == asdict(FinetuneSettings())


def test_the_task_exists() -> None:
    assert load_task(str(_read("objective/finetune.yaml")["task"])).objective is finetune_script


@pytest.mark.parametrize("name", DATASETS)
def test_datasets_are_functions_with_these_arguments(name: str) -> None:
    from inspect import signature

    conf = _read(f"dataset/{name}.yaml")
    module, _, function = str(conf.pop("_target_")).rpartition(".")
    assert set(signature(getattr(import_module(module), function)).parameters) == set(conf)


@pytest.mark.parametrize(
    "name",
    ["objective/finetune.yaml", "trainer/auto.yaml", *(f"dataset/{name}.yaml" for name in DATASETS)],
)
def test_every_value_is_commented(name: str) -> None:
    lines = (CONF / name).read_text().splitlines()
    assert lines[0].startswith("#")
    values = [line for line in lines if ":" in line and not line.startswith(("#", "_target_", "settings:"))]
    assert values
    assert all(" # " in line for line in values)
