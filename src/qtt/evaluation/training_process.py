"""A training process as the search sees it: commands go in, messages come out, it ends with its children."""

import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from qtt.evaluation import keeper

GRACE = 3.0
"""Seconds that threads of the objective get to finish what they write, once the process is to end."""

LEAST_GRACE = 1.0
"""Seconds that they get where the time of their step is over."""

MARGIN = keeper.LAST + 1.5
"""Seconds that ending takes beyond that at most: a third of one where nothing resists being killed."""

WORKER = """
import sys
sys.path[:] = {path!r}
from qtt.evaluation.worker import main
main({grace!r})
"""
"""Program of the training process: whatever can be imported here can be imported there."""

Message = dict[str, Any]


class TrainingProcess:
    """`qtt.evaluation.worker` below a keeper (`qtt.evaluation.keeper`), in a session of their own.

    Threads may share it: one waits for messages while another ends it.

    log: what the process and its children print is appended to it.
    environment: of the process.
    messages: from the process, in order; the last one is None, once the process and its children have ended.
    """

    def __init__(self, log: Path, environment: Mapping[str, str]) -> None:
        self.messages: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        program = [sys.executable, "-c", WORKER.format(path=sys.path, grace=GRACE)]
        theirs, self._commands = os.pipe()
        self._replies, own = os.pipe()
        os.set_blocking(self._commands, False)
        try:
            with log.open("ab") as file:
                self._process = subprocess.Popen(
                    [sys.executable, "-S", "-P", keeper.__file__, str(os.getpid()), str(GRACE), *program],
                    stdin=theirs,
                    stdout=own,
                    stderr=file,
                    env=dict(environment),
                    start_new_session=True,
                )
        except BaseException:
            os.close(self._commands)
            os.close(self._replies)
            raise
        finally:
            os.close(theirs)
            os.close(own)
        self._open = True
        threading.Thread(target=self._listen, name="qtt-results", daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether it goes on; what it said last may still be on its way."""
        return not self._keeper_ended()

    @property
    def pid(self) -> int:
        """Of the keeper, and of the session and group of all."""
        return self._process.pid

    def send(self, message: Message, seconds: float | None = None) -> None:
        """Give a command, within `seconds`; a process that is gone does not hear it, and says None."""
        rest = json.dumps(message).encode() + b"\n"
        deadline = None if seconds is None else time.monotonic() + seconds
        while rest and (deadline is None or time.monotonic() < deadline):
            with self._lock:  # else the descriptor could be another file's by now
                if not self._open:
                    return
                try:
                    rest = rest[os.write(self._commands, rest) :]
                except BlockingIOError:
                    pass
                except OSError:
                    return
            if rest:
                time.sleep(0.005)

    def end(self, grace: float | None = None) -> int:
        """End it and its children, within `grace + MARGIN` seconds; its exit status, negative for a signal's.

        grace: seconds in which its threads may finish what they are writing, `GRACE` at most; None: that.
        """
        with self._lock:
            if self._open:
                os.close(self._commands)  # which tells it to end
                self._open = False
        ended = self._ended.wait(GRACE if grace is None else min(grace, GRACE))
        if not ended:
            self._signal(signal.SIGUSR1)  # which tells the keeper to end it
            ended = self._ended.wait(MARGIN)
        if not ended:
            self._process.kill()
        self._kill_group()
        code = self._process.wait()
        self._ended.wait(1.0)
        return code

    def _signal(self, number: signal.Signals) -> None:
        """Send the keeper a signal, as long as its number cannot be another process's."""
        if self._process.returncode is None:
            with suppress(OSError):
                os.kill(self.pid, number)

    def _kill_group(self) -> None:
        """End what is left where the keeper could not do it, before the group's number can be another's."""
        if self._process.returncode is None:
            with suppress(OSError):
                os.killpg(self.pid, signal.SIGKILL)

    def _listen(self) -> None:
        """Turn lines into messages until all who may write have ended, or the keeper has."""
        poll = select.poll()
        poll.register(self._replies, select.POLLIN)
        rest = b""
        while True:
            if not poll.poll(1000):
                if self._keeper_ended():
                    break
                continue
            chunk = os.read(self._replies, 1 << 16)
            if not chunk:
                break
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._take(line)
        while not self._keeper_ended():
            time.sleep(0.005)
        os.close(self._replies)
        self._ended.set()
        self.messages.put(None)

    def _take(self, line: bytes) -> None:
        """Pass a message on; an objective that writes to all descriptors it finds says nothing."""
        with suppress(ValueError):
            message = json.loads(line)
            if isinstance(message, dict):
                self.messages.put(message)

    def _keeper_ended(self) -> bool:
        """Whether it has, without asking for its status, which would free its number."""
        if not hasattr(os, "waitid"):
            return self._process.poll() is not None
        with suppress(ChildProcessError):
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        return True
