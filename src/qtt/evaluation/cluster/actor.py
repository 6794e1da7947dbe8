"""A worker on a machine of the cluster: Ray's actor, which holds an ordinary evaluator.

It trains in a process of its own, as a search on one machine does, so that time limits, hangs and deaths are
the same here. It ends by itself, and its training process with it, once the head has not been heard of for a
while: no orphan goes on training, whatever became of the head or of the network.
"""

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from qtt.errors import EnvironmentFault
from qtt.evaluation.cluster.luggage import Parcel, State, pack, replace_all
from qtt.evaluation.process import ProcessEvaluator
from qtt.types import Candidates, Status, TaskInfo, Trial

LEASE = 30.0
"""Seconds without a word of the head after which a worker ends itself."""

Message = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What a worker needs to begin.

    objective: `package.module:name`. modules: in which hyperparameters are registered. log: of the training
    process. path: where the head finds modules; the worker does so too as far as the folders exist there.
    directory: that the head runs in. shared: the machines share the run folder; else the worker has a folder
    of its own, and files travel (`qtt.evaluation.cluster.luggage`).
    """

    objective: str
    modules: Sequence[str]
    log: Path
    path: Sequence[str]
    directory: Path
    shared: bool = True


class NodeWorker:
    """Runs one step at a time, while another thread hears the head."""

    def __init__(self, plan: Plan, lease: float = LEASE) -> None:
        self._plan = plan
        self._lease = lease
        self._heard = time.monotonic()
        self._own = None if plan.shared else TemporaryDirectory(prefix="qtt-", ignore_cleanup_errors=True)
        log = plan.log if self._own is None else Path(self._own.name) / plan.log.name
        self._evaluator = ProcessEvaluator(plan.objective, log, modules=plan.modules)
        self._state: State = {}
        threading.Thread(target=self._watch, name="qtt-lease", daemon=True).start()

    def begin(self) -> Message:
        """Start the training process; says where that is.

        Raises:
            EnvironmentFault: the machine does not see the run folder, or a module is missing.
        """
        host, plan = socket.gethostname(), self._plan
        sys.path += [folder for folder in plan.path if folder not in sys.path and Path(folder).exists()]
        if plan.directory.is_dir():
            os.chdir(plan.directory)
        if plan.shared and not plan.log.parent.is_dir():
            raise EnvironmentFault(
                f"The machine {host} does not see the run folder {plan.log.parent}. Name one that all "
                "machines of the cluster share (run_dir=DIR), or have files travel (executor.shared=false)."
            )
        for module in (plan.objective.partition(":")[0], *plan.modules):
            if find_spec(package := module.partition(".")[0]) is None:
                raise EnvironmentFault(
                    f"The machine {host} does not find the module {package}. Install it there, too."
                )
        self._evaluator.start()
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
        return {"node": host, **({"gpu": gpus} if gpus else {})}

    def beat(self) -> None:
        """Hear that the head is there."""
        self._heard = time.monotonic()

    def evaluate(
        self, trial: Message, task: Message, seconds: float | None, parcel: Parcel | None = None
    ) -> Iterator[Message]:
        """See `Evaluator.evaluate`; `died`: the result tells of the death of the training process.

        parcel: the pipeline's files, where they are not here, nor in a shared folder.
        """
        step, info = Trial.from_dict(trial), self._here(TaskInfo.from_dict(task))
        folder = None if self._own is None else info.pipeline_dir(step.config_id)
        if parcel is not None and folder is not None:
            self._state = replace_all(parcel, folder)
        for result in self._evaluator.evaluate(step, info, seconds):
            died = result.status is Status.FAILED and not self._evaluator.alive
            message: Message = {"result": result.to_dict(), "died": died}
            if folder is not None and result.status is not Status.FAILED:
                message["parcel"], self._state = pack(folder, self._state, weights=True)
            yield message

    def _here(self, task: TaskInfo) -> TaskInfo:
        """The task with the folder of checkpoints that there is on this machine."""
        if self._own is None or task.work_dir is None:
            return task
        return replace(task, work_dir=Path(self._own.name) / "pipelines")

    def rehearse(self, rehearsal: str, candidates: Message, task: Message) -> Iterator[Message]:
        """See `Evaluator.rehearse`."""
        info = self._here(TaskInfo.from_dict(task))
        for said in self._evaluator.rehearse(rehearsal, Candidates.from_dict(candidates), info):
            yield {"text": said.text, "fact": said.fact}

    def close(self) -> None:
        """End the training process and all that it started, and remove what is the worker's own."""
        self._evaluator.close()
        if self._own is not None:
            self._own.cleanup()

    def _watch(self) -> None:
        while time.monotonic() - self._heard < self._lease:
            time.sleep(min(1.0, self._lease / 10))
        try:
            self.close()
        finally:
            os._exit(0)


def plan_for(objective: str, modules: Sequence[str], log: Path, shared: bool = True) -> Plan:
    """A plan for workers that find what this process finds."""
    return Plan(objective, tuple(modules), log.absolute(), tuple(filter(None, sys.path)), Path.cwd(), shared)
