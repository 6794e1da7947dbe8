"""Objectives run in this very process: simplest to debug, cut off by a signal where there is one."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from qtt.evaluation.rehearsal import heard, rehearse
from qtt.evaluation.step import run_step, timeout
from qtt.tasks.preflight import Said
from qtt.types import Candidates, Objective, Result, TaskInfo, Trial


class _CutOff(BaseException):
    """Raised inside the objective when its time is over; not an Exception, so that no one swallows it."""


class InlineEvaluator:
    """Runs the objective in the caller's thread.

    The time limit interrupts Python code on systems with SIGALRM in the main thread; elsewhere, and inside
    one long call into compiled code, it takes effect at the next result.
    """

    def __init__(self, objective: Objective) -> None:
        self._objective = objective

    def start(self) -> None:
        """Nothing to prepare."""

    def evaluate(self, trial: Trial, task: TaskInfo, seconds: float | None) -> Iterator[Result]:
        """See `Evaluator.evaluate`."""
        start = time.monotonic()
        results = run_step(self._objective, trial, task)
        while True:
            left = None if seconds is None else seconds - (time.monotonic() - start)
            try:
                if left is not None and left <= 0:
                    raise _CutOff
                with _alarm(left):
                    result = next(results, None)
            except _CutOff:
                results.close()
                yield timeout(trial, time.monotonic() - start)
                return
            if result is None:
                return
            yield result

    def rehearse(self, rehearsal: str, candidates: Candidates, task: TaskInfo) -> Iterator[Said]:
        """See `Evaluator.rehearse`."""
        for message in rehearse(rehearsal, candidates, task):
            said = heard(message)
            if said is not None:
                yield said

    def close(self) -> None:
        """Nothing to release."""


@contextmanager
def _alarm(seconds: float | None) -> Iterator[None]:
    usable = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if seconds is None or not usable:
        yield
        return

    def cut_off(signum: int, frame: FrameType | None) -> None:
        raise _CutOff

    previous = signal.signal(signal.SIGALRM, cut_off)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
