import threading
from pathlib import Path

import pytest

from qtt.runs.history import History
from qtt.tracking import SearchInfo, Summary, TrackerGroup
from qtt.tracking.background import BackgroundTracker
from qtt.types import Result, Trial
from trackers import ENTRIES, RESULTS, play, search, summary, tell
from waiting import LIMIT


class Listener:
    """Writes down what it hears, as soon as it may; fails where it is told to."""

    def __init__(self, fails_in: str = "") -> None:
        self.heard: list[object] = []
        self.may_go = threading.Event()
        self.may_go.set()
        self._fails_in = fails_in

    def _hear(self, name: str, what: object) -> None:
        assert self.may_go.wait(LIMIT)
        if name == self._fails_in:
            raise OSError("no network")
        self.heard.append(what)

    def start(self, search: SearchInfo) -> None:
        self._hear("start", "start")

    def asked(self, trial: Trial, elapsed: float) -> None:
        self._hear("asked", trial.config_id)

    def told(self, result: Result, history: History, elapsed: float) -> None:
        self._hear("told", (elapsed, len(history)))

    def finish(self, summary: Summary) -> None:
        self._hear("finish", "finish")


def test_everything_is_heard_in_order_with_the_history_of_that_time(tmp_path: Path) -> None:
    listener = Listener()
    listener.may_go.clear()
    tracker = BackgroundTracker(listener, LIMIT)
    tracker.start(search(tmp_path, 2))
    history = History(RESULTS[:2])
    tell(tracker, ENTRIES[2:], history)
    assert listener.heard == [], "the search goes on while the tracker waits"
    listener.may_go.set()
    tracker.finish(summary(tmp_path, history))
    assert listener.heard == ["start", 0, (30.0, 3), 1, (40.0, 4), 2, (50.0, 5), "finish"]


def test_a_tracker_that_hangs_is_left_behind(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    listener = Listener()
    listener.may_go.clear()
    play(TrackerGroup([BackgroundTracker(listener, 0.05)]), tmp_path)
    assert "not everything was handed over within 0.05 s" in caplog.text
    listener.may_go.set()


@pytest.mark.parametrize("where", ["start", "asked", "told", "finish"])
def test_what_fails_is_reported_once(where: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    play(TrackerGroup([BackgroundTracker(Listener(where), LIMIT)]), tmp_path)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == ["BackgroundTracker failed and is switched off: no network"]


def test_a_second_interrupt_ends_the_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Listener()
    listener.may_go.clear()
    tracker = BackgroundTracker(listener, LIMIT)
    tracker.start(search(tmp_path))

    def interrupt(thread: threading.Thread, timeout: float | None = None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "join", interrupt)
    with pytest.raises(TimeoutError, match="interrupted"):
        tracker.finish(summary(tmp_path, History()))
    listener.may_go.set()


def test_a_tracker_that_never_started_has_nothing_to_finish(tmp_path: Path) -> None:
    BackgroundTracker(Listener(), LIMIT).finish(summary(tmp_path, History()))
