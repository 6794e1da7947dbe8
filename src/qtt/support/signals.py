"""Signals that wait until what must be whole is whole."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Self

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


class OneInterrupt:
    """In this block the first Ctrl-C, or SIGTERM, acts at once, and further ones where they are heeded alone.

    So that an end which an interrupt began comes to its own end, however often the user presses Ctrl-C. Only
    in the main thread, and only for signals that have a handler in Python.
    """

    def __init__(self) -> None:
        self._acts = True
        self._handlers: dict[int, Callable[[int, FrameType | None], object]] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            found = {int(number): signal.getsignal(number) for number in INTERRUPTS}
            self._handlers = {number: handler for number, handler in found.items() if callable(handler)}
        for number in self._handlers:
            signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def hold(self) -> None:
        """From now on none acts, where it is not heeded."""
        self._acts = False

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """In this block all act; what they raise ends it, and is no error."""
        with suppress(KeyboardInterrupt):
            try:
                self._acts = True
                yield
            finally:
                self._acts = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._acts:
            self._acts = False
            self._handlers[number](number, frame)
            self._acts = True  # it raised nothing, and so ends nothing
