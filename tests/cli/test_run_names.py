"""Names of run folders: equal for equal searches, whatever the order of the overrides."""

from pathlib import Path

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


def test_quotes_and_units_make_no_other_name() -> None:
    def name(*overrides: str) -> str:
        return run_directory(_compose(), overrides, {"dataset": "digits"}).name

    assert name("dataset.path='/data/my images'") == name("dataset.path=/data/my images")
    assert name("val_fraction=20%") == name("val_fraction=0.2") == "val_fraction=0.2"
    assert name("num_candidates=soon") == "num_candidates=soon"


def test_a_long_name_is_cut_and_stays_its_own(tmp_path: Path) -> None:
    def folder(path: str) -> Path:
        config = _compose(f"runs_dir={tmp_path}")
        return run_directory(config, [f"dataset.path='{path}'"], {"dataset": "digits"})

    long = "/data/" + "日本語" * 60
    assert len(folder(long).name.encode()) <= 120
    assert folder(long) == folder(long)
    assert folder(long) != folder(long + "x")
    folder(long).mkdir(parents=True)
    assert folder("/short").name == "dataset.path=-short"
    middle = "/data/" + "x" * 150
    old = tmp_path / "digits" / f"dataset.path={middle.replace('/', '-')}"
    assert folder(middle) != old
    old.mkdir()
    assert folder(middle) == old, "a run that an earlier version began is found again"
