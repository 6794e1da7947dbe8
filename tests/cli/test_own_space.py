"""`search_space=own` and `model_hub=none` on the command line."""

import re
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

import metatrained
from images import write_image_folder
from own_spaces import everything
from qtt import run
from qtt.cli.configuration import config_directory, configured_errors_for_people
from qtt.cli.parts import space_over
from qtt.errors import ConfigError
from qtt.hub.model_hub import load_hub
from qtt.space.config_manager import ConfigManager

OWN = (
    "model_hub=none",
    "search_space=own",
    "objective.function=own_spaces.objective",
    "dataset=image_folder",
    "executor=inline",
    "num_candidates=12",
    "budget.seconds=null",
    "budget.evaluations=6",
    "quiet=true",
)


def _compose(*overrides: str) -> DictConfig:
    with initialize_config_dir(config_directory(), version_base="1.3"):
        return compose("run", overrides=list(overrides))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The dataset of the task, which an objective of one's own need not read."""
    return f"dataset.path={write_image_folder(tmp_path_factory.mktemp('images'))}"


@pytest.mark.parametrize("optimizer", ["quick", "quick_pretrained", "random", "random_epochwise", "asha"])
def test_a_search_of_ones_own_runs(optimizer: str, images: str, tmp_path: Path) -> None:
    everything().to_yaml(tmp_path / "space.yaml")
    for source in (f"path={tmp_path / 'space.yaml'}", "function=own_spaces.make_space"):
        config = _compose(*OWN, images, f"search_space.{source}", f"optimizer={optimizer}")
        summary = run.search(config, tmp_path / source[:4])
        assert summary.history.evaluations == 6
        written = ConfigManager.from_json((summary.run_dir / "search_space.json").read_text())
        assert written.hub is None and written.domains == ConfigManager(everything()).domains


def test_a_function_gets_the_models_of_the_hub() -> None:
    config = _compose("search_space=own", "search_space.function=own_spaces.space_of_models")
    hub = load_hub("tiny")
    assert space_over(hub, config).options["model"] == hub.names


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["search_space.path=nowhere.yaml"], "There is no search space"),
        (["search_space.function=own_spaces.no_space"], "returned a dict"),
        (["search_space.function=own_spaces.missing"], "cannot be imported"),
        ([], "give either search_space.path=space.yaml or"),
        (["search_space.path={models}"], "there is no hub. Name one, for instance model_hub=tiny"),
        (["search_space.path={models}", "model_hub=tiny"], "Unknown model in the space (hub 'tiny') 'bigg'"),
        (
            ["search_space.function=own_spaces.make_space", "constraints.max_params=5e6"],
            "model_hub=none has none",
        ),
    ],
)
def test_what_cannot_be_is_said_to_people(
    overrides: list[str], message: str, images: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = tmp_path / "models.json"
    models.write_text(
        '{"hyperparameters": [{"type": "categorical", "name": "model", "choices": ["bigg"], '
        '"default_value": "bigg", "weights": null, "meta": null}], "conditions": [], "forbiddens": [], '
        '"name": null, "format_version": 0.4, "python_module_version": "1.2.0"}'
    )
    config = _compose(*OWN, images, *(override.format(models=models) for override in overrides))
    with pytest.raises(SystemExit), configured_errors_for_people():
        run.search(config, tmp_path / "run")
    said = capsys.readouterr().err
    assert re.search(re.escape(message), said), said
    assert not (tmp_path / "run").exists()


def test_meta_training_fits_to_variants_alone(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a variant of qtt's search space"):
        metatrained.call(tmp_path, tmp_path, tmp_path, "search_space=own")
