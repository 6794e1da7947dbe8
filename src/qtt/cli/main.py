"""`qtt`, and `python -m qtt`: all commands under one name.

qtt run +experiment=quickstart
qtt report runs/quickstart/default

`qtt NAME …` does exactly what `python -m qtt.NAME …` does, and imports nothing but that command.
"""

import sys
from importlib import import_module
from pathlib import Path

from qtt import __version__
from qtt.cli.commands import COMMANDS, GROUPS

HELP = ("--help", "-h", "help")
VERSION = ("--version", "-V")
FIRST = "run +experiment=quickstart"
"""What to type first: two minutes, and nothing to download."""


def main() -> int | None:
    """Entry point; returns the exit status of the command that `sys.argv` names, 2 where it names none."""
    word = sys.argv[1] if len(sys.argv) > 1 else HELP[0]
    if word in HELP:
        return _show_commands()
    if word in VERSION:
        print(f"qtt {__version__}")  # noqa: T201 - rich would take a tenth of a second
        return 0
    if word not in COMMANDS:
        return _explain(word)
    del sys.argv[1]
    if not sys.flags.safe_path:
        sys.path[0] = str(Path.cwd())  # where `python -m` looks too: modules of the user's own
    status: int | None = import_module(COMMANDS[word].module).main()
    return status


def _show_commands() -> int:
    from rich.console import Console
    from rich.text import Text

    from qtt.cli.invocation import program

    called = program()
    width = max(len(f"{command.name} {command.use}") for command in COMMANDS.values())
    lines = [
        Text.assemble(("qtt", "bold"), ": which pretrained model should I finetune, and how?"),
        Text(),
        Text.assemble("First: ", (f"{called} {FIRST}", "bold green"), "   two minutes, nothing to download"),
    ]
    for title, commands in GROUPS.items():
        lines += [Text(), Text(title, style="bold")]
        for command in commands:
            space = " " * (width - len(f"{command.name} {command.use}"))
            use = (f" {command.use}{space}", "dim")
            lines.append(Text.assemble("  ", (command.name, "cyan"), use, "   ", command.summary))
    lines += [Text(), Text(f"More about one: {called} NAME --help   Which version: {called} --version")]
    console = Console(highlight=False)
    for line in lines:
        console.print(line, soft_wrap=True)
    return 0


def _explain(word: str) -> int:
    """Say what is wrong with a command that there is not; its exit status."""
    from qtt.cli.invocation import program
    from qtt.cli.messages import MISUSED, fail
    from qtt.errors import unknown

    called = program()
    if "=" in word or word.startswith("+"):
        fail(f"{word} comes after a command: {called} run {word}", MISUSED)
    fail(f"{unknown('command', word, COMMANDS)} All of them: {called} --help", MISUSED)
