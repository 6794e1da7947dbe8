import csv
import io
from pathlib import Path
from typing import Any

import pytest

from qtt.runs.history import History
from qtt.tracking import SearchInfo, Summary, TrackerGroup
from qtt.tracking.csv import CsvTracker
from qtt.types import Result, Trial
from trackers import RESULTS, play, search, summary


def _rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((path / "trajectory.csv").read_text())))


def test_the_csv_agrees_with_the_journal_after_a_resume(tmp_path: Path) -> None:
    play(CsvTracker(), tmp_path)
    rows = _rows(tmp_path)
    assert [row["incumbent"] for row in rows] == ["0.5", "0.75", "0.75", "0.75", "0.8"]
    assert [row["status"] for row in rows] == ["success", "success", "failed", "success", "success"]
    assert rows[2]["score"] == ""
    CsvTracker().start(search(tmp_path, 2))
    assert _rows(tmp_path) == rows[:2]
    play(CsvTracker(), tmp_path, known=2)
    assert _rows(tmp_path) == rows


def test_the_csv_is_whole_again_when_a_disk_has_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, full = tmp_path / "whole", tmp_path / "full"
    for folder in (whole, full):
        folder.mkdir()
    play(CsvTracker(), whole)
    original, calls = Path.open, iter(range(1000))

    def crowded(self: Path, *arguments: Any, **named: Any) -> Any:
        if self.name == "trajectory.csv" and next(calls) in (0, 2):
            raise OSError(28, "No space left on device")
        return original(self, *arguments, **named)

    monkeypatch.setattr(Path, "open", crowded)
    play(CsvTracker(), full)
    monkeypatch.undo()
    assert _rows(full) == _rows(whole)


class Broken(CsvTracker):
    """Fails in one of its calls."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.calls: list[str] = []

    def _fail(self, name: str) -> None:
        self.calls.append(name)
        if name == self.where:
            raise OSError("disk full")

    def start(self, search: SearchInfo) -> None:
        self._fail("start")

    def asked(self, trial: Trial, elapsed: float) -> None:
        self._fail("asked")

    def told(self, result: Result, history: History, elapsed: float) -> None:
        self._fail("told")

    def finish(self, summary: Summary) -> None:
        self._fail("finish")


@pytest.mark.parametrize("where", ["start", "asked", "told", "finish"])
def test_a_failing_tracker_is_left_out_and_the_others_go_on(
    where: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Broken(where)
    with caplog.at_level("INFO", "qtt"):
        play(TrackerGroup([broken, CsvTracker()]), tmp_path)
    assert broken.calls[-1] == where
    assert broken.calls.count(where) == 1
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert [record.getMessage() for record in warnings] == ["Broken failed and is switched off: disk full"]
    assert all(record.exc_info is None for record in warnings), "tracebacks are for the log alone"
    assert any(record.exc_info for record in caplog.records)
    assert len(_rows(tmp_path)) == len(RESULTS)


def test_an_interrupt_while_trackers_start_is_heard_by_those_that_had_their_turn(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Interrupted(Broken):
        def start(self, search: SearchInfo) -> None:
            raise KeyboardInterrupt

    half, never = Interrupted("finish"), Broken("")
    group = TrackerGroup([CsvTracker(), half, never])
    with pytest.raises(KeyboardInterrupt):
        group.start(search(tmp_path))
    group.finish(summary(tmp_path, History(), interrupted=True))
    assert half.calls == ["finish"]
    assert never.calls == []
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
