"""`python -m qtt.leaderboard RUN_DIR TEST`: every network that a search kept, on new labelled examples.

python -m qtt.leaderboard runs/quickstart/default path/to/test --csv leaderboard.csv
"""

import argparse
import shlex
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from qtt.cli.interrupts import INTERRUPTED, interruptible
from qtt.cli.invocation import command_for
from qtt.cli.messages import errors_for_people
from qtt.runs.record import RunRecord
from qtt.support.console_tables import frame_table, say, wide_console
from qtt.support.plain_text import cells
from qtt.tasks.contract import Scoreboard, Task
from qtt.tasks.registry import task_of

if TYPE_CHECKING:
    import pandas as pd


CLASSES = 12
"""Rows of the table of classes."""

CLASS_FORMATS = {"examples": "d", "recall": ".4f", "precision": ".4f"}


@interruptible()
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    options = _parser().parse_args(arguments)
    console = wide_console()
    with errors_for_people():
        record = RunRecord.load(options.run_dir)
        task = task_of(record)
        try:
            with warnings.catch_warnings(action="ignore"):  # Pillow's, about metadata and large images
                found = _evaluate(task, record, options, console)
        except KeyboardInterrupt:
            console.print("Interrupted.")
            return INTERRUPTED
    table, columns = found.table, found.columns
    shown = table[list(columns)].rename(columns={name: column.head for name, column in columns.items()})
    formats = {column.head: column.form for column in columns.values() if column.form}
    console.print(frame_table(shown, formats, f"{len(table)} networks on {found.examples} {task.examples}"))
    if found.legend:
        say(console, found.legend)
    if found.by_class is not None:
        _show_classes(found.by_class, console)
    if found.seen:
        say(
            console,
            f"{found.seen} of these {task.examples} trained the networks or chose among them: figures of "
            "such flatter, and say little of others.",
        )
    else:
        chose = (
            f"These figures chose nothing; a choice by them would need other {task.examples} to be judged."
        )
        say(console, chose)
    for note in found.notes:
        say(console, note)
    if options.csv is not None:
        with errors_for_people("--csv FILE"):
            options.csv.parent.mkdir(parents=True, exist_ok=True)
            cells(table).to_csv(options.csv, index=False)
        say(console, f"The table is in {options.csv}")
    run_dir = shlex.quote(str(options.run_dir))
    say(console, f"To use the network that validation chose: {command_for('export')} {run_dir}")
    return 0


def _show_classes(classes: "pd.DataFrame", console: Console) -> None:
    """Recall by class, the lowest first."""
    shown = classes.head(CLASSES)
    title = "Classes by recall, the lowest first, of the network that validation chose"
    title += f": {len(shown)} of {len(classes)}" if len(shown) < len(classes) else ""
    heads = {name: name.replace("_", " ") for name in shown}
    console.print(frame_table(shown.rename(columns=heads), CLASS_FORMATS, title))


def _evaluate(task: Task, record: RunRecord, options: argparse.Namespace, console: Console) -> Scoreboard:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=None)
        return task.leaderboard(
            record,
            options.test,
            ignore_unknown=options.ignore_unknown,
            device=options.device,
            watch=lambda name, done, total: progress.update(
                bar, description=name, completed=done, total=total
            ),
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=command_for("leaderboard"),
        description="Evaluate every network that a search kept on new labelled examples.",
    )
    parser.add_argument("run_dir", type=Path, help="folder of the search")
    parser.add_argument(
        "test",
        type=Path,
        help="folder of class folders, or one with such a folder 'test'; for searches on other data what "
        "their task takes",
    )
    parser.add_argument("--csv", type=Path, help="also write the table to this file")
    parser.add_argument(
        "--ignore-unknown", action="store_true", help="leave out classes that the search does not know"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
