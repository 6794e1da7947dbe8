"""Objectives run in one long-lived training process, which can be killed at any moment and is replaced."""

import json
import logging
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

from qtt.data.library_caches import library_caches
from qtt.data.user_cache import VARIABLE, user_cache
from qtt.errors import ConfigError, EnvironmentFault
from qtt.evaluation import kernel
from qtt.evaluation.rehearsal import heard
from qtt.evaluation.step import failure, timeout
from qtt.evaluation.worker import GRACE
from qtt.space.hyperparameters import registering_modules
from qtt.tasks.preflight import Said
from qtt.types import Candidates, Objective, Result, TaskInfo, Trial

logger = logging.getLogger("qtt")

LOG_TAIL_LINES = 20
ANSWER = 1.0
"""Seconds that the training process has to answer that it ends."""

WORKER = """
import signal, sys
if hasattr(signal, "pthread_sigmask"):
    signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGTERM}})
sys.path[:] = {path!r}
from qtt.evaluation.worker import main
main()
"""
"""Program of the training process: whatever can be imported here can be imported there.

A job queue's SIGTERM reaches all processes; the search, which hears it as well, then ends this one. It is
blocked before libraries start threads, and not just ignored: Lightning sets a handler of its own.
"""


def import_path(objective: Objective) -> str | None:
    """`module:name` under which another process finds the very same function, None where it cannot."""
    module, name = getattr(objective, "__module__", None), getattr(objective, "__qualname__", None)
    if not module or not name or module == "__main__":
        return None
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return f"{module}:{name}" if found is objective else None


class ProcessEvaluator:
    """Speaks JSON lines with `qtt.evaluation.worker`.

    A process that dies costs one failed trial with its reason; a step that exceeds its time is killed with
    its process. Either way the next step finds a new one, and what libraries left in the process's temporary
    folder is removed.
    """

    def __init__(
        self, objective: str, log: Path, environment: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """See `make_evaluator`; objective: `package.module.name`."""
        self._environment = environment
        self._objective = objective
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._messages: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._kills: int | None = None

    def start(self) -> None:
        """Start the training process if none is alive; its imports run while the caller goes on."""
        self._running()

    def _running(self) -> subprocess.Popen[bytes]:
        """The training process, a new one where there is none alive."""
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        self._kills = kernel.out_of_memory_kills()
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._scratch = tempfile.TemporaryDirectory(prefix="qtt-", ignore_cleanup_errors=True)
        with self._log.open("ab") as log:
            process = self._process = subprocess.Popen(
                [sys.executable, "-c", WORKER.format(path=sys.path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=os.environ | _kept_caches() | {"TMPDIR": self._scratch.name} | dict(self._environment),
            )
        self._messages = queue.SimpleQueue()
        assert process.stdout is not None
        threading.Thread(
            target=_forward, args=(process.stdout, self._messages), name="qtt-results", daemon=True
        ).start()
        self._send({"objective": self._objective, "modules": registering_modules()})
        return process

    def evaluate(self, trial: Trial, task: TaskInfo, seconds: float | None) -> Iterator[Result]:
        """See `Evaluator.evaluate`."""
        begin = time.monotonic()
        process = self._running()
        written = self._log.stat().st_size
        self._send({"trial": trial.to_dict(), "task": task.to_dict()})
        while True:
            spent = time.monotonic() - begin
            try:
                if seconds is not None and spent >= seconds:
                    raise queue.Empty
                message = self._messages.get(timeout=None if seconds is None else seconds - spent)
            except queue.Empty:
                self.close()
                yield timeout(trial, time.monotonic() - begin)
                return
            if message is None:
                reason, details, told = self._death(process, written)
                yield failure(trial, reason, time.monotonic() - begin, details, told)
                return
            if "done" in message:
                return
            yield Result.from_dict(message["result"])

    def rehearse(self, rehearsal: str, candidates: Candidates, task: TaskInfo) -> Iterator[Said]:
        """See `Evaluator.rehearse`."""
        process = self._running()
        written = self._log.stat().st_size
        self._send({"rehearsal": rehearsal, "candidates": candidates.to_dict(), "task": task.to_dict()})
        while True:
            message = self._messages.get()
            if message is None:
                reason, details, _ = self._death(process, written)
                logger.info("The rehearsal broke:\n%s", details)
                raise EnvironmentFault(reason)
            said = heard(message)
            if said is None:
                return
            yield said

    def close(self) -> None:
        """End the training process: what it is writing it may finish within `GRACE`, then it is killed.

        Checkpoints are written atomically, so nothing breaks. Another thread may wait for results meanwhile.
        """
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            _close_quietly(process.stdin)  # which tells it to end
        with suppress(subprocess.TimeoutExpired):
            if process.poll() is None and self._answers():
                process.wait(GRACE)
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                _close_quietly(stream)
        if self._scratch is not None:
            self._scratch.cleanup()

    def _answers(self) -> bool:
        """Whether the process has heard that it is to end; compiled code may keep it from listening."""
        deadline = time.monotonic() + ANSWER
        with suppress(queue.Empty):
            while True:
                message = self._messages.get(timeout=max(deadline - time.monotonic(), 0))
                if message is None:
                    self._messages.put(None)  # a thread that waits for results needs it, too
                if message is None or "ending" in message:
                    return True
        return False

    def _send(self, message: dict[str, Any]) -> None:
        process = self._process
        if process is None or process.stdin is None:
            return  # another thread has closed it
        try:
            process.stdin.write(json.dumps(message).encode() + b"\n")
            process.stdin.flush()
        except (BrokenPipeError, ValueError):
            pass  # the process is dead or closed; its end of file is about to arrive as a message

    def _death(self, process: subprocess.Popen[bytes], written: int) -> tuple[str, str, dict[str, bool]]:
        """How the process died, the end of its log since that had `written` bytes, and what is known."""
        code = process.wait()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        hint, told = "", {}
        if code == -signal.SIGKILL:
            kills = kernel.out_of_memory_kills()
            if kills is None or self._kills is None:
                hint = " (out of memory?)"
            elif kills > self._kills:
                hint, told = ": the machine ran out of memory", {"out_of_memory": True}
        self.close()
        with self._log.open(encoding="utf-8", errors="replace") as log:
            log.seek(written)
            tail = "".join(deque(log, maxlen=LOG_TAIL_LINES))
        return f"The training process {how}{hint}; see {self._log}.", tail, told


def _kept_caches() -> dict[str, str]:
    """Cache folders, which may lie in the temporary directory: that of the process will not outlive it."""
    try:
        return {VARIABLE: str(user_cache().absolute()), **library_caches()}
    except ConfigError:  # it will do without, as this process does
        return {}


def _forward(stream: IO[bytes], messages: "queue.SimpleQueue[dict[str, Any] | None]") -> None:
    """Turn lines into messages; None marks the end, a torn last line with it."""
    try:
        for line in stream:
            if line.endswith(b"\n"):
                messages.put(json.loads(line))
    except ValueError:
        pass  # the stream was closed under us: the process was killed on purpose
    messages.put(None)


def _close_quietly(stream: IO[bytes]) -> None:
    with suppress(BrokenPipeError):  # unsent bytes of a process that no longer listens
        stream.close()
