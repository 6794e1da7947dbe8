"""Time as the tuner sees it, so that a replay can run on simulated seconds."""

import math
import time
from typing import Protocol

from qtt.errors import ConfigError


class Clock(Protocol):
    """Seconds since an arbitrary origin, never decreasing."""

    def now(self) -> float:
        """Current time in seconds."""
        ...

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        ...


class WallClock:
    """Real seconds, unaffected by changes of the system time."""

    def now(self) -> float:
        """Current time in seconds."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class SimulatedClock:
    """Stands still until it is told how many seconds have passed."""

    def __init__(self) -> None:
        self._now = 0.0

    def now(self) -> float:
        """Current time in seconds, from 0."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Let time pass; see `advance`."""
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Let time pass.

        Raises:
            ConfigError: the seconds are negative or not finite.
        """
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ConfigError(f"A clock cannot advance by {seconds} seconds.")
        self._now += seconds
