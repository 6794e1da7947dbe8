"""Names of run folders: equal for equal searches, whatever the order of the overrides."""

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from qtt.cli.configuration import config_directory
from qtt.cli.run_names import run_directory


def _compose(*overrides: str) -> DictConfig:
    with initialize_config_dir(config_directory(), version_base="1.3"):
        return compose("run", overrides=list(overrides))


def test_run_folders_are_named_after_what_changes_the_search() -> None:
    def name(*overrides: str) -> str:
        config = _compose(*overrides)
        choices = {"experiment": "quickstart", "dataset": "digits"}
        return str(run_directory(config, overrides, choices))

    assert name("+experiment=quickstart") == "runs/quickstart/default"
    assert name("+experiment=quickstart", "budget.seconds=240") == "runs/quickstart/default"
    assert name("seed=1", "optimizer=random") == name("optimizer=random", "seed=1")
    assert name("seed=1") == "runs/quickstart/seed=1"
    assert name("runs_dir=elsewhere", "seed=1") == "elsewhere/quickstart/seed=1"
    assert name("run_dir=here", "seed=1") == "here"
    spaced = name("dataset=image_folder", "dataset.path=/data/my images")
    assert spaced == "runs/quickstart/dataset.path=-data-my-images,dataset=image_folder"
