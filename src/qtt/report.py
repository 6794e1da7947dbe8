"""`python -m qtt.report`: what a search found, or several, as one HTML file that needs no other.

python -m qtt.report RUN_DIR               a search, also one that is still running or was killed
python -m qtt.report RUN_A RUN_B …         a comparison
python -m qtt.report SWEEP_DIR             the same of all run folders below
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from qtt.cli.interrupts import interruptible
from qtt.cli.invocation import command_for, python_command
from qtt.cli.messages import errors_for_people
from qtt.data.library_caches import keep_library_caches
from qtt.reporting.comparison import common_folder, find_runs
from qtt.reporting.comparison_page import comparison_report
from qtt.reporting.run_page import run_report
from qtt.reporting.run_view import RunView


@interruptible()
def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog=command_for("report"), description="Write a report of a search, or compare several."
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN_DIR", help="run folders, or folders of run folders"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="the HTML file (default: report.html in the run folder; of several, compare.html beside them)",
    )
    parser.add_argument(
        "--figures",
        type=Path,
        metavar="DIR",
        help="where to put the figures as PNG and SVG (default: figures beside the default HTML file)",
    )
    parser.add_argument("--data", type=Path, help="where the dataset is now (default: where it was)")
    options = parser.parse_args(arguments)
    console = Console(highlight=False)
    keep_library_caches()
    with errors_for_people("--out FILE --figures DIR"):
        _write(options, console)
    return 0


def _write(options: argparse.Namespace, console: Console) -> None:
    views = [RunView.load(path, options.data) for path in find_runs(options.runs)]
    with console.status("reading") as status:
        if len(views) == 1:
            home, name = views[0].record.path, "report.html"
            report = run_report(views[0], status.update)
        else:
            home, name = common_folder([view.record.path for view in views], options.runs), "compare.html"
            report = comparison_report(views)
    out = options.out or home / name
    figures = options.figures or home / "figures"
    report.write(out, figures)
    lines = [f"The report is {out}"]
    if report.charts:
        lines.append(f"Its {len(report.charts)} figures, as PNG and SVG, are in {figures}")
    lines.append(f"To look at it: {python_command()} -m webbrowser {out.absolute().as_uri()}")
    for line in lines:
        console.print(line, soft_wrap=True, markup=False)


if __name__ == "__main__":
    sys.exit(main())
