"""Time that a test lets pass, where real seconds would depend on how busy the machine is."""

import time
from types import ModuleType

import pytest

HOURS = 10_000.0
"""A budget in seconds that nothing spends but a test which lets them pass."""


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
