"""Time as the tuner sees it, so that a replay can run on simulated seconds."""

import time
from typing import Protocol


class Clock(Protocol):
    """Seconds since an arbitrary origin, never decreasing."""

    def now(self) -> float:
        """Current time in seconds."""
        ...


class WallClock:
    """Real seconds, unaffected by changes of the system time."""

    def now(self) -> float:
        """Current time in seconds."""
        return time.monotonic()
