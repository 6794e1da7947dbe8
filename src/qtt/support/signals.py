"""Signals that wait until what must be whole is whole."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Have the first Ctrl-C, or SIGTERM, that comes in this block act at its end; a second one acts at once.

    Only in the main thread, where Python handles signals, and only for signals that have a handler in Python.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[tuple[int, FrameType | None]] = []

    def hold(number: int, frame: FrameType | None) -> None:
        came.append((number, frame))
        restore()

    def restore() -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    found = {int(number): signal.getsignal(number) for number in INTERRUPTS}
    handlers = {number: handler for number, handler in found.items() if callable(handler)}
    for number in handlers:
        signal.signal(number, hold)
    try:
        yield
    finally:
        restore()
        for number, frame in came[:1]:
            handlers[number](number, frame)
