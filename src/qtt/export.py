"""`python -m qtt.export RUN_DIR`: a network of a search as files that need no qtt.

python -m qtt.export runs/quickstart/default --out my-classifier
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from qtt.cli.interrupts import interruptible
from qtt.cli.invocation import command_for
from qtt.cli.messages import errors_for_people
from qtt.runs.record import RunRecord
from qtt.support.console_tables import say
from qtt.tasks.contract import Task
from qtt.tasks.registry import IMAGES, load_task, task_of


@interruptible()
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    console = Console(highlight=False)
    with errors_for_people("--out DIR"):
        options = _parse(sys.argv[1:] if arguments is None else list(arguments))
        run_dir, out, which = (options.pop(name) for name in ("run_dir", "out", "model"))
        record = RunRecord.load(run_dir, options.pop("data"))
        with console.status("Writing and checking"):
            done = task_of(record).export(record, out, model=which, **options)
    kept = done.model
    model = f"{kept.config['model']}, " if "model" in kept.config else ""
    say(console, f"Pipeline #{kept.config_id}: {model}epoch {kept.fidelity}, validation {kept.score:.4f}")
    for line in done.told:
        say(console, line)
    say(console, f"Files and model card (README.md) are in {done.folder}")
    if done.use:
        say(console, done.use)
    return 0


def _parse(arguments: list[str]) -> dict[str, Any]:
    """Options by name; those that the run's task takes are known once its folder is."""
    named = [Path(argument) for argument in arguments if not argument.startswith("-")]
    runs = [path for path in named if (path / "candidates.json").is_file()]
    task = task_of(RunRecord.load(runs[0])) if runs else load_task(IMAGES)
    return vars(_parser(task).parse_args(arguments))


def _parser(task: Task) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=command_for("export"),
        description="Write a network of a search as files that need no qtt, with a model card; of images a "
        "timm checkpoint and ONNX. Each is compared with the network on validation data.",
    )
    parser.add_argument("run_dir", type=Path, help="folder of the search")
    parser.add_argument("--model", default="best", help="best (in validation), incumbent, or a pipeline's id")
    parser.add_argument("--out", type=Path, help="folder to write to (default: export in that of the search)")
    parser.add_argument("--data", type=Path, help="where the dataset is now (default: where it was)")
    task.export_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
