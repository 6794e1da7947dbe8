"""`make` with and without a build of PyTorch of one's own, by what it would run."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")


def _make(target: str, venv: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = ["make", "--dry-run", "--no-print-directory", target, f"VENV={venv}", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})


def _installed(venv: Path, torch: str) -> Path:
    venv.mkdir()
    (venv / ".installed").touch()
    (venv / ".torch").write_text(f"{torch}\n")
    return venv


def test_without_torch_nothing_is_said_of_it(tmp_path: Path) -> None:
    for target in ("quickstart", "test"):
        assert "--torch-backend" not in _make(target, tmp_path / "venv").stdout


def test_a_build_without_cuda_can_be_asked_for(tmp_path: Path) -> None:
    planned = _make("quickstart", tmp_path / "venv", "TORCH=cpu").stdout
    assert "--torch-backend=cpu --editable ." in planned
    assert planned.rstrip().endswith("-m qtt.run +experiment=quickstart")


def test_the_environment_remembers_its_build(tmp_path: Path) -> None:
    venv = _installed(tmp_path / "venv", "cpu")
    assert "--torch-backend=cpu --editable '.[dev]'" in _make("test", venv).stdout


@pytest.mark.parametrize(("there", "asked"), [("", "cpu"), ("cpu", ""), ("cpu", "cu128")])
def test_another_build_than_the_one_that_is_there_is_refused(there: str, asked: str, tmp_path: Path) -> None:
    done = _make("test", _installed(tmp_path / "venv", there), f"TORCH={asked}")
    assert done.returncode == 2
    assert f"has another build of PyTorch ({there or 'the default'})" in done.stderr
    assert f"VENV=.venv-{asked or 'default'}" in done.stderr


def test_what_failed_to_be_installed_is_not_remembered(tmp_path: Path) -> None:
    venv = _installed(tmp_path / "venv", "cpu")
    (venv / ".installed").unlink()
    assert "--torch-backend" not in _make("quickstart", venv).stdout
