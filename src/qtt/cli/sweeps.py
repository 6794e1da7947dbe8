"""Searches of a sweep (`-m`): each has its outcome, a bad one ends none of the others.

They run one after another in this process, or as jobs of a cluster, each in a process of its own that leaves
its outcome in a file for the one that submitted it; see `qtt.cli.jobs`.
"""

import shlex
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.table import Table
from rich.text import Text

from qtt.cli.interrupts import INTERRUPTED
from qtt.cli.invocation import command_for, typed_arguments
from qtt.cli.messages import Failure
from qtt.support.console_tables import wide_console
from qtt.support.files import read_object, write_json

NAMED = 4
"""More folders than these are named by the folder that all lie in."""


@dataclass(frozen=True)
class Outcome:
    """How a search ended: its exit status, and in words what it found or why it found nothing."""

    status: int
    words: str


@dataclass(frozen=True)
class Job:
    """One search of a sweep: its overrides, its run folder, and how it ended."""

    overrides: tuple[str, ...]
    folder: Path
    outcome: Outcome

    @property
    def own(self) -> str:
        """The overrides that not all searches of the sweep share."""
        own = [override for override in self.overrides if override not in sys.argv]
        return shlex.join(own or self.overrides) or "as configured"

    def to_dict(self) -> dict[str, Any]:
        """What a file holds of it."""
        words, status = self.outcome.words, self.outcome.status
        overrides = list(self.overrides)
        return {"overrides": overrides, "folder": str(self.folder), "status": status, "words": words}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Inverse of `to_dict`."""
        outcome = Outcome(int(data["status"]), str(data["words"]))
        return cls(tuple(map(str, data["overrides"])), Path(data["folder"]), outcome)


class Sweep:
    """Runs searches, keeps what became of them, and tells in the end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._jobs: list[Job] = []
        self._left: Path | None = None
        self._leave: Path | None = None

    def expect_outcomes_in(self, folder: Path) -> None:
        """The searches are jobs, which leave their outcomes in files of this folder."""
        self._left = folder

    def leave_outcome_in(self, file: Path) -> None:
        """This process is one job of the sweep, and another one tells of all: leave the outcome for it."""
        self._leave = file

    def run(self, overrides: Sequence[str], folder: Path, search: Callable[[], Outcome]) -> None:
        """Run a search; whatever it raises is told and becomes its outcome.

        Raises:
            KeyboardInterrupt: it was interrupted, and with it the sweep, if that runs in this process.
        """
        job = Job(tuple(overrides), folder, Outcome(INTERRUPTED, "interrupted"))
        number = f"Search {len(self._jobs) + 1}" if self._leave is None else "A search"
        self._console.print(Text(f"{number} of the sweep: {job.own}", style="bold"))
        job = Job(job.overrides, folder, _outcome(search))
        if self._leave is not None:
            self._leave.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._leave, job.to_dict())
            return
        self._jobs.append(job)
        if job.outcome.status == INTERRUPTED:
            raise KeyboardInterrupt

    @property
    def status(self) -> int:
        """Exit status of the whole: 0 where all searches ended well, else that of the first which did not."""
        return next((job.outcome.status for job in self._jobs if job.outcome.status), 0)

    def end(self) -> None:
        """Take in the outcomes of jobs, and print all searches as a table; nothing where there were none."""
        if self._left is not None:
            self._jobs += [Job.from_dict(read_object(file)) for file in sorted(self._left.glob("*.json"))]
            shutil.rmtree(self._left, ignore_errors=True)
        self._show()

    def _show(self) -> None:
        """Print all searches as a table, and the next command to type."""
        if not self._jobs:
            return
        table = Table(title="The sweep", title_justify="left", show_lines=True)
        for name in ("search", "outcome", "run folder"):
            table.add_column(name, overflow="fold")
        for job in self._jobs:
            style = "red" if job.outcome.status else ""
            first = job.outcome.words.partition("\n")[0]
            table.add_row(Text(job.own), Text(first, style=style), Text(str(job.folder)))
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


@cache
def this_sweep() -> Sweep:
    """The sweep that this process runs, or is a job of."""
    return Sweep(wide_console())


def _outcome(search: Callable[[], Outcome]) -> Outcome:
    """How a search ended, whatever it raises."""
    try:
        return search()
    except Failure as failure:
        return Outcome(failure.status, failure.reason)
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        return Outcome(1, f"{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        return Outcome(INTERRUPTED, "interrupted")
