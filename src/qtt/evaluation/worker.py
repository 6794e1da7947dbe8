"""The training process: reads trials and rehearsals as JSON lines, writes what comes of them as JSON lines.

It ends itself when the search that started it is gone, so that no orphan goes on training. Threads that the
objective has started, such as one that writes a checkpoint, then get a few seconds to finish.
Whatever libraries print goes to the log, never into the protocol.
"""

import faulthandler
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from typing import IO, Any

from qtt.evaluation.memory import keep_memory
from qtt.evaluation.rehearsal import rehearse
from qtt.evaluation.step import run_step
from qtt.types import Candidates, Objective, TaskInfo, Trial

GRACE = 10.0
"""Seconds that threads of the objective get to finish when the process is to end."""


def main() -> None:
    """Serve until the other side closes the pipe."""
    faulthandler.enable()  # into the log: where in Python a crash of compiled code happened
    keep_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the search, which then stops us
    with os.fdopen(os.dup(1), "wb") as replies:
        os.dup2(2, 1)
        requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        threading.Thread(target=_read, args=(sys.stdin.buffer, requests, replies), daemon=True).start()
        objective = _load(requests.get())
        while True:
            request = requests.get()
            task = TaskInfo.from_dict(request["task"])
            if "rehearsal" in request:
                candidates = Candidates.from_dict(request["candidates"])
                for message in rehearse(request["rehearsal"], candidates, task):
                    _write(replies, message)
                continue
            for result in run_step(objective, Trial.from_dict(request["trial"]), task):
                _write(replies, {"result": result.to_dict()})
            _write(replies, {"done": True})


def _read(stream: IO[bytes], requests: "queue.SimpleQueue[dict[str, Any]]", replies: IO[bytes]) -> None:
    for line in stream:
        requests.put(json.loads(line))
    with suppress(OSError, ValueError):  # nobody may be listening any more
        _write(replies, {"ending": True})
    _finish_threads()
    os._exit(0)


def _finish_threads() -> None:
    """Wait for threads that are no daemons, except the one that trains."""
    deadline = time.monotonic() + GRACE
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.main_thread():
            thread.join(max(deadline - time.monotonic(), 0))


def _load(request: dict[str, Any]) -> Objective:
    """The objective, after the modules in which the search had registered hyperparameters."""
    for module in request.get("modules", ()):
        import_module(module)
    module, name = request["objective"].split(":")
    found: Any = import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found  # type: ignore[no-any-return]


def _write(stream: IO[bytes], message: Mapping[str, Any]) -> None:
    stream.write(json.dumps(message).encode() + b"\n")
    stream.flush()
