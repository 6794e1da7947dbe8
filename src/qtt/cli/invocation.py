"""How this program was called, so that help and next commands can be typed as the last one was."""

import shutil
import sys
from pathlib import Path

PROGRAM = "qtt"
"""The console script, which holds all commands."""

SCRIPTS = (PROGRAM, f"{PROGRAM}.exe", f"{PROGRAM}-script.py", f"{PROGRAM}-script.pyw")
"""Names under which installers write it."""


_typed: list[str] = []


def command_for(name: str) -> str:
    """What to type for a command: `qtt NAME` where `qtt` was called, `python -m qtt.NAME` elsewhere."""
    together = _called()
    return f"{python_command()} -m {PROGRAM}.{name}" if together is None else f"{together} {name}"


def remember_arguments() -> None:
    """Keep the arguments as they were typed, before anything is made of `sys.argv`."""
    _typed[:] = sys.argv[1:]


def typed_arguments() -> list[str]:
    """The arguments of this command as they were typed, for commands that are printed to be typed again."""
    return list(_typed)


def program() -> str:
    """What to type for that which holds all commands: `qtt`, or `python -m qtt`."""
    return _called() or f"{python_command()} -m {PROGRAM}"


def _called() -> str | None:
    """How the program that holds all commands was called; None where a command was called by itself."""
    called = Path(sys.argv[0])
    if called.name in SCRIPTS:
        return _as_found(PROGRAM, called)
    together = called == Path(__file__).parents[1] / "__main__.py"
    return f"{python_command()} -m {PROGRAM}" if together else None


def python_command() -> str:
    """What to type for this very Python: `python` where that finds it, else its path."""
    return _as_found("python", Path(sys.executable))


def _as_found(name: str, program: Path) -> str:
    """A program's bare name where that finds it, else its path, as seen from here if it lies below."""
    if shutil.which(name) == str(program):
        return name
    here = Path.cwd()
    return str(program.relative_to(here) if program.is_relative_to(here) else program)
