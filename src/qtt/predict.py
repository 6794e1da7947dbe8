"""`python -m qtt.predict RUN_DIR FILES`: what a network that a search kept says of new examples.

python -m qtt.predict runs/quickstart/default photos --out predictions.csv --top 3
"""

import argparse
import shlex
import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from qtt.cli.interrupts import INTERRUPTED, interruptible
from qtt.cli.invocation import command_for
from qtt.cli.messages import errors_for_people
from qtt.errors import ConfigError
from qtt.runs.record import RunRecord
from qtt.support.console_tables import positive_count, say
from qtt.support.plain_text import cells
from qtt.tasks.registry import task_of

if TYPE_CHECKING:
    from qtt.tasks.contract import LeftOut, Predictor

UNREADABLE = 3
"""Exit status when examples were left out because they cannot be read."""


@interruptible()
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status: 0, 1 after an error, 3 where examples were left out."""
    options = _parser().parse_args(arguments)
    console = Console(highlight=False)
    with errors_for_people("--out FILE"):
        _check_places(options)
        record = RunRecord.load(options.run_dir)
        task = task_of(record)
        predictor = task.predictor(record.kept_model(options.model), record, options.device)
        if options.top > max(1, len(predictor.class_names)):
            raise ConfigError(f"--top {options.top}: there are {len(predictor.class_names)} classes.")
        examples = predictor.examples(options.files)
        kept = predictor.kept
        model = f"{kept.config['model']}, " if "model" in kept.config else ""
        described = f"{model}epoch {kept.fidelity}, validation {kept.score:.4f}"
        say(console, f"{len(examples)} {task.examples}, pipeline #{kept.config_id} ({described})")
        with warnings.catch_warnings(action="ignore"):  # Pillow's, about metadata and large images
            done = _predict(predictor, examples, options, console)
    return _report(done, task.examples, len(examples), options, console)


@dataclass
class _Done:
    """How far it came; rows are in the file as soon as their batch is."""

    examples: int = 0
    unreadable: "list[LeftOut]" = field(default_factory=list)
    interrupted: bool = False


def _predict(
    predictor: "Predictor", examples: Sequence[Any], options: argparse.Namespace, console: Console
) -> _Done:
    done = _Done()
    unfinished = options.out.with_name(f".{options.out.name}.tmp")
    bar = Progress(
        TextColumn("predicting"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with unfinished.open("w", encoding="utf-8", newline="") as file, bar:
        task = bar.add_task("", total=len(examples))
        try:
            for part in predictor.stream(examples, skip_unreadable=True):
                first = file.tell() == 0
                cells(part.to_frame(options.top)).to_csv(file, index=False, header=first, float_format="%.6f")
                file.flush()
                done.examples += len(part)
                done.unreadable += part.unreadable
                bar.update(task, completed=done.examples + len(done.unreadable))
        except KeyboardInterrupt:
            done.interrupted = True
    if done.examples:
        unfinished.replace(options.out)
    else:
        unfinished.unlink()
    return done


def _check_places(options: argparse.Namespace) -> None:
    """See whether all that was named is there, and the file can be written, before a network is loaded.

    Raises:
        ConfigError: something is not there.
        OSError: the folder of the file cannot be made or written to.
    """
    missing = [str(file) for file in options.files if not file.exists()]
    if missing:
        raise ConfigError(f"There is no file or folder {', '.join(missing)}.")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=options.out.parent):
        pass


def _report(done: _Done, examples: str, total: int, options: argparse.Namespace, console: Console) -> int:
    errors = Console(stderr=True, highlight=False)
    for left_out in done.unreadable:
        say(errors, left_out.reason)
    if done.interrupted:
        console.print(f"Interrupted after {done.examples + len(done.unreadable)} of {total} {examples}.")
    if done.unreadable:
        console.print(f"{len(done.unreadable)} of {total} {examples} cannot be read and are left out.")
    if not done.examples:
        say(console, f"There are no predictions, and {options.out} is not written.")
        return INTERRUPTED if done.interrupted else UNREADABLE
    say(console, f"Predictions of {done.examples} {examples} are in {options.out}")
    command = f"{command_for('leaderboard')} {shlex.quote(str(options.run_dir))} TEST_DIR"
    say(console, f"To see how good they are, on labelled {examples}: {command}")
    if done.interrupted:
        return INTERRUPTED
    return UNREADABLE if done.unreadable else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=command_for("predict"),
        description="Write down what a network that a search kept says of new examples. Exit status: 0, 1 "
        "after an error, 3 where examples were left out because they cannot be read.",
    )
    parser.add_argument("run_dir", type=Path, help="folder of the search")
    parser.add_argument(
        "files",
        type=Path,
        nargs="+",
        help="folders (all images below them) and image files of any kind; for searches on other data what "
        "their task takes",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("predictions.csv"), help="file to write (default: predictions.csv)"
    )
    parser.add_argument("--model", default="best", help="best (in validation), incumbent, or a pipeline's id")
    parser.add_argument(
        "--top", type=positive_count, default=1, help="most probable classes to write (default: 1)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
