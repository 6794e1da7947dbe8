"""`python -m qtt.curves.summary DIR`: what a curve table holds, dataset by dataset."""

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from qtt.curves.manifest import ALL_EPOCHS
from qtt.curves.schema import STATUSES
from qtt.curves.table import CurveTable
from qtt.errors import QTTError


def main(arguments: Sequence[str] | None = None) -> int:
    """Show the table that the command line names; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m qtt.curves.summary", description=__doc__)
    parser.add_argument("folder", help="a curve table")
    parser.add_argument("--check", action="store_true", help="check every value as well")
    options = parser.parse_args(arguments)
    try:
        table = CurveTable.load(options.folder)
        if options.check:
            table.check()
    except QTTError as error:
        Console(stderr=True, highlight=False).print(Text(f"Error: {error}"), soft_wrap=True)
        return 1
    print_summary(table, Console(highlight=False))
    return 0


def print_summary(table: CurveTable, console: Console) -> None:
    """One line that says all, and below it, in terminals, one per dataset."""
    manifest = table.manifest
    counts = manifest.counts
    statuses = ", ".join(f"{counts[status]:,} {status}" for status in STATUSES)
    rows = f"{counts['epochs']:,} epochs" if manifest.epochs == ALL_EPOCHS else "last epochs only"
    console.print(
        Text(
            f"{table.folder}: {counts['datasets']} datasets, {counts['runs']:,} runs ({statuses}), "
            f"{rows}, {manifest.seconds / 3600:,.1f} hours"
        ),
        soft_wrap=True,
    )
    if console.is_terminal:
        console.print(summary_table(table))


def summary_table(table: CurveTable) -> Table:
    """Runs by status, epochs, hours and best score of every dataset; unusable runs only in their column."""
    shown = Table()
    shown.add_column("dataset", no_wrap=True)
    for column in ("set", *STATUSES, "epochs", "hours", "best score"):
        shown.add_column(column, justify="right")
    groups = table.read("datasets").set_index("dataset")["set"]
    for name in table.datasets:
        statuses = table.read("runs", name).set_index("run_id")["status"].astype(str)
        points = table.read("curves", name)
        points = points[points["run_id"].map(statuses).astype(str) != "unusable"]
        shown.add_row(
            name,
            groups[name] if isinstance(groups[name], str) else "",
            *(str((statuses == status).sum()) for status in STATUSES),
            f"{len(points):,}",
            f"{points['seconds'].sum() / 3600:,.1f}",
            f"{points['score'].max():.3f}" if len(points) else "",
        )
    return shown


if __name__ == "__main__":
    sys.exit(main())
