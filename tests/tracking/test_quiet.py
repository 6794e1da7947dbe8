"""`--quiet` on the command line, and which trackers it can name."""

import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig

from qtt.cli.configuration import check_overrides, config_directory
from qtt.cli.run_names import run_directory
from qtt.run import with_quiet
from waiting import LIMIT

SEARCH = [
    "+experiment=quickstart",
    "num_candidates=4",
    "budget.seconds=null",
    "budget.evaluations=1",
    "search_space.narrow={batch_size:[64],sched:[cosine],opt:[adamw],lr:[0.001]}",
]


def _compose(*overrides: str) -> DictConfig:
    with initialize_config_dir(config_directory(), version_base="1.3"):
        return compose("run", overrides=list(overrides))


def _run(*arguments: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "qtt.run", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=LIMIT)


def test_the_flag_becomes_a_value_that_hydra_knows() -> None:
    assert with_quiet(["-m", "+experiment=quickstart", "--quiet", "seed=0,1"]) == [
        "-m",
        "+experiment=quickstart",
        "quiet=true",
        "seed=0,1",
    ]
    assert with_quiet(["-q"]) == ["quiet=true"]
    assert with_quiet(["dataset.path=--quiet"]) == ["dataset.path=--quiet"]


def test_quiet_reaches_every_tracker_and_changes_no_run_folder() -> None:
    loud, quiet = _compose("tracker=all"), _compose("tracker=all", "quiet=true")
    assert {name: tracker.get("quiet") for name, tracker in quiet.tracker.items()} == {
        "console": True,
        "csv": None,
        "wandb": True,
        "tensorboard": True,
    }
    assert loud.tracker.console.quiet is False
    choices = {"dataset": "digits"}
    assert run_directory(quiet, ["quiet=true", "seed=1"], choices) == run_directory(loud, ["seed=1"], choices)


@pytest.mark.parametrize(
    ("override", "names"),
    [
        ("tracker=default", ["console", "csv"]),
        ("tracker=wandb", ["console", "csv", "wandb"]),
        ("tracker=tensorboard", ["console", "csv", "tensorboard"]),
        ("tracker=[wandb,tensorboard]", ["console", "csv", "wandb", "tensorboard"]),
        ("tracker=all", ["console", "csv", "wandb", "tensorboard"]),
    ],
)
def test_trackers_are_combined(override: str, names: list[str]) -> None:
    trackers = instantiate(_compose(override).tracker)
    assert [type(tracker).__name__.removesuffix("Tracker").lower() for tracker in trackers.values()] == names


def test_a_typo_beside_the_flag_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        check_overrides("run", with_quiet(["--quiet", "budget.secnds=3"]))
    assert "Did you mean budget.seconds" in capsys.readouterr().err


def test_a_quiet_search_prints_its_result_alone(tmp_path: Path) -> None:
    quiet = _run(*SEARCH, "--quiet", "tracker=all", "optimizer.weights=mtlbm/micro", cwd=tmp_path)
    assert quiet.returncode == 0, quiet.stderr
    assert quiet.stderr == ""
    lines = quiet.stdout.splitlines()
    assert lines[0].startswith("Best 1 of 1 pipeline")
    rest = [line for line in lines[1:] if line[0] not in "┏┃┡│└"]
    assert [line.split(":")[0].split(" in ")[0] for line in rest] == [
        "score",
        "Best pipeline",
        "test accuracy",
        "test standard error",
        "test majority baseline",
        "Results are",
        "To search on",
    ]
    assert "quiet=true" in rest[-1]


@pytest.mark.slow
def test_a_quiet_sweep_is_quiet(tmp_path: Path) -> None:
    sweep = _run("-m", *SEARCH, "--quiet", "seed=0,1", cwd=tmp_path)
    assert sweep.returncode == 0, sweep.stderr
    assert sweep.stdout.count("Best pipeline: #") == 2
    assert "Searching" not in sweep.stdout
    assert len(list((tmp_path / "runs" / "quickstart").glob("*seed=*"))) == 2
