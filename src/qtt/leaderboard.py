"""`python -m qtt.leaderboard RUN_DIR TEST_DIR`: every network that a search kept, on new labelled images.

python -m qtt.leaderboard runs/quickstart/default path/to/test --csv leaderboard.csv
"""

import argparse
import shlex
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from qtt.cli.common import INTERRUPTED, errors_for_people, python_command
from qtt.runs.record import RunRecord
from qtt.support.console_tables import frame_table, say, wide_console

FORMATS = {
    "validation": ".4f",
    "log_loss": ".4f",
    "calibration_error": ".4f",
    "images_per_second": ".0f",
    "parameters": ".2f",
    **{f"top{k}": ".4f" for k in range(1, 6)},
}
HEADS = {
    "log_loss": "log loss",
    "calibration_error": "ECE",
    "images_per_second": "images/s",
    "parameters": "params (M)",
    **{f"top{k}": f"top-{k}" for k in range(1, 6)},
}
HIDDEN = ["config_id", "images"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    options = _parser().parse_args(arguments)
    console = wide_console()
    with errors_for_people():
        record = RunRecord.load(options.run_dir)
        try:
            with warnings.catch_warnings(action="ignore"):  # Pillow's, about metadata and large images
                table, images, notes = _evaluate(record, options, console)
        except KeyboardInterrupt:
            console.print("Interrupted.")
            return INTERRUPTED
    shown = table.drop(columns=HIDDEN).rename(columns=HEADS)
    formats = {HEADS.get(name, name): form for name, form in FORMATS.items()}
    console.print(frame_table(shown, formats, f"{len(table)} networks on {images} images"))
    console.print(
        "ECE: expected calibration error, 15 bins. images/s: of the network here, decoding not counted.\n"
        "These figures chose nothing; a choice by them would need other images to be judged.",
        soft_wrap=True,
    )
    for note in notes:
        say(console, note)
    if options.csv is not None:
        options.csv.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(options.csv, index=False)
        say(console, f"The table is in {options.csv}")
    run_dir = shlex.quote(str(options.run_dir))
    say(console, f"To use the network that validation chose: {python_command()} -m qtt.export {run_dir}")
    return 0


def _evaluate(
    record: RunRecord, options: argparse.Namespace, console: Console
) -> tuple[pd.DataFrame, int, list[str]]:
    from qtt.finetune.cv.classification.leaderboard import leaderboard

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=None)
        found = leaderboard(
            record,
            options.test_dir,
            ignore_unknown=options.ignore_unknown,
            device=options.device,
            watch=lambda name, done, images: progress.update(
                bar, description=name, completed=done, total=images
            ),
        )
    return found.table, found.images, found.notes


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m qtt.leaderboard",
        description="Evaluate every network that a search kept on new labelled images.",
    )
    parser.add_argument("run_dir", type=Path, help="folder of the search")
    parser.add_argument(
        "test_dir", type=Path, help="folder of class folders, or one with such a folder 'test'"
    )
    parser.add_argument("--csv", type=Path, help="also write the table to this file")
    parser.add_argument(
        "--ignore-unknown", action="store_true", help="leave out classes that the search does not know"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    return parser


if __name__ == "__main__":
    sys.exit(main())
