"""`python -m qtt.finetune RUN_DIR`: train the best pipelines of a search to the end of their schedules.

python -m qtt.finetune runs/quickstart/default --k 3 --budget 600
python -m qtt.finetune runs/quickstart/default --k 1 --prefer params --within 0.01
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from qtt.cli.interrupts import INTERRUPTED, TO_GO_ON, interruptible
from qtt.cli.invocation import command_for
from qtt.cli.kinds import BUDGET
from qtt.cli.messages import errors_for_people, stop_as_by_ctrl_c
from qtt.runs.record import RunRecord
from qtt.search.final_training import kept_table
from qtt.search.tuner import QuickTuner
from qtt.statistics.fronts import COSTS
from qtt.support.console_tables import frame_table, positive_count, say, wide_console
from qtt.support.files import write_json
from qtt.support.functions import function_named
from qtt.tasks.registry import task_name, task_of

FORMATS = {"config_id": "d", "score": ".4f", "epoch": "d", "searched": ".4f"}


@interruptible(TO_GO_ON)
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    options = _parser().parse_args(arguments)
    console = wide_console()
    stop_as_by_ctrl_c()
    with errors_for_people():
        objective = options.objective and function_named(options.objective, "--objective")
        tuner = QuickTuner.load(options.run_dir, objective, data=options.data)
        try:
            tuner.finetune(
                options.k,
                options.budget,
                pipelines=options.pipelines,
                prefer=options.prefer,
                within=options.within,
                console=console,
            )
        except KeyboardInterrupt:
            console.print("Interrupted; everything finished is kept.")
            again = shlex.join(sys.argv[1:] if arguments is None else list(arguments))
            say(console, f"To go on: {command_for('finetune')} {again}")
            return INTERRUPTED
        _show(tuner.record(), options.run_dir, console)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=command_for("finetune"),
        description="Train the best pipelines of a search to the end of their schedules, from their "
        "checkpoints, and keep each one's best epoch. The same command goes on where it was interrupted.",
    )
    parser.add_argument("run_dir", type=Path, help="folder of the search")
    parser.add_argument("--k", type=positive_count, default=3, help="how many, the best first (default: 3)")
    parser.add_argument(
        "--prefer", choices=COSTS, help="the cheapest pipelines of the front in place of the best"
    )
    parser.add_argument(
        "--within", type=float, default=0.01, help="with --prefer: how far below the best (default: 0.01)"
    )
    parser.add_argument(
        "--budget", type=_seconds, help="seconds for all of them together (default: no limit)"
    )
    parser.add_argument("--data", type=Path, help="where the dataset is now (default: where it was)")
    parser.add_argument(
        "--pipelines", type=int, nargs="+", metavar="ID", help="these pipelines in place of the best"
    )
    parser.add_argument(
        "--objective",
        metavar="MODULE:FUNCTION",
        help="what to train with, where the search had a function of its own; it is imported and called",
    )
    return parser


def _seconds(text: str) -> float:
    try:
        return float(BUDGET.read(text) or 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}': expected {BUDGET.expected}") from None


def _show(record: RunRecord, run_dir: Path, console: Console) -> None:
    """The kept networks, the test accuracy of the best, and what to do with them."""
    table = kept_table(record).drop(columns="folder")
    console.print(frame_table(table, FORMATS, f"{len(table)} kept networks"))
    best = record.best_model()
    if task_name(record) is not None and record.task.path.exists():
        figures = task_of(record).evaluate(best, record.task)
        write_json(best.folder / "test.json", figures)
        for name, value in figures.items():
            console.print(Text(f"{name} of {best.name}: {value:.4f}", style="bold"))
    say(console, f"Networks are in {record.path}")
    where = shlex.quote(str(run_dir))
    say(console, f"To use it on new data: {command_for('predict')} {where} FILES")
    say(console, f"To use the best elsewhere: {command_for('export')} {where}")


if __name__ == "__main__":
    sys.exit(main())
