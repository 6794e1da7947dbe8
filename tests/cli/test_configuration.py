"""Typos are explained before Hydra sees them, in runs, in sweeps, and beside a folder of one's own."""

from pathlib import Path

import pytest

from qtt.cli.configuration import CommandLine, check_overrides, composed, shipped_options


@pytest.mark.parametrize(
    ("typo", "hint"),
    [
        ("budget.secnds=3", "did you mean budget.seconds"),
        ("num_candidate=3", "did you mean num_candidates"),
        ("optimizer=quik", "quick"),
        ("+experiment=quickstrat", "quickstart"),
    ],
)
def test_a_typo_is_explained(typo: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        check_overrides("run", [typo])
    assert stop.value.code == 1
    message = capsys.readouterr().err
    assert message.startswith("Error: ")
    assert hint in message


def test_the_command_line_is_read_as_far_as_it_is_about_configuration(tmp_path: Path) -> None:
    line = CommandLine.read(["a=1", "--config-dir", str(tmp_path), "-m", "b=2,3"])
    assert line == CommandLine(("a=1", "b=2,3"), tmp_path, multirun=True)
    assert CommandLine.read([f"--config-dir={tmp_path}"]) == CommandLine((), tmp_path)
    assert CommandLine.read(["--cfg", "job", "--package", "hydra", "--resolve", "a=1"]) == CommandLine(
        ("a=1",)
    )
    for arguments in (["--help"], ["a=1", "--info"], ["--config-dir"], ["--shell-completion", "query=bash"]):
        assert CommandLine.read(arguments) is None, "left to Hydra"


def test_every_value_of_a_sweep_is_tried_once() -> None:
    line = CommandLine(("seed=0,1,2", "optimizer=random,asha", "+experiment=quickstart"), multirun=True)
    assert line.runs() == [
        ["seed=0", "optimizer=random", "+experiment=quickstart"],
        ["seed=1", "optimizer=asha", "+experiment=quickstart"],
        ["seed=2", "optimizer=asha", "+experiment=quickstart"],
    ]
    assert CommandLine(("seed=range(0,3)",), multirun=True).runs() == [["seed=0"], ["seed=1"], ["seed=2"]]
    for beyond in ("optimizer=glob(*)", "seed=interval(0,1)", "seed=[", "+"):
        assert CommandLine((beyond,), multirun=True).runs() == [], "left to Hydra"


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["-m", "optimizer=random,ahsa"], "did you mean asha?"),
        (["--multirun", "seed=0,1", "budget.secnds=3"], "did you mean budget.seconds"),
        (["optimizer=random", "optimizer.epochs_per_stp=2"], "did you mean optimizer.epochs_per_step"),
        (["tracker=[tensorbord]"], "did you mean tensorboard?"),
        (["optimzer=random"], "did you mean optimizer"),
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
        assert "did you mean slow?" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="1"):
        check_overrides("run", ["--config-dir", str(tmp_path / "nowhere"), "optimizer=slow"])
    assert f"There is no folder {tmp_path / 'nowhere'}" in capsys.readouterr().err


def test_the_configuration_can_be_asked_for_outside_of_a_run() -> None:
    config, choices = composed("run", ["optimizer=random"])
    assert choices["optimizer"] == "random"
    assert "hydra" not in config
    assert config.optimizer._target_.endswith("RandomOptimizer")
    assert "random" in shipped_options()["optimizer"]
