"""Time that a test lets pass, where real seconds would depend on how busy the machine is."""

import time
from types import ModuleType

import pytest

HOURS = 10_000.0
"""A budget in seconds that nothing spends but a test which lets them pass."""

COUNTING_CLOCK = """
import pathlib
import qtt.search.tuner
class Counting:
    def now(self):
        journals = pathlib.Path().glob("runs/*/journal.jsonl")
        return 1200.0 * sum(journal.read_text().count("\\n") for journal in journals)
qtt.search.tuner.WallClock = Counting
"""
"""Put before an example that itself stays as it is printed: every result takes twenty minutes of budget."""


class MovableClock:
    """Real seconds and those that a test lets pass: a clock for tuners, a stand-in for the module `time`."""

    def __init__(self) -> None:
        self._passed = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self._passed

    def now(self) -> float:
        return self.monotonic()

    def sleep(self, seconds: float) -> None:
        """Let time pass, at once."""
        self._passed += seconds


def movable_clock(monkeypatch: pytest.MonkeyPatch, *modules: ModuleType) -> MovableClock:
    """A clock that the `modules` go by."""
    clock = MovableClock()
    for module in modules:
        monkeypatch.setattr(module, "time", clock)
    return clock
