"""Faults of the world in a search: which failures they are, and how long to wait for the world to mend."""

import re
from collections.abc import Callable

from qtt.evaluation.faults import ENVIRONMENT, EXPLAINED
from qtt.types import Result, Status

SUSPICIOUS = 8
"""So many pipelines in a row that fail for the same unexplained reason are not taken for bad pipelines."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds; every pause is twice as long as the one before."""


class Suspicion:
    """Tells failures of pipelines from faults of the world.

    A failure is the world's where its error says so (`qtt.evaluation.faults`), or where it is one of many in
    a row, of different pipelines, for the same reason, which nobody has explained.
    """

    def __init__(self) -> None:
        self._reason = ""
        self._pipelines: set[int | str] = set()

    def fault(self, result: Result, pipeline: str | None = None) -> str | None:
        """The reason, where a result is a fault of the world; to be asked once about every result.

        pipeline: what to tell it from others by; None: the result's id.
        """
        if result.succeeded:
            self._pipelines.clear()
        if result.status is not Status.FAILED:
            return None
        told = str(result.info.get("reason", "no reason given"))
        if result.info.get(ENVIRONMENT):
            return told
        if result.info.get(EXPLAINED):
            return None
        reason = re.sub(r"[\d.]+", "#", told)
        if reason != self._reason:
            self._reason = reason
            self._pipelines.clear()
        self._pipelines.add(result.config_id if pipeline is None else pipeline)
        if len(self._pipelines) <= SUSPICIOUS:
            return None
        return f"{told} ({SUSPICIOUS} pipelines before this one failed in the same way)"


def patiently(
    attempt: Callable[[], str | None],
    seconds: float,
    wait: Callable[[str, float], bool],
    met: str | None = None,
) -> str | None:
    """Try until the world is not at fault; the last fault where patience ended before, else None.

    Args:
        attempt: does it; the fault of the world that it met, or None.
        seconds: of patience.
        wait: lets a pause pass, given the fault and seconds; False where waiting has no use any more.
        met: the fault that a first attempt has met already; None: there was none.
    """
    patience = Patience(seconds)
    fault = attempt() if met is None else met
    while fault is not None:
        pause = patience.pause()
        if pause is None or not wait(fault, pause):
            return fault
        fault = attempt()
    return None


class Patience:
    """Growing pauses, until together they have taken `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._next = FIRST_PAUSE

    def pause(self) -> float | None:
        """Seconds to wait before the next try; None where patience has ended."""
        if self._left <= 0:
            return None
        pause = min(self._next, self._left)
        self._left -= pause
        self._next = min(2 * self._next, LONGEST_PAUSE)
        return pause
