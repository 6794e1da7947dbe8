"""Next commands are printed as the last one was typed."""

import sys
from pathlib import Path

import pytest

import qtt
from qtt.cli.invocation import command_for, program, python_command


def test_the_next_command_names_the_python_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv" / "bin" / "python"))
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/python")
    assert python_command() == str(Path(".venv") / "bin" / "python")
    monkeypatch.setattr("shutil.which", lambda name: sys.executable)
    assert python_command() == "python"
    monkeypatch.setattr(sys, "executable", "/opt/bin/python")
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert python_command() == "/opt/bin/python"


@pytest.fixture
def python(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python` and `qtt` are found on the path, both in /usr/bin."""
    monkeypatch.setattr(sys, "executable", "/usr/bin/python")
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")


@pytest.mark.usefixtures("python")
@pytest.mark.parametrize(
    ("called", "command", "together"),
    [
        ("/usr/bin/qtt", "qtt report", "qtt"),
        ("/opt/venv/bin/qtt", "/opt/venv/bin/qtt report", "/opt/venv/bin/qtt"),
        (str(Path(qtt.__file__).with_name("__main__.py")), "python -m qtt report", "python -m qtt"),
        (str(Path(qtt.__file__).with_name("run.py")), "python -m qtt.report", "python -m qtt"),
        ("/home/me/finetune/__main__.py", "python -m qtt.report", "python -m qtt"),
        ("", "python -m qtt.report", "python -m qtt"),
    ],
)
def test_commands_are_named_as_they_were_called(
    called: str, command: str, together: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [called, "x"])
    assert command_for("report") == command
    assert program() == together


def test_a_script_below_this_folder_is_named_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / ".venv" / "bin" / "qtt")])
    assert command_for("run") == str(Path(".venv") / "bin" / "qtt") + " run"
