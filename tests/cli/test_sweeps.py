"""A sweep goes on after a bad search, and ends with a table of all and the next command."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from qtt.cli.interrupts import INTERRUPTED
from qtt.cli.messages import fail
from qtt.cli.sweeps import Outcome, Sweep
from waiting import LIMIT


def _refused() -> Outcome:
    fail("There is no dataset folder at nowhere.\nUnderstood are …")


def _broken() -> Outcome:
    raise ZeroDivisionError("of course")


def _swept(**searches: Outcome | object) -> tuple[Sweep, str]:
    written = io.StringIO()
    sweep = Sweep(Console(file=written, width=200))
    for name, search in searches.items():
        sweep.run([f"seed={name}"], Path("runs") / name, search if callable(search) else lambda s=search: s)
    sweep.end()
    return sweep, written.getvalue()


def test_bad_searches_end_no_others(capsys: pytest.CaptureFixture[str]) -> None:
    sweep, text = _swept(
        a=_refused, b=_broken, c=Outcome(3, "the disk is full"), d=Outcome(0, "accuracy 0.9")
    )
    rows = [line for line in text.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in row.strip("│").split("│")] for row in rows] == [
        ["seed=a", "There is no dataset folder at nowhere.", "runs/a"],
        ["seed=b", "ZeroDivisionError: of course", "runs/b"],
        ["seed=c", "the disk is full", "runs/c"],
        ["seed=d", "accuracy 0.9", "runs/d"],
    ]
    assert "3 of 4 did not end well." in text
    assert text.rstrip().endswith("report runs/d")
    assert sweep.status == 1
    assert "Traceback" in capsys.readouterr().err, "an error of ours can be traced"


def test_an_interrupt_ends_the_sweep_and_is_told() -> None:
    sweep = Sweep(Console(file=io.StringIO()))
    for search in (
        lambda: Outcome(INTERRUPTED, "interrupted"),
        lambda: (_ for _ in ()).throw(KeyboardInterrupt),
    ):
        with pytest.raises(KeyboardInterrupt):
            sweep.run([], Path("runs/a"), search)
    assert sweep.status == INTERRUPTED


def test_many_searches_are_reported_by_their_folder() -> None:
    sweep, text = _swept(**{name: Outcome(0, "") for name in "abcdef"})
    assert sweep.status == 0
    assert text.rstrip().endswith("report runs")
    assert _swept()[1] == "", "no sweep, no table"


def test_a_sweep_from_the_command_line(tmp_path: Path) -> None:
    """One search of it fails; the flag stands in the midst; every search has its folder."""
    words = [
        *("objective.function=objectives.good", "optimizer=random", "executor=inline", "tracker=default"),
        *("budget.seconds=null", "-m", "budget.evaluations=2", "num_candidates=4"),
        "dataset=digits,image_folder",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "qtt.run", *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert done.returncode == 1
    assert "dataset.path has no value and needs one" in done.stderr
    assert "Traceback" not in done.stderr
    assert "accuracy 0." in done.stdout
    assert "1 of 2 did not end well. To go on:" in done.stdout
    (report,) = [line for line in done.stdout.splitlines() if line.startswith("To see them: ")]
    assert (tmp_path / report.split()[-1] / "journal.jsonl").is_file()
