"""The search on the console: one live line in a terminal, plain lines elsewhere, a table at the end."""

import sys
from typing import Any

import pandas as pd
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from qtt.clock import WallClock
from qtt.history import History
from qtt.statistics import HEADLINE, pipeline_table
from qtt.tracking.base import SearchInfo, Summary
from qtt.types import Candidates, Config, Result, Status, Trial

BEST_SHOWN = 10
PLAIN_WIDTH = 140
"""Width of the table where there is no terminal that knows better."""

FIXED_WIDTH, COLUMN_WIDTH = 75, 14
"""Width that the table needs at least, and for each hyperparameter."""


class ConsoleTracker:
    """Shows what the search is doing.

    quiet: print nothing but the final table.
    """

    def __init__(self, console: Console | None = None, quiet: bool = False) -> None:
        self.console = console or Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
        self._quiet = quiet
        self._live: Live | None = None

    def start(self, search: SearchInfo) -> None:
        """Say what is searched and where results go; show the live line in a terminal."""
        self._search = search
        self._models = {i: _model(config) for i, config in enumerate(search.candidates.configs)}
        self._history = History(entry.result for entry in search.entries)
        self._trial: Trial | None = None
        self._clock = WallClock()
        self._begin = self._clock.now() - search.elapsed
        if self._quiet:
            return
        models = len({config.get("model") for config in search.candidates.configs})
        self._say(
            f"Searching {len(search.candidates)} pipelines of {models} models "
            f"with [bold]{search.optimizer}[/]: {_budget(search)}."
        )
        if search.entries:
            self._say(f"Resuming after {len(search.entries)} results and {search.elapsed:.0f} s.")
        self._say(Text(f"Results go to {search.run_dir}"))
        if self.console.is_terminal:
            self._live = Live(
                get_renderable=self._render, console=self.console, refresh_per_second=4, transient=True
            )
            self._live.start()

    def asked(self, trial: Trial, elapsed: float) -> None:
        """Remember the current step for the live line; its pipeline may be one proposed after the start."""
        self._trial = trial
        self._models[trial.config_id] = _model(trial.config)

    def told(self, result: Result, history: History, elapsed: float) -> None:
        """Print new incumbents and failures."""
        self._history = history
        if self._quiet:
            return
        name = f"#{result.config_id} {self._models[result.config_id]}"
        if result.status is Status.FAILED:
            reason = Text(str(result.info.get("reason", "no reason given")))
            self._say(Text.assemble(f"{elapsed:6.0f} s  ", ("failed", "red"), f"  {name}: ", reason))
        elif result is history.incumbent:
            score = (f"{result.score:.4f}", "bold green")
            self._say(Text.assemble(f"{elapsed:6.0f} s  ", score, f"  {name}, epoch {result.fidelity}"))

    def finish(self, summary: Summary) -> None:
        """Print why the search ended and the best pipelines."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        spent = f"{summary.history.evaluations} epochs, {summary.elapsed:.0f} s"
        self._say(Text(f"{summary.reason} ({spent})"))
        if summary.incumbent is not None:
            self.console.print(best_table(summary.history, summary.candidates, self.console.width))

    def _say(self, message: str | Text) -> None:
        self.console.print(message, soft_wrap=True)

    def _render(self) -> RenderableType:
        elapsed = self._clock.now() - self._begin
        seconds, evaluations = self._search.budget.seconds, self._search.budget.evaluations
        shares = [elapsed / seconds] if seconds else []
        shares += [self._history.evaluations / evaluations] if evaluations else []
        best = self._history.incumbent
        parts = [f"{elapsed:.0f} s" + (f" of {seconds:.0f} s" if seconds else "")]
        parts.append(f"{self._history.evaluations} epochs of {len(self._history.observed)} pipelines")
        if best is not None:
            parts.append(f"best {best.score:.4f}")
        if self._trial is not None:
            model = self._models[self._trial.config_id]
            parts.append(f"now #{self._trial.config_id} {model}, epoch {self._trial.fidelity}")
        bar = ProgressBar(total=1.0, completed=min(1.0, max(shares)), width=40)
        return Group(bar, Text(" · ".join(parts), no_wrap=True, overflow="ellipsis"))


def best_table(history: History, candidates: Candidates, width: int) -> Table:
    """The best pipelines, with as many hyperparameters as `width` columns of text leave room for."""
    frame = pipeline_table(history, candidates).head(BEST_SHOWN)
    shown = [name for name in HEADLINE if name in frame][: max(0, (width - FIXED_WIDTH) // COLUMN_WIDTH)]
    table = Table(title=f"Best {len(frame)} of {len(history.observed)} pipelines", title_justify="left")
    for name in ("id", "score", "at epoch", "trained", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("model", *shown):
        table.add_column(name, no_wrap=True)
    for row in frame.to_dict("records"):
        numbers = (f"{row['config_id']}", f"{row['score']:.4f}", f"{row['epoch']}", f"{row['epochs']}")
        rest = (_cell(row.get(name)) for name in ("model", *shown))
        table.add_row(*numbers, f"{row['seconds']:.1f}", *rest)
    return table


def _cell(value: Any) -> str:
    missing = value is None or (isinstance(value, float) and pd.isna(value))
    return "–" if missing else f"{value:g}" if isinstance(value, float) else str(value)


def _model(config: Config) -> str:
    return str(config.get("model", ""))


def _budget(search: SearchInfo) -> str:
    budget = search.budget
    parts = [f"{budget.seconds:.0f} s"] if budget.seconds else []
    parts += [f"{budget.evaluations} epochs"] if budget.evaluations else []
    return "budget " + " and ".join(parts)
