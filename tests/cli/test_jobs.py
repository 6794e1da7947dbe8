"""Sweeps whose searches are jobs: presets for Slurm, what is wrong with a launcher, and the whole way."""

import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from fake_slurm import fake_slurm
from qtt.cli.configuration import check_overrides, config_directory
from qtt.cli.jobs import missing, misused
from waiting import LIMIT

needs_plugin = pytest.mark.skipif(
    find_spec("hydra_plugins.hydra_submitit_launcher") is None if find_spec("hydra_plugins") else True,
    reason="the extra slurm is not installed",
)

SWEEP = [
    *("objective.function=objectives.good", "optimizer=random", "executor=inline", "tracker=default"),
    *("budget.seconds=null", "budget.evaluations=2", "num_candidates=4", "-m"),
]


def _run(
    arguments: list[str], cwd: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    python_path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(
        [sys.executable, "-m", "qtt.run", *SWEEP, *arguments],
        cwd=cwd,
        env=os.environ | python_path | dict(environment or {}),
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )


@needs_plugin
@pytest.mark.parametrize("preset", ["qtt_slurm", "qtt_slurm_gpu"])
def test_presets_are_what_submitit_takes(preset: str) -> None:
    """The plugin's own schema refuses other keys and kinds; those that matter here have values."""
    with initialize_config_dir(config_directory(), version_base="1.3"):
        config = compose("run", [f"hydra/launcher={preset}", "runs_dir=r"], return_hydra_config=True)
    launcher = config.hydra.launcher
    assert launcher._target_.endswith(".SlurmLauncher")
    assert launcher.submitit_folder == "r/.submitit/%j"
    assert (launcher.nodes, launcher.tasks_per_node) == (1, 1)
    assert launcher.max_num_timeout > 0
    assert 60 * launcher.timeout_min > 10 * launcher.signal_delay_s
    assert launcher.gpus_per_node == (1 if preset.endswith("gpu") else None)
    assert launcher.partition is None, "is the cluster's own"


@needs_plugin
def test_a_sweep_on_slurm(tmp_path: Path) -> None:
    """Two jobs of an array, one of which fails: the process that submitted them tells of both."""
    slurm = fake_slurm(tmp_path / "slurm")
    launcher = ["hydra/launcher=qtt_slurm_gpu", "hydra.launcher.partition=short"]
    done = _run([*launcher, "dataset=digits,image_folder"], tmp_path, slurm)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    script = (tmp_path / "slurm" / "submitted.sh").read_text()
    for option in (
        *("partition=short", "time=240", "gpus-per-node=1", "cpus-per-task=8", "mem=32GB", "job-name=qtt"),
        *("signal=USR2@120", "array=0-1%2", "nodes=1", "ntasks-per-node=1"),
    ):
        assert f"#SBATCH --{option}\n" in script, option
    rows = [line for line in done.stdout.splitlines() if line.startswith("│ dataset=")]
    assert ["accuracy 0." in row for row in rows] == [True, False], "in the order of the sweep"
    assert "dataset.path has no value" in rows[1]
    assert "1 of 2 did not end well. To go on:" in done.stdout
    (report,) = [line for line in done.stdout.splitlines() if line.startswith("To see them: ")]
    assert (tmp_path / report.split()[-1] / "journal.jsonl").is_file()
    logs = sorted((tmp_path / "runs" / ".submitit").glob("*/*.out"))
    assert len(logs) == 2
    assert "A search of the sweep: " in logs[0].read_text()
    assert not list((tmp_path / "runs" / ".submitit").glob("outcomes-*"))


@needs_plugin
@pytest.mark.slow
def test_a_sweep_of_processes_here(tmp_path: Path) -> None:
    done = _run(["hydra/launcher=submitit_local", "seed=0,1"], tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("│")]
    assert ["seed=0" in rows[0], "seed=1" in rows[1]] == [True, True]
    assert len(list(tmp_path.rglob("journal.jsonl"))) == 2


@needs_plugin
def test_without_slurm_the_error_says_so(tmp_path: Path) -> None:
    empty = tmp_path / "bin"
    empty.mkdir()
    done = _run(["hydra/launcher=qtt_slurm"], tmp_path, {"PATH": str(empty)})
    assert done.returncode == 1
    assert done.stderr.startswith("Error: hydra/launcher=qtt_slurm submits jobs to Slurm")
    assert "Traceback" not in done.stderr


def test_a_launcher_without_a_sweep_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        check_overrides("run", ["hydra/launcher=qtt_slurm"])
    assert end.value.code == 1
    assert "add -m" in capsys.readouterr().err
    assert misused(["hydra/launcher=qtt_slurm"], multirun=True) is None
    assert misused(["hydra/launcher=qtt_slurm", "hydra.mode=MULTIRUN"], multirun=False) is None
    assert misused(["seed=1"], multirun=False) is None


def test_without_the_plugin_the_error_names_the_extra(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from hydra.core.config_store import ConfigStore

    groups = ConfigStore.instance().repo["hydra"]["launcher"]
    for name in ("submitit_slurm.yaml", "submitit_local.yaml"):
        monkeypatch.delitem(groups, name, raising=False)
    for launcher in ("qtt_slurm_gpu", "submitit_local"):
        with pytest.raises(SystemExit) as end:
            check_overrides("run", ["-m", f"hydra/launcher={launcher}"])
        assert end.value.code == 1
        assert "pip install 'qtt[slurm]'" in capsys.readouterr().err
    assert missing("joblib") is None
