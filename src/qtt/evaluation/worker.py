"""The training process: reads trials and rehearsals as JSON lines, writes what comes of them as JSON lines.

It ends itself when the search that started it is gone, so that no orphan goes on training. Threads that the
objective has started, such as one that writes a checkpoint, then get a few seconds to finish; what else it
has started is ended by its keeper (`qtt.evaluation.keeper`).
Whatever libraries print goes to the log, never into the protocol, and whatever they read is empty: commands
and replies travel over descriptors of their own, which no child keeps.
"""

import faulthandler
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any

from qtt.evaluation.keeper import PR_SET_PDEATHSIG, control, heed_no_signals
from qtt.evaluation.memory import keep_memory
from qtt.evaluation.rehearsal import rehearse
from qtt.evaluation.step import run_step
from qtt.support.machine import keep_to_own_cores
from qtt.types import Candidates, Objective, TaskInfo, Trial

Requests = queue.SimpleQueue[dict[str, Any]]

LONGEST = 1 << 20
"""Bytes that are read at once."""


def main(grace: float) -> None:
    """Serve until the other side closes the pipe; end at once on an error, whatever threads there are.

    grace: seconds that threads get to finish when the process is to end.
    """
    try:
        _serve(grace)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(1)


def _serve(grace: float) -> None:
    control(PR_SET_PDEATHSIG, signal.SIGKILL)  # the keeper's, should anything ever kill that
    heed_no_signals()  # Lightning would set handlers of its own where there are none
    faulthandler.enable()  # into the log: where in Python a crash of compiled code happened
    keep_memory()
    keep_to_own_cores()
    commands, replies = _take_over()
    os.register_at_fork(after_in_child=lambda: _let_go(commands, replies))
    requests: Requests = queue.SimpleQueue()
    threading.Thread(target=_read, args=(commands, requests, grace), name="qtt-commands", daemon=True).start()
    objective = _load(_begin(requests))
    while True:
        for message in _answers(objective, _next(requests)):
            _write(replies, message)


def _take_over() -> tuple[int, int]:
    """Descriptors of commands and replies, in whose places there are an empty input and the log from now on.

    Nobody may hold the lock of `sys.stdin`, as a thread does that reads it: every child that is forked closes
    it first of all, and would wait for ever.
    """
    commands, replies = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return commands, replies


def _let_go(*descriptors: int) -> None:
    """What a forked child begins with: no part in the protocol, and signals that end it as any process."""
    for descriptor in descriptors:
        with suppress(OSError):
            os.close(descriptor)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _answers(objective: Objective, request: dict[str, Any]) -> Iterator[Mapping[str, Any]]:
    """All messages that a request is answered with."""
    task = TaskInfo.from_dict(request["task"])
    if "rehearsal" in request:
        yield from rehearse(request["rehearsal"], Candidates.from_dict(request["candidates"]), task)
        return
    for result in run_step(objective, Trial.from_dict(request["trial"]), task, BaseException):
        yield {"result": result.to_dict()}
    yield {"done": True}


def _next(requests: Requests) -> dict[str, Any]:
    """The next request; what signal handlers raise meanwhile, as torch's for dead workers, is nobody's."""
    while True:
        with suppress(Exception):
            return requests.get()


def _read(commands: int, requests: Requests, grace: float) -> None:
    rest = b""
    with suppress(OSError):  # an objective that closes all descriptors cannot be served any more
        while chunk := os.read(commands, LONGEST):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                requests.put(json.loads(line))
    _finish_threads(grace)
    os._exit(0)


def _finish_threads(grace: float) -> None:
    """Wait for threads that are no daemons, except the one that trains."""
    deadline = time.monotonic() + grace
    for thread in threading.enumerate():
        if not thread.daemon and thread is not threading.main_thread():
            thread.join(max(deadline - time.monotonic(), 0))


def _begin(requests: Requests) -> dict[str, Any]:
    """The request that names the objective; libraries are loaded until it comes, where some were named."""
    request = _next(requests)
    for module in request.get("imports", ()):
        if not requests.empty():
            break
        with suppress(Exception):  # whoever needs it will tell
            import_module(module)
    if "imports" in request:
        request = _next(requests)
    if "log" in request:
        _print_to(request["log"])
    return request


def _print_to(log: str) -> None:
    """What is printed goes there from now on."""
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    for descriptor in (1, 2):
        os.dup2(file, descriptor)
    os.close(file)


def _load(request: dict[str, Any]) -> Objective:
    """The objective, after the modules in which the search had registered hyperparameters."""
    for module in request.get("modules", ()):
        import_module(module)
    module, name = request["objective"].split(":")
    found: Any = import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found  # type: ignore[no-any-return]


def _write(replies: int, message: Mapping[str, Any]) -> None:
    rest = json.dumps(message).encode() + b"\n"
    while rest:
        rest = rest[os.write(replies, rest) :]
