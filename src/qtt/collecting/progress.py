"""How far a collection is, and when it will end: a bar in terminals, lines in the log everywhere."""

import logging
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from qtt.collecting.record import ENDS
from qtt.collecting.runs import Run
from qtt.curves.schema import FAILED
from qtt.types import Result

logger = logging.getLogger("qtt")

_DAY = 86_400.0


class ProgressWatcher:
    """A `Watcher` that shows epochs and runs done, and the expected end; quiet where there is no terminal.

    runs: those that are to be trained now.
    """

    def __init__(self, console: Console, runs: Sequence[Run], epochs: int) -> None:
        self._total = sum(run.last(epochs) - run.record.epochs for run in runs)
        self._left = self._total
        self._runs = len(runs)
        self._trained = 0
        self._ends: Counter[str] = Counter()
        self._begin = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.fields[runs]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("epochs, {task.fields[end]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("", total=self._total, runs="", end="")

    def __enter__(self) -> Self:
        self._show()
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def preparing(self, what: str) -> None:
        """Show what is done before the first run; empty: it is over."""
        logger.info("%s", what or "ready")
        if what:
            self._progress.update(self._task, runs=what)
        else:
            self._show()

    def epoch(self, run: Run, result: Result) -> None:
        """See `Watcher.epoch`."""
        self._trained += 1
        self._left -= 1
        self._show()

    def ended(self, run: Run, end: str, epochs_saved: int) -> None:
        """See `Watcher.ended`."""
        self._ends[end] += 1
        self._left -= epochs_saved
        self._show()
        logger.info("%s; %s", self._counts(), self._expected_end())

    def waiting(self, run: Run, fault: str, seconds: float) -> None:
        """See `Watcher.waiting`."""
        told = Text.assemble((f"Waiting {seconds:.0f} s: ", "yellow"), f"{run.name}: {fault}")
        self._progress.console.print(told, soft_wrap=True)

    def _show(self) -> None:
        self._progress.update(
            self._task,
            completed=self._total - self._left,
            runs=self._counts(),
            end=self._expected_end(),
        )

    def _counts(self) -> str:
        failed = f", {self._ends[FAILED]} failed" if self._ends[FAILED] else ""
        return f"{self._ends.total()}/{self._runs} runs{failed}"

    def _expected_end(self) -> str:
        return expected_end(self._left, self._trained, time.monotonic() - self._begin, datetime.now())


def expected_end(left: int, trained: int, seconds: float, now: datetime) -> str:
    """In words, from the epochs left and the pace so far; runs that may yet fail count as whole."""
    if left <= 0:
        return "done"
    if not trained:
        return "expected end not known yet"
    remaining = left * seconds / trained
    end = now + timedelta(seconds=remaining)
    return f"expected end {end:%H:%M}" if remaining < _DAY else f"expected end {end:%Y-%m-%d %H:%M}"


def overview(runs: Sequence[Run], epochs: int) -> Table:
    """One row a dataset: how many runs ended how, what was recorded, the best score."""
    table = Table("dataset", "runs", *ENDS, "open", "epochs", "hours", "best score")
    rows: dict[str, list[Run]] = {}
    for run in runs:
        rows.setdefault(run.plan.name, []).append(run)
    for name, found in rows.items():
        table.add_row(name, *_cells(found, epochs))
    if len(rows) > 1:
        table.add_section()
        table.add_row("all", *_cells(runs, epochs)[:-1])
    return table


def _cells(runs: Sequence[Run], epochs: int) -> list[str]:
    ends = Counter(run.end(epochs) for run in runs)
    found = [run.record for run in runs]
    scores = [record.best for record in found if record.epochs]
    return [
        str(len(found)),
        *(str(ends[end]) for end in ENDS),
        str(ends[None]),
        str(sum(len(record.curve) for record in found)),
        f"{sum(record.seconds for record in found) / 3600:.2f}",
        f"{max(scores):.4f}" if scores else "",
    ]
