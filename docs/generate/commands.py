"""The page of all commands, made from what they say of themselves with `--help`."""

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FIRST = ("run", "report", "statistics", "finetune", "leaderboard", "predict", "export")
"""Commands in the order in which a search needs them; the others follow by name."""

INTRODUCTION = """# Commands

What each command says of itself with `--help`. `qtt NAME …` does what `python -m qtt.NAME …` does, and `qtt`
alone lists the commands. Where a virtual environment is not active, write `.venv/bin/python`."""


INNER = {"qtt.evaluation.keeper"}
"""Scripts that no person calls."""


def commands(root: Path) -> list[str]:
    """Modules of a checkout that are commands: those that run when they are called."""
    found = []
    for top in (root / "src", root):
        package = {root: "meta_dataset"}.get(top, "qtt")
        for path in sorted((top / package).rglob("*.py")):
            name = ".".join(path.relative_to(top).with_suffix("").parts)
            if '__name__ == "__main__"' in path.read_text(encoding="utf-8") and name not in INNER:
                found.append(name.removesuffix(".__main__"))
    order = {f"qtt.{name}": number for number, name in enumerate(FIRST)}
    return sorted(found, key=lambda name: (order.get(name, len(order)), not name.startswith("qtt"), name))


def page(root: Path) -> str:
    """The Markdown page of a checkout's commands."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = pool.map(lambda command: _section(root, command), commands(root))
        return "\n\n".join([INTRODUCTION, *parts]) + "\n"


def _section(root: Path, command: str) -> str:
    said = said_help(root, command)
    parts = [f"## `python -m {command}`", f"```text\n{said}\n```"]
    choices = re.search(r"\{([\w,]+)\} \.\.\.", said)
    for choice in choices[1].split(",") if choices else ():
        said = said_help(root, command, choice)
        parts += [f"### `python -m {command} {choice}`", f"```text\n{said}\n```"]
    return "\n\n".join(parts)


def said_help(root: Path, command: str, *arguments: str) -> str:
    """What a command prints with `--help`.

    Raises:
        RuntimeError: it fails.
    """
    line = [sys.executable, "-m", command, *arguments, "--help"]
    active = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {
        **os.environ,
        "COLUMNS": "88",
        "NO_COLOR": "1",
        "PATH": active,  # as in an active environment, so that commands call it `python`
        "PYTHONPATH": str(root / "src"),
    }
    done = subprocess.run(line, cwd=root, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(line)} failed:\n{done.stderr}")
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())
