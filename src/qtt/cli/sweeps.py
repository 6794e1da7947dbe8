"""Searches one after another (`-m`): each has its outcome, a bad one ends none of the others."""

import shlex
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from qtt.cli.interrupts import INTERRUPTED
from qtt.cli.invocation import command_for, typed_arguments
from qtt.cli.messages import Failure

NAMED = 4
"""More folders than these are named by the folder that all lie in."""


@dataclass(frozen=True)
class Outcome:
    """How a search ended: its exit status, and in words what it found or why it found nothing."""

    status: int
    words: str


@dataclass(frozen=True)
class Job:
    """One search of a sweep: the overrides that others do not share, its run folder, and how it ended."""

    overrides: str
    folder: Path
    outcome: Outcome


class Sweep:
    """Runs searches, keeps what became of them, and tells in the end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._jobs: list[Job] = []

    def run(self, overrides: Sequence[str], folder: Path, search: Callable[[], Outcome]) -> None:
        """Run a search; whatever it raises is told and becomes its outcome.

        Raises:
            KeyboardInterrupt: it was interrupted, and with it the sweep.
        """
        own = [override for override in overrides if override not in sys.argv]
        words = shlex.join(own or overrides) or "as configured"
        self._console.print(Text(f"Search {len(self._jobs) + 1} of the sweep: {words}", style="bold"))
        try:
            outcome = search()
        except Failure as failure:
            outcome = Outcome(failure.status, failure.reason)
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            outcome = Outcome(1, f"{type(error).__name__}: {error}")
        except KeyboardInterrupt:
            outcome = Outcome(INTERRUPTED, "interrupted")
        self._jobs.append(Job(words, folder, outcome))
        if outcome.status == INTERRUPTED:
            raise KeyboardInterrupt

    @property
    def status(self) -> int:
        """Exit status of the whole: 0 where all searches ended well, else that of the first which did not."""
        return next((job.outcome.status for job in self._jobs if job.outcome.status), 0)

    def show(self) -> None:
        """Print all searches as a table, and the next command to type; nothing where there were none."""
        if not self._jobs:
            return
        table = Table(title="The sweep", title_justify="left", show_lines=True)
        for name in ("search", "outcome", "run folder"):
            table.add_column(name, overflow="fold")
        for job in self._jobs:
            style = "red" if job.outcome.status else ""
            first = job.outcome.words.partition("\n")[0]
            table.add_row(Text(job.overrides), Text(first, style=style), Text(str(job.folder)))
        self._console.print(table)
        for line in self._next():
            self._console.print(Text(line), soft_wrap=True)

    def _next(self) -> list[str]:
        """What to type next."""
        good = [job.folder for job in self._jobs if not job.outcome.status]
        bad = len(self._jobs) - len(good)
        lines = []
        if bad:
            again = shlex.join(typed_arguments())
            lines.append(
                f"{bad} of {len(self._jobs)} did not end well. To go on: {command_for('run')} {again}"
            )
        if good:
            together = len(good) > NAMED and len({folder.parent for folder in good}) == 1
            named = [good[0].parent] if together else good
            lines.append(f"To see them: {command_for('report')} {shlex.join(map(str, named))}")
        return lines
