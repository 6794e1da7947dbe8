"""Typos are explained before Hydra sees them, in runs, in sweeps, and beside a folder of one's own."""

from pathlib import Path

import pytest

from qtt.cli.configuration import check_overrides, composed, shipped_options


@pytest.mark.parametrize(
    ("typo", "hint"),
    [
        ("budget.secnds=3", "There is no key budget.secnds. Did you mean budget.seconds"),
        ("num_candidate=3", "Did you mean num_candidates"),
        ("optimizer=quik", "Unknown optimizer 'quik'. Did you mean 'quick'"),
        ("+experiment=quickstrat", "Did you mean 'quickstart'"),
        (
            "+experiment=nothing_like_it",
            "Unknown experiment 'nothing_like_it'. Known: image_folder, quickstart,",
        ),
        ("experiment=quickstart", "with a plus: +experiment=quickstart"),
        (
            "dataset.path=/x",
            "dataset.path is a key of dataset=image_folder and dataset=table; this is dataset=digits",
        ),
        ("optimizer.eta=3", "Add optimizer=asha."),
        ("narrow={lr:[0.1]}", "Did you mean search_space.narrow?"),
        ("entirely.new=3", "There is no key entirely.new. --help shows all"),
        ("quickstart", "quickstart is an option of experiment: +experiment=quickstart"),
        ("random", "random is an option of optimizer: optimizer=random"),
        ("budget=60", "budget=60: budget has keys of its own, for instance budget.seconds."),
        ("search_space.narrow={lr:[0.001", "search_space.narrow={lr:[0.001: cannot be read."),
        ("dataset=5", "override must be a string or a list"),
        ("budget.seconds=soon", "budget.seconds=soon: expected seconds"),
        ("optimizer=random,asha", "Ambiguous value"),
    ],
)
def test_a_typo_is_explained(typo: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        check_overrides("run", ["seed=1", typo])
    assert stop.value.code == 1
    message = capsys.readouterr().err
    assert message.startswith("Error: ")
    assert hint in message


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["-m", "optimizer=random,ahsa"], "Did you mean 'asha'"),
        (["--multirun", "seed=0,1", "budget.secnds=3"], "Did you mean budget.seconds"),
        (["optimizer=random", "optimizer.epochs_per_stp=2"], "Did you mean optimizer.epochs_per_step"),
        (["tracker=[tensorbord]"], "Did you mean 'tensorboard'?"),
        (["optimzer=random"], "Did you mean optimizer"),
    ],
)
def test_typos_of_every_kind(arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        check_overrides("run", arguments)
    message = capsys.readouterr().err
    assert hint in message
    assert "search path" not in message


def test_a_folder_of_one_s_own_adds_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "it's, my conf"
    (folder / "optimizer").mkdir(parents=True)
    (folder / "optimizer" / "slow.yaml").write_text("defaults: [random]\nepochs_per_step: 2\n")
    for flag in (["--config-dir", str(folder)], [f"-cd={folder}"]):
        check_overrides("run", [*flag, "optimizer=slow", "optimizer.epochs_per_step=3"])
        with pytest.raises(SystemExit, match="1"):
            check_overrides("run", [*flag, "optimizer=slwo"])
        assert "Did you mean 'slow'?" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="1"):
        check_overrides("run", ["--config-dir", str(tmp_path / "nowhere"), "optimizer=slow"])
    assert f"There is no folder {tmp_path / 'nowhere'}" in capsys.readouterr().err


def test_the_configuration_can_be_asked_for_outside_of_a_run() -> None:
    config, choices = composed("run", ["optimizer=random"])
    assert choices["optimizer"] == "random"
    assert "hydra" not in config
    assert config.optimizer._target_.endswith("RandomOptimizer")
    assert "random" in shipped_options()["optimizer"]
