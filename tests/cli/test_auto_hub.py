"""The hub `auto` from the command line: what it is told of the run, and what a resumed search keeps."""

import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from images import write_image_folder
from qtt import run
from qtt.cli.configuration import config_directory
from qtt.hub import surroundings
from qtt.hub.auto import Choice, Facts
from qtt.hub.model_hub import load_hub


def _compose(*overrides: str) -> DictConfig:
    with initialize_config_dir(config_directory(), version_base="1.3"):
        return compose("run", overrides=["+experiment=image_folder", *overrides])


def test_it_is_told_of_images_budget_device_and_licences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Facts] = []

    def choose(facts: Facts) -> Choice:
        asked.append(facts)
        return Choice(facts.tiny, "a test")

    monkeypatch.setattr(surroundings, "choose", choose)
    licences = "model_hub.licences=[mit]"
    config = _compose("budget.seconds=77", "trainer=cpu", licences, f"weights_dir={tmp_path}")
    hub = run.hub_of(config, tmp_path / "new", 345, 67)
    assert (hub.name, hub.weights_dir) == ("auto", tmp_path)
    (facts,) = asked
    assert (facts.seconds, facts.images, facts.image_size, facts.gpu_gb) == (77, 345, 67, None)
    assert {card.licence for card in facts.modern} == {"mit"}


def test_other_hubs_are_made_as_they_are_named(tmp_path: Path) -> None:
    assert run.hub_of(_compose("model_hub=tiny"), tmp_path, 1, None) == load_hub("tiny")


@pytest.mark.parametrize("command", ["collect", "run"])
def test_every_command_with_hubs_knows_it(command: str) -> None:
    with initialize_config_dir(config_directory(), version_base="1.3"):
        config = compose(command, overrides=["model_hub=auto"])
    assert config.model_hub.device == "auto"
    assert config.model_hub.seconds == (120 if command == "run" else None)


def test_a_search_goes_on_with_the_models_that_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = write_image_folder(tmp_path / "images")
    settings = (
        f"dataset.path={dataset}",
        "num_candidates=4",
        "budget.seconds=null",
        "executor=inline",
        "search_space=quickstart",
        "quiet=true",
    )
    first = run.search(_compose(*settings, "budget.evaluations=1"), tmp_path / "run")
    models = json.loads((tmp_path / "run" / "candidates.json").read_text())["models"]
    assert {card["name"] for card in models} <= set(load_hub("lite").names)
    monkeypatch.setattr(surroundings, "reachable", lambda: True)
    assert len(surroundings.auto_hub()) > len(load_hub("lite")), "a new search would have more"
    second = run.search(_compose(*settings, "budget.evaluations=2"), tmp_path / "run")
    assert (first.history.evaluations, second.history.evaluations) == (1, 2)
    assert second.candidates.initial == first.candidates.initial
