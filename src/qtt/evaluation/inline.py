"""Objectives run in this very process: simplest to debug, cut off by a signal where there is one."""

import signal
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from qtt.evaluation.rehearsal import heard, rehearse
from qtt.evaluation.step import run_step, timeout
from qtt.tasks.preflight import Said
from qtt.types import Candidates, Objective, Result, TaskInfo, Trial

FIRST_PAUSE, SHORTEST_PAUSE = 0.5, 0.01
"""Seconds until a step that goes on beyond its time is interrupted again; every pause is half of the last."""


class _CutOff(BaseException):
    """Raised inside the objective when its time is over; not an Exception, which many catch."""


class InlineEvaluator:
    """Runs the objective in the caller's thread.

    On systems with SIGALRM, in the main thread, the time limit interrupts Python code, and code that catches
    the interrupt or cleans up slowly again and again. What a step reports beyond its time does not count.

    What this cannot do: end one long call into compiled code, a step in another thread or on another system,
    which all go on until their next result; end code that catches every interrupt for ever; end threads and
    processes that the objective started; survive a crash. A training process (`isolation=process`) can.
    """

    def __init__(self, objective: Objective) -> None:
        self._objective = objective

    def start(self) -> None:
        """Nothing to prepare."""

    def evaluate(self, trial: Trial, task: TaskInfo, seconds: float | None) -> Iterator[Result]:
        """See `Evaluator.evaluate`."""
        start = time.monotonic()
        results = run_step(self._objective, trial, task)
        result: Result | None = None
        while True:
            done = result is not None and result.fidelity >= trial.fidelity
            left = None if seconds is None else seconds - (time.monotonic() - start)
            try:
                result = None if left is not None and left <= 0 else _next(results, left)
                over = seconds is not None and time.monotonic() - start >= seconds
            except _CutOff:
                over = True
            if over and not done:
                _end(results)
                yield timeout(trial, time.monotonic() - start)
            if over or result is None:
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


def _next(results: Iterator[Result], seconds: float | None) -> Result | None:
    with _alarm(seconds):
        return next(results, None)


def _end(results: Generator[Result, None, None]) -> None:
    """Have a step clean up, at once."""
    with suppress(_CutOff), _alarm(FIRST_PAUSE):
        results.close()


@contextmanager
def _alarm(seconds: float | None) -> Iterator[None]:
    usable = hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
    if seconds is None or not usable:
        yield
        return
    pause = FIRST_PAUSE

    def cut_off(signum: int, frame: FrameType | None) -> None:
        nonlocal pause
        signal.setitimer(signal.ITIMER_REAL, pause)
        pause = max(pause / 2, SHORTEST_PAUSE)
        if _within_step(frame):  # and not in the lines below, which must all be reached
            raise _CutOff

    previous = signal.signal(signal.SIGALRM, cut_off)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _within_step(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code is not run_step.__code__:
        frame = frame.f_back
    return frame is not None
