"""A tracker in a thread of its own, for those that may have to wait for a network."""

import threading
from collections.abc import Callable
from queue import SimpleQueue

from qtt.runs.history import History
from qtt.tracking.base import SearchInfo, Summary, Tracker
from qtt.types import Result, Trial


class BackgroundTracker:
    """Hands everything to another tracker, in order, without ever holding up the search.

    What the other one raises is raised by the next call. Its history is a copy that keeps pace with it.
    `finish` waits: at most `patience` seconds, and not at all once the user interrupts.
    """

    def __init__(self, tracker: Tracker, patience: float) -> None:
        self._tracker = tracker
        self._patience = patience
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._error: Exception | None = None
        self._thread: threading.Thread | None = None

    def start(self, search: SearchInfo) -> None:
        """See `Tracker.start`."""
        self._history = History(entry.result for entry in search.entries)
        self._thread = threading.Thread(target=self._work, name=type(self).__name__, daemon=True)
        self._thread.start()
        self._call(lambda: self._tracker.start(search))

    @property
    def started(self) -> bool:
        """Whether there is anything to finish."""
        return self._thread is not None

    def asked(self, trial: Trial, elapsed: float) -> None:
        """See `Tracker.asked`."""
        self._call(lambda: self._tracker.asked(trial, elapsed))

    def told(self, result: Result, history: History, elapsed: float) -> None:
        """See `Tracker.told`."""

        def call() -> None:
            self._history.add(result)
            self._tracker.told(result, self._history, elapsed)

        self._call(call)

    def finish(self, summary: Summary) -> None:
        """See `Tracker.finish`.

        Raises:
            TimeoutError: it takes longer than `patience`, or the user interrupted the wait.
        """
        if self._thread is None:
            return
        self._call(lambda: self._tracker.finish(summary))
        self._calls.put(None)
        try:
            self._thread.join(self._patience)
        except KeyboardInterrupt:
            raise TimeoutError("interrupted before everything was handed over.") from None
        if self._thread.is_alive():
            raise TimeoutError(f"not everything was handed over within {self._patience:g} s.")
        self._raise()

    def _call(self, call: Callable[[], None]) -> None:
        self._raise()
        self._calls.put(call)

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                call()
            except Exception as error:
                self._error = error
                return
