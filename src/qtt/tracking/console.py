"""The search on the console: a live view in a terminal, plain lines elsewhere, a table at the end."""

import math
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pandas as pd
from rich.console import Console
from rich.live import Live
from rich.status import Status as Spinner
from rich.table import Table
from rich.text import Text

from qtt.runs.history import History
from qtt.statistics import HEADLINE, pipeline_table
from qtt.statistics.certainty import TIE, legend
from qtt.support.clock import Clock, WallClock
from qtt.tracking.base import SearchInfo, Summary
from qtt.tracking.live_view import counted, event_line, heartbeat, live_view
from qtt.tracking.progress import SearchProgress
from qtt.types import ACCURACY, Candidates, Result, Status, Trial

BEST_SHOWN, SHOWN_EVICTED = 10, 10
PLAIN_WIDTH = 140
"""Width of the table where there is no terminal that knows better."""

FIXED_WIDTH, COLUMN_WIDTH = 86, 14
"""Width that the table needs at least, and for each hyperparameter."""

REFRESHES = 4
"""Of the live view, a second."""

PREPARING = 10.0
"""Seconds between plain lines on what is done before the search."""

SILENCE, SILENT_SHARE = 60.0, 0.05
"""Seconds, and share of the budget, after which plain lines show a sign of life."""


class ConsoleTracker:
    """Shows what the search is doing.

    In a terminal, a view of what is going on, and above it a line for every new incumbent and failure.
    Elsewhere these lines alone, and one now and then that says how far the search is.

    quiet: print nothing but the final table.
    """

    def __init__(
        self, console: Console | None = None, quiet: bool = False, clock: Clock | None = None
    ) -> None:
        self.console = console or Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
        self._quiet = quiet
        self._clock = clock or WallClock()
        self._advice = ""
        self._live: Live | None = None
        self._heart: _Heart | None = None
        self._status: Spinner | None = None
        self._prepared = -math.inf

    def preparing(self, what: str) -> None:
        """Show what is done before the search, in a terminal; elsewhere say it where it takes long."""
        if self._quiet:
            return
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self._show_status(what)
        elif not what:
            self._prepared = -math.inf
        elif self._prepared == -math.inf:
            self._prepared = self._clock.now()
        elif self._clock.now() - self._prepared >= PREPARING:
            self._prepared = self._clock.now()
            self._print(Text(what))

    def _show_status(self, what: str) -> None:
        if self._status is None and what:
            self._status = self.console.status(Text(what))
            self._status.start()
        elif self._status is not None and what:
            self._status.update(Text(what))
        elif self._status is not None:
            self._status.stop()
            self._status = None

    def start(self, search: SearchInfo) -> None:
        """Say what is searched and where results go; show the live view in a terminal."""
        self._progress = SearchProgress(search, self._clock)
        self._advice = search.advice
        if self._quiet:
            return
        models = {config.get("model") for config in search.candidates.configs} - {None}
        of = f" of {counted(len(models), 'model')}" if models else ""
        self._say(
            f"Searching {counted(len(search.candidates), 'pipeline')}{of} "
            f"with [bold]{search.optimizer}[/]{_metric(search)}: {_budget(search)}{_workers(search)}."
        )
        for note in search.notes:
            self._say(Text(note))
        if search.entries:
            self._say(f"Resuming after {counted(len(search.entries), 'result')} and {search.elapsed:.0f} s.")
        self._say(Text(f"Results go to {search.run_dir}"))
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            self._live = Live(
                get_renderable=lambda: live_view(self._progress, self.console.height),
                console=self.console,
                refresh_per_second=REFRESHES,
                transient=True,
            )
            self._live.start()
        else:
            self._heart = _Heart(self, max(SILENCE, SILENT_SHARE * (search.budget.seconds or 0.0)))
            self._heart.start()

    def asked(self, trial: Trial, elapsed: float) -> None:
        """Remember the current step."""
        self._progress.asked(trial, elapsed)

    def begun(self, worker: int, trial: Trial, elapsed: float) -> None:
        """Remember what a worker is at."""
        self._progress.begun(worker, trial, elapsed)

    def ended(self, worker: int, elapsed: float) -> None:
        """Remember that a worker is free."""
        self._progress.ended(worker)

    def told(self, result: Result, history: History, elapsed: float) -> None:
        """Print new incumbents and failures."""
        event = self._progress.told(result, history, elapsed)
        if not self._quiet and (event.incumbent or result.status is Status.FAILED):
            self._say(event_line(event, self._progress.name(result.config_id)))

    def waiting(self, reason: str, seconds: float) -> None:
        """Say what keeps the search from going on."""
        self._say(Text.assemble((f"Waiting {seconds:.0f} s: ", "yellow"), reason))

    def finish(self, summary: Summary) -> None:
        """Print why the search ended and the best pipelines; Ctrl-C does not leave the terminal half-way."""
        with _uninterrupted():
            if self._live is not None:
                self._live.stop()
                self._live = None
            if self._heart is not None:
                self._heart.stop()
                self._heart = None
            self._show_end(summary)

    def _show_end(self, summary: Summary) -> None:
        if not self._quiet or summary.interrupted or summary.fault or summary.incumbent is None:
            spent = f"{counted(summary.history.evaluations, 'epoch')}, {summary.elapsed:.0f} s"
            self._say(Text(f"{summary.reason} ({spent})"))
        if summary.evicted and not self._quiet:
            self._say(Text(evictions(summary.evicted)))
        if summary.incumbent is not None:
            self.console.print(best_table(summary.history, summary.candidates, self.console.width))
            self._print(Text(legend(summary.history, self._progress.search.task.metric)))
        if self._advice and not self._quiet and not summary.interrupted:
            self._say(Text(f"{self._advice}."))

    def show_life(self) -> None:
        """Print how far the search is."""
        self._print(heartbeat(self._progress))

    def _say(self, message: str | Text) -> None:
        if self._heart is not None:
            self._heart.beat()
        self._print(message)

    def _print(self, message: str | Text) -> None:
        self.console.print(message, soft_wrap=True)


class _Heart:
    """Calls for a sign of life after so many seconds without a line."""

    def __init__(self, console: ConsoleTracker, seconds: float) -> None:
        self._console = console
        self._seconds = seconds
        self._wake = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def beat(self) -> None:
        """A line was printed: wait anew."""
        self._wake.set()

    def stop(self) -> None:
        self._stopped = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped:
            if not self._wake.wait(self._seconds):
                self._console.show_life()
            self._wake.clear()


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ignore Ctrl-C for a moment."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous or signal.SIG_DFL)


def evictions(evicted: Sequence[int]) -> str:
    """What the disk quota removed, in words; evicted: see `Summary`."""
    pipelines = list(dict.fromkeys(evicted))
    named = ", ".join(f"#{i}" for i in pipelines[:SHOWN_EVICTED])
    more = ", …" if len(pipelines) > SHOWN_EVICTED else ""
    return (
        f"Disk quota: {counted(len(evicted), 'checkpoint')} removed, of {named}{more}; these pipelines start "
        "again where they are asked for. A larger disk_quota_gb keeps more."
    )


def best_table(history: History, candidates: Candidates, width: int) -> Table:
    """The best pipelines, with as many hyperparameters as `width` columns of text leave room for."""
    frame = pipeline_table(history, candidates).head(BEST_SHOWN)
    shown = [name for name in HEADLINE if name in frame][: max(0, (width - FIXED_WIDTH) // COLUMN_WIDTH)]
    title = f"Best {len(frame)} of {counted(len(history.observed), 'pipeline')}"
    table = Table(title=title, title_justify="left")
    certain = "stderr" in frame
    for name in ("id", "score", *(["±"] if certain else []), "at epoch", "trained", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("model", *shown):
        table.add_column(name, no_wrap=True)
    for row in frame.to_dict("records"):
        score = [f"{row['score']:.4f}"]
        if certain:
            tied = row["tie"] and row["config_id"] != frame["config_id"][0]
            score = [f"{TIE} {score[0]}" if tied else score[0], _cell(row["stderr"], ".4f")]
        numbers = (f"{row['epoch']}", f"{row['epochs']}", f"{row['seconds']:.1f}")
        table.add_row(
            f"{row['config_id']}", *score, *numbers, *(_cell(row.get(n)) for n in ("model", *shown))
        )
    return table


def _cell(value: Any, form: str = "g") -> str:
    missing = value is None or (isinstance(value, float) and pd.isna(value))
    return "–" if missing else format(value, form) if isinstance(value, float) else str(value)


def _metric(search: SearchInfo) -> str:
    metric = search.task.metric
    return "" if metric == ACCURACY else f" for {metric}"


def _workers(search: SearchInfo) -> str:
    count = len(search.places)
    return "" if count == 1 else f", {counted(count, 'worker')}"


def _budget(search: SearchInfo) -> str:
    budget = search.budget
    parts = [f"{budget.seconds:.0f} s"] if budget.seconds else []
    parts += [f"{budget.evaluations} epochs"] if budget.evaluations else []
    return "budget " + " and ".join(parts)
