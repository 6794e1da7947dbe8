import io
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from qtt.optimizers.base import Expectation, Outlook
from qtt.runs.history import History
from qtt.support.clock import SimulatedClock
from qtt.tracking import console as module
from qtt.tracking.console import ConsoleTracker
from qtt.types import Budget, Trial
from trackers import CANDIDATES, ENTRIES, play, search, summary, tell
from waiting import wait_until


def _console(terminal: bool = False, width: int = 120) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=terminal, width=width, height=30, highlight=False), out


def test_plain_console_has_one_line_for_each_incumbent_and_failure(tmp_path: Path) -> None:
    console, out = _console()
    play(ConsoleTracker(console), tmp_path)
    lines = out.getvalue().splitlines()
    assert lines[0] == "Searching 3 pipelines of 2 models with RandomOptimizer: budget 60 s."
    assert lines[2:7] == [
        "   0:10  0.5000  #0 vit, epoch 1",
        "   0:20  0.7500  #1 resnet, epoch 1",
        "   0:30  failed  #0 vit: out of [memory]",
        "   0:50  0.8000  #2 resnet, epoch 1",
        "The budget of 60 s is spent. (4 epochs, 50 s)",
    ]
    assert "\x1b[" not in out.getvalue()
    best, second, _ = (line for line in lines if line.startswith("│"))
    assert "0.8000" in best
    assert "0.7500" in second


def test_a_quiet_console_shows_the_table_alone(tmp_path: Path) -> None:
    for terminal in (False, True):
        console, out = _console(terminal)
        play(ConsoleTracker(console, quiet=True), tmp_path)
        assert "Best 3 of 3 pipelines" in out.getvalue().splitlines()[0]
        assert "Searching" not in out.getvalue()
        assert "spent" not in out.getvalue()


@pytest.mark.parametrize(
    ("quiet", "interrupted", "shown"), [(False, False, True), (True, False, False), (False, True, False)]
)
def test_advice_comes_last_and_not_to_those_in_haste(
    quiet: bool, interrupted: bool, shown: bool, tmp_path: Path
) -> None:
    console, out = _console()
    tracker = ConsoleTracker(console, quiet)
    tracker.start(replace(search(tmp_path), advice="Better: pip install more"))
    history = History()
    tell(tracker, ENTRIES, history)
    tracker.finish(summary(tmp_path, history, interrupted))
    assert (out.getvalue().splitlines()[-1] == "Better: pip install more.") == shown
    assert ("pip install" in out.getvalue()) == shown


def test_a_quiet_search_that_was_interrupted_says_so(tmp_path: Path) -> None:
    console, out = _console()
    play(ConsoleTracker(console, quiet=True), tmp_path, interrupted=True)
    assert out.getvalue().startswith("Interrupted.")


def test_a_silent_search_shows_a_sign_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENCE", 0.05)
    monkeypatch.setattr(module, "SILENT_SHARE", 0.0)
    console, out = _console()
    clock = SimulatedClock()
    tracker = ConsoleTracker(console, clock=clock)
    tracker.start(search(tmp_path))
    history = History()
    tell(tracker, ENTRIES, history)
    tracker.asked(Trial(1, CANDIDATES.configs[1], 3), 51.0)
    clock.advance(52.0)
    wait_until(lambda: "   0:52 " in out.getvalue() and out.getvalue().endswith("\n"))
    tracker.finish(summary(tmp_path, history))
    line = next(line for line in out.getvalue().splitlines() if line.startswith("   0:52 "))
    assert line == (
        "   0:52  best 0.8000 · 4 epochs of 3 pipelines · 1 failed · now #1 resnet, epoch 3 · 0:08 left"
    )
    length = len(out.getvalue())
    time.sleep(0.2)
    assert len(out.getvalue()) == length, "nothing is printed after the end"


def _view(width: int, path: Path, budget: Budget = Budget(60.0)) -> list[str]:  # noqa: B008
    """Lines of the live view, 1.5 s into a step that is expected to take three."""
    console, out = _console(terminal=True, width=width)
    clock = SimulatedClock()
    tracker = ConsoleTracker(console, clock=clock)
    info = search(path, budget=budget)
    outlook = Outlook(3.0, Expectation(2, 20, 0.9123))
    object.__setattr__(info, "outlook", lambda: outlook)
    tracker.start(info)
    assert tracker._live is not None
    tracker._live.stop()
    tell(tracker, ENTRIES, History())
    clock.advance(50.0)
    tracker.asked(Trial(2, CANDIDATES.configs[2], 2), 50.0)
    clock.advance(1.5)
    out.seek(0)
    out.truncate()
    plain = Console(file=out, width=width, height=30)
    plain.print(tracker._live.get_renderable())
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 140])
def test_the_live_view_says_all_there_is_to_know(width: int, tmp_path: Path) -> None:
    rule, budget, done, best, now, expected, *last = _view(width, tmp_path)
    assert rule == "─" * width
    assert budget.startswith("budget   ━━━")
    assert budget.endswith("0:52 of 1:00 · 0:08 left")
    assert done.rstrip() == "done     4 epochs of 3 pipelines · 1 failed"
    assert best.rstrip() == "best     0.8000  #2 resnet, epoch 1, at 0:50"
    assert now.startswith("now      #2 resnet, epoch 2 ━━")
    assert now.endswith("1.5 s of about 3.0 s")
    assert expected.rstrip() == "expected 0.9123  #2 resnet, by epoch 20"
    assert [line[9:].rstrip() for line in last] == [
        "0.8000  #2 resnet, epoch 1, at 0:50",
        "0.7000  #1 resnet, epoch 2, at 0:40",
        "failed  #0 vit: out of [memory], at 0:30",
        "0.7500  #1 resnet, epoch 1, at 0:20",
        "0.5000  #0 vit, epoch 1, at 0:10",
    ]
    assert last[0].startswith("last")


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140, 200])
def test_the_live_view_fits_any_width(width: int, tmp_path: Path) -> None:
    lines = _view(width, tmp_path)
    assert len(lines) == 11
    assert all(len(line) <= width for line in lines)


def test_a_budget_of_epochs_is_shown_as_such(tmp_path: Path) -> None:
    budget = _view(80, tmp_path, Budget(evaluations=8))[1]
    assert budget.endswith("0:52 · 4 of 8 epochs")
    bar = budget[9 : -len(" 0:52 · 4 of 8 epochs")]
    assert 2 * bar.count("━") == len(bar)
