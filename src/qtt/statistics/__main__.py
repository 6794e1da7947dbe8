"""`python -m qtt.statistics RUN_DIR`: the evaluated pipelines of a search, best first.

python -m qtt.statistics runs/quickstart/default --csv pipelines.csv
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.text import Text

from qtt.cli.interrupts import interruptible
from qtt.cli.invocation import command_for
from qtt.cli.messages import errors_for_people
from qtt.runs.record import RunRecord
from qtt.statistics import HEADLINE, pipeline_table
from qtt.statistics.certainty import TIE, legend
from qtt.statistics.fronts import COSTS, front
from qtt.support.console_tables import frame_table, wide_console
from qtt.support.plain_text import cells

FORMATS = {
    "config_id": "d",
    "score": ".4f",
    "±": ".4f",
    "": "",
    "epoch": "d",
    "epochs": "d",
    "seconds": ".1f",
}
FRONT_FORMATS = {
    "config_id": "d",
    "score": ".4f",
    "params": ",.0f",
    "latency_ms": ".3g",
    "seconds": ".2f",
}
FIXED_WIDTH, COLUMN_WIDTH = 89, 14
"""Columns of text that the table needs at least, and for each hyperparameter."""


@interruptible()
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog=command_for("statistics"), description="The evaluated pipelines of a search, best first."
    )
    parser.add_argument("run_dir", type=Path, help="folder of the search")
    parser.add_argument("--top", type=int, metavar="N", help="show this many pipelines alone")
    parser.add_argument(
        "--front", choices=COSTS, help="show the pipelines alone that no other beats in score and this cost"
    )
    parser.add_argument("--csv", type=Path, help="also write all pipelines and hyperparameters to this file")
    options = parser.parse_args(arguments)
    console = wide_console()
    with errors_for_people():
        record = RunRecord.load(options.run_dir)
        frame = pipeline_table(record.history, record.candidates)
        points = None if options.front is None else front(record, options.front)
    failed = len(record.history.failed)
    if points is None:
        shown = _shown(frame, console.width).head(options.top)
        title = f"Best {len(shown)} of {len(frame)} pipelines, {record.elapsed:.0f} s"
        console.print(frame_table(shown, FORMATS, title))
    else:
        title = f"Front of score and {options.front}, {len(frame)} pipelines"
        console.print(frame_table(points.head(options.top), FRONT_FORMATS, title))
    if told := legend(record.history, record.task.metric):
        console.print(Text(told), soft_wrap=True)
    if failed:
        console.print(f"{failed} pipelines failed; {record.path / 'search.log'} says why.", soft_wrap=True)
    if options.csv is not None:
        options.csv.parent.mkdir(parents=True, exist_ok=True)
        cells(frame).to_csv(options.csv, index=False)
        console.print(Text(f"All of it is in {options.csv}"), soft_wrap=True)
    next_command = f"{command_for('finetune')} {shlex.quote(str(options.run_dir))}"
    console.print(Text(f"To train the best to their ends: {next_command}"), soft_wrap=True)
    return 0


def _shown(frame: pd.DataFrame, width: int) -> pd.DataFrame:
    """As many hyperparameters as there is room for, those first that say most."""
    room = max(0, (width - FIXED_WIDTH) // COLUMN_WIDTH)
    names = [name for name in ("model", *HEADLINE[:room]) if name in frame]
    if "stderr" in frame:
        tied = frame["tie"] & (frame.index > 0)
        frame = frame.rename(columns={"stderr": "±"}).assign(**{"": tied.map({True: TIE, False: " "})})
    return frame[[name for name in (*FORMATS, *names) if name in frame]]


if __name__ == "__main__":
    sys.exit(main())
