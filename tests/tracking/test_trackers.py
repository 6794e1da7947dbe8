import csv
import io
from pathlib import Path

import pytest
from rich.console import Console

from qtt.history import History
from qtt.journal import Entry
from qtt.tracking import SearchInfo, Summary, TrackerGroup
from qtt.tracking.console import ConsoleTracker
from qtt.tracking.csv import CsvTracker
from qtt.types import Budget, Candidates, Result, Status, TaskInfo, Trial

CANDIDATES = Candidates(({"model": "vit", "lr": 0.1}, {"model": "resnet", "lr": 0.01, "momentum": 0.9}))
RESULTS = [
    Result(0, 1, 0.5, 1.0),
    Result(1, 1, 0.75, 2.0),
    Result(0, 2, float("nan"), 1.0, Status.FAILED, {"reason": "out of [memory]"}),
]


def _info(path: Path, entries: tuple[Entry, ...] = ()) -> SearchInfo:
    return SearchInfo(path, "RandomOptimizer", TaskInfo(path=path), CANDIDATES, Budget(60.0), entries)


def _console(terminal: bool = False) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=terminal, width=120, highlight=False), out


def _rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((path / "trajectory.csv").read_text())))


def _play(tracker: ConsoleTracker | CsvTracker | TrackerGroup, path: Path) -> None:
    tracker.start(_info(path))
    history = History()
    for elapsed, result in enumerate(RESULTS, start=1):
        trial = Trial(result.config_id, CANDIDATES.configs[result.config_id], result.fidelity)
        tracker.asked(trial, float(elapsed))
        history.add(result)
        tracker.told(result, history, float(elapsed))
    tracker.finish(Summary(path, CANDIDATES, history, 3.0, "The budget of 60 s is spent."))


def test_plain_console_has_one_line_for_each_incumbent_and_failure(tmp_path: Path) -> None:
    console, out = _console()
    _play(ConsoleTracker(console), tmp_path)
    text = out.getvalue()
    assert "2 pipelines of 2 models" in text
    assert "#0 vit, epoch 1" in text
    assert "0.7500  #1 resnet, epoch 1" in text
    assert "failed  #0 vit: out of [memory]" in text
    assert "The budget of 60 s is spent. (2 epochs, 3 s)" in text
    assert "\x1b[" not in text
    best, second = (line for line in text.splitlines() if line.startswith("│"))
    assert "0.7500" in best
    assert "0.5000" in second


def test_a_quiet_console_shows_the_table_alone(tmp_path: Path) -> None:
    console, out = _console()
    _play(ConsoleTracker(console, quiet=True), tmp_path)
    assert "Searching" not in out.getvalue()
    assert "Best 2 of 2 pipelines" in out.getvalue()


def test_a_terminal_has_a_live_line(tmp_path: Path) -> None:
    console, out = _console(terminal=True)
    tracker = ConsoleTracker(console)
    tracker.start(_info(tmp_path, (Entry(RESULTS[0], 10.0),)))
    tracker.asked(Trial(1, CANDIDATES.configs[1], 1), 10.0)
    assert tracker._live is not None
    tracker._live.refresh()
    tracker.finish(Summary(tmp_path, CANDIDATES, History(RESULTS[:1]), 10.0, "Interrupted."))
    assert "1 epochs of 1 pipelines · best 0.5000 · now #1 resnet, epoch 1" in out.getvalue()


def test_the_csv_agrees_with_the_journal_after_a_resume(tmp_path: Path) -> None:
    tracker = CsvTracker()
    _play(tracker, tmp_path)
    rows = _rows(tmp_path)
    assert [row["incumbent"] for row in rows] == ["0.5", "0.75", "0.75"]
    assert [row["status"] for row in rows] == ["success", "success", "failed"]
    assert rows[2]["score"] == ""
    CsvTracker().start(_info(tmp_path, tuple(Entry(r, i + 1.0) for i, r in enumerate(RESULTS[:2]))))
    assert _rows(tmp_path) == rows[:2]


def test_a_failing_tracker_is_left_out_and_the_others_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(CsvTracker):
        calls = 0

        def told(self, result: Result, history: History, elapsed: float) -> None:
            Broken.calls += 1
            raise OSError("disk full")

    _play(TrackerGroup([Broken(), CsvTracker()]), tmp_path)
    assert Broken.calls == 1
    assert "Broken failed and is switched off: disk full" in caplog.text
    assert len((tmp_path / "trajectory.csv").read_text().splitlines()) == 4
