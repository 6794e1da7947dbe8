"""Objectives run in one long-lived training process, which can be killed at any moment and is replaced."""

import logging
import os
import queue
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from qtt.errors import EnvironmentFault
from qtt.evaluation import kernel
from qtt.evaluation.rehearsal import heard
from qtt.evaluation.spare import Scratch, begin, take_spare
from qtt.evaluation.step import failure, timeout
from qtt.evaluation.training_process import LEAST_GRACE, TrainingProcess
from qtt.tasks.preflight import Said
from qtt.types import Candidates, Objective, Result, TaskInfo, Trial

logger = logging.getLogger("qtt")

LOG_TAIL_LINES = 20
TAIL_BYTES = 1 << 16
"""Of the log that are looked at for its last lines, which may be long."""


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

    A process that dies costs one failed trial with its reason; a step that exceeds its time is ended with
    its process. Either way the next step finds a new one, when the old one, all that it started and what
    libraries left in its temporary folder are gone.
    """

    def __init__(
        self,
        objective: str,
        log: Path,
        environment: Mapping[str, str] = MappingProxyType({}),
        modules: Sequence[str] | None = None,
    ) -> None:
        """See `make_evaluator`.

        objective: `package.module:name`. modules: in which hyperparameters are registered; None: those of
            this process.
        """
        self._modules = modules
        self._environment = environment
        self._objective = objective
        self._log = log
        self._process: TrainingProcess | None = None
        self._scratch: Scratch | None = None
        self._kills: int | None = None
        self._deadline: float | None = None

    def start(self) -> None:
        """Start the training process if none is alive; its imports run while the caller goes on."""
        self._running()

    def _running(self) -> TrainingProcess:
        """The training process; where there is none alive, the one that was started early, or a new one."""
        if self._process is not None and self._process.alive:
            return self._process
        self.close()
        self._kills = kernel.out_of_memory_kills()
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._log.touch()
        begun = take_spare(self._environment) or begin(self._environment, self._log)
        self._process, self._scratch = begun.process, begun.scratch
        log = str(self._log.absolute())
        modules = _registering_modules() if self._modules is None else list(self._modules)
        self._process.send({"objective": self._objective, "modules": modules, "log": log})
        return self._process

    @property
    def alive(self) -> bool:
        """Whether there is a training process, which has not died."""
        return self._process is not None and self._process.alive

    def evaluate(self, trial: Trial, task: TaskInfo, seconds: float | None) -> Iterator[Result]:
        """See `Evaluator.evaluate`."""
        begin = time.monotonic()
        self._deadline = None if seconds is None else begin + seconds
        process = self._running()
        written = self._log.stat().st_size
        process.send({"trial": trial.to_dict(), "task": task.to_dict()}, seconds)
        while True:
            spent = time.monotonic() - begin
            try:
                if seconds is not None and spent >= seconds:
                    raise queue.Empty
                message = process.messages.get(timeout=None if seconds is None else seconds - spent)
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
        process.send({"rehearsal": rehearsal, "candidates": candidates.to_dict(), "task": task.to_dict()})
        while True:
            message = process.messages.get()
            if message is None:
                reason, details, _ = self._death(process, written)
                logger.info("The rehearsal broke:\n%s", details)
                raise EnvironmentFault(reason)
            said = heard(message)
            if said is None:
                return
            yield said

    def close(self) -> None:
        """End the training process and all that it started, within seconds; see `TrainingProcess.end`.

        What it is writing it may finish, but hardly beyond the time of its last step. Checkpoints are written
        atomically, so nothing breaks. Another thread may wait for results meanwhile.
        """
        process, self._process = self._process, None
        try:
            if process is not None:
                process.end(self._grace())
        except KeyboardInterrupt:  # whoever is that impatient waits for no thread
            assert process is not None
            process.end(0.0)
            raise
        finally:
            if self._scratch is not None:
                self._scratch.cleanup()

    def _grace(self) -> float | None:
        """Seconds that threads of the training process get to end by themselves; None: all there are."""
        if self._deadline is None:
            return None
        return max(LEAST_GRACE, self._deadline + LEAST_GRACE - time.monotonic())

    def _death(self, process: TrainingProcess, written: int) -> tuple[str, str, dict[str, bool]]:
        """How the process died, the end of its log since that had `written` bytes, and what is known."""
        code = process.end()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        hint, told = "", {}
        if code == -signal.SIGKILL:
            kills = kernel.out_of_memory_kills()
            if kills is None or self._kills is None:
                hint = " (out of memory?)"
            elif kills > self._kills:
                hint, told = ": the machine ran out of memory", {"out_of_memory": True}
        self.close()
        return f"The training process {how}{hint}; see {self._log}.", _tail(self._log, written), told


def _registering_modules() -> list[str]:
    from qtt.space.hyperparameters import registering_modules  # which a worker on a cluster need not wait for

    return list(registering_modules())


def _tail(log: Path, begin: int) -> str:
    """The last lines of a log, as far as they come after its first `begin` bytes."""
    with log.open("rb") as file:
        file.seek(max(begin, file.seek(0, os.SEEK_END) - TAIL_BYTES))
        lines = file.read().decode(errors="replace").splitlines(keepends=True)
    return "".join(lines[-LOG_TAIL_LINES:])
