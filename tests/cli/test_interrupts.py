"""Ctrl-C in the first seconds: one line and status 130, wherever it comes."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from qtt.cli.interrupts import INTERRUPTED, TO_GO_ON, called_as_command, interruptible

PYTHON = "/usr/bin/python"

SITE = """
import os, signal, sys

class Interrupt:
    '''Presses Ctrl-C when a module begins to be imported.'''
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
"""


@pytest.mark.parametrize(
    ("argv", "original", "expected"),
    [
        (["-m"], [PYTHON, "-m", "qtt.run", "seed=1"], True),
        (["-m"], [PYTHON, "-m", "qtt"], True),
        (["-m"], [PYTHON, "-um", "qtt.report"], True),
        (["-m"], [PYTHON, "-mqtt.run"], True),
        (["/usr/bin/qtt", "run"], [PYTHON, "/usr/bin/qtt", "run"], True),
        (["C:\\qtt.exe".rpartition("\\")[2]], ["python.exe"], True),
        (["-m"], [PYTHON, "-m", "pytest", "qtt"], False),
        (["-m"], [PYTHON, "-m", "qttools.run"], False),
        (["script.py", "qtt"], [PYTHON, "script.py", "qtt"], False),
        (["-c"], [PYTHON, "-c", "import qtt"], False),
        (["/usr/bin/qtt", "run"], [PYTHON, "-c", "spawn_main()", "--multiprocessing-fork"], False),
        ([], [PYTHON], False),
    ],
)
def test_a_command_is_told_from_a_program_that_uses_the_package(
    argv: list[str], original: list[str], expected: bool
) -> None:
    assert called_as_command(argv, original) is expected


def _interrupted_at(module: str, command: Sequence[str], tmp_path: Path) -> tuple[int, str]:
    """Exit status and stderr of a command that is interrupted when it imports a module."""
    (tmp_path / "sitecustomize.py").write_text(SITE.format(module=module))
    path = [str(tmp_path), *sys.path]
    done = subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": ":".join(path), "QTT_CACHE": str(tmp_path / "cache")},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    return done.returncode, done.stderr


SEARCH = ("-m", "qtt.run", "+experiment=quickstart", "budget.evaluations=1")


@pytest.mark.parametrize("module", ["typing", "hydra.core", "scipy.special"])
def test_interrupted_imports_end_with_a_line(module: str, tmp_path: Path) -> None:
    assert _interrupted_at(module, SEARCH, tmp_path) == (INTERRUPTED, "Interrupted.\n")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("module", ["sklearn.datasets", "qtt.optimizers.quick"])
def test_an_interrupted_set_up_ends_with_a_line_and_leaves_nothing_half_written(
    module: str, tmp_path: Path
) -> None:
    assert _interrupted_at(module, SEARCH, tmp_path) == (INTERRUPTED, f"{TO_GO_ON}\n")
    assert not (tmp_path / "runs").exists()
    assert not list((tmp_path / "cache").glob(".*")), "no half of a dataset"


@pytest.mark.parametrize("command", [("report", "."), ("doctor",)], ids=" ".join)
def test_other_commands_do_too(command: tuple[str, ...], tmp_path: Path) -> None:
    code, said = _interrupted_at("rich.console", ("-m", "qtt", *command), tmp_path)
    assert (code, said) == (INTERRUPTED, "Interrupted.\n")


def test_a_program_that_imports_the_package_hears_of_ctrl_c_as_ever(tmp_path: Path) -> None:
    code, said = _interrupted_at("qtt.types", ("-c", "import qtt; qtt.Trial"), tmp_path)
    assert code == -signal.SIGINT
    assert said.rstrip().endswith("KeyboardInterrupt")


def test_within_a_program_a_command_s_main_leaves_its_handler_alone(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGINT)
    with interruptible():
        assert signal.getsignal(signal.SIGINT) is before
    assert signal.getsignal(signal.SIGINT) is before
    try:
        with pytest.raises(SystemExit) as ended, interruptible("Stopped."):
            raise KeyboardInterrupt
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.value.code == INTERRUPTED
    assert capfd.readouterr().err == "Stopped.\n"


DROPPED = """
import sys, time
from qtt.cli.interrupts import interruptible

class Freed:
    def __del__(self):
        raise KeyboardInterrupt

with interruptible("Stopped."):
    del (freed := [Freed()])[0]
    time.sleep(60)
"""


def test_an_interrupt_that_python_drops_comes_again() -> None:
    """As one in a callback of an import, which would be printed and forgotten."""
    ended = subprocess.run([sys.executable, "-c", DROPPED], capture_output=True, text=True, timeout=50)
    assert (ended.returncode, ended.stderr) == (INTERRUPTED, "Stopped.\n")
