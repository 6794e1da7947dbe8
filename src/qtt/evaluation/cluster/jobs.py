"""What workers are asked to do, and who is told what comes of it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from qtt.evaluation.cluster.deaths import DEATHS, Deaths
from qtt.evaluation.cluster.luggage import Parcel, Traffic, pack, state, unpack
from qtt.evaluation.cluster.remote import Overdue, RemoteWorker, WorkerLost
from qtt.evaluation.pool import Event
from qtt.evaluation.step import failure, timeout
from qtt.tasks.preflight import Said
from qtt.types import Candidates, Result, TaskInfo, Trial

SLACK = 1.5
"""Seconds after the end of its time in which a worker must say so; the head does after that."""

ATTEMPT = "attempt"
"""Entry of a result's info, where workers were lost before: the number of the one that it is of."""


class Job(Protocol):
    """Something for one worker to do."""

    def run(self, worker: RemoteWorker) -> None:
        """Have a worker do it.

        Raises:
            WorkerLost: the worker is of no more use; whoever waits for the job has been told.
        """
        ...

    def lost(self, reason: str) -> None:
        """There is no worker to do it."""
        ...


@dataclass(frozen=True)
class Step:
    """One attempt of a step.

    worker: its number. attempt: how many it makes, from 1, since the pipeline's last finished epoch. traffic:
    counts the files that travel; None: none do, for the folder is shared. say: is told what comes of it.
    """

    worker: int
    trial: Trial
    task: TaskInfo
    seconds: float | None
    attempt: int
    traffic: Traffic | None
    deaths: Deaths
    say: Callable[[Event | BaseException], None]

    def run(self, worker: RemoteWorker) -> None:
        """See `Job.run`."""
        begin = time.monotonic()
        try:
            self._hear(worker)
        except Overdue as error:
            self._result(timeout(self.trial, time.monotonic() - begin), worker.facts)
            self._end()
            raise WorkerLost("it did not end its step in time") from error
        except WorkerLost as error:
            seconds, where = time.monotonic() - begin, worker.facts.get("node")
            reason = f"The worker on {where} was lost: {error}."
            self._died(failure(self.trial, reason, seconds), worker.facts)
            raise
        except Exception as error:  # which is the caller's to hear
            self.say(error)

    def _hear(self, worker: RemoteWorker) -> None:
        limit = None if self.seconds is None else self.seconds + SLACK
        arguments = self.trial.to_dict(), self.task.to_dict(), self.seconds, self._send(worker)
        for message in worker.call("evaluate", *arguments, seconds=limit):
            self._take(message.get("parcel"), worker)
            result = Result.from_dict(message["result"])
            if message["died"]:
                self._died(result, worker.facts)
                return
            self._result(result, worker.facts)
            self.deaths.survived(result)
        self._end()

    def _send(self, worker: RemoteWorker) -> Parcel | None:
        """The pipeline's files, where they travel and the worker does not have them."""
        folder = self.task.pipeline_dir(self.trial.config_id)
        if self.traffic is None or folder is None or worker.holds == (self.trial.config_id, state(folder)):
            return None
        parcel, known = pack(folder, {}, weights=False)
        worker.holds = (self.trial.config_id, known)
        self.traffic.count(there=parcel.size)
        return parcel

    def _take(self, parcel: Parcel | None, worker: RemoteWorker) -> None:
        """Write what a worker sent."""
        folder = self.task.pipeline_dir(self.trial.config_id)
        if parcel is None or self.traffic is None or folder is None:
            return
        unpack(parcel, folder, worker.holds[1] if worker.holds else {})
        worker.holds = (self.trial.config_id, state(folder))
        self.traffic.count(back=parcel.size)

    def lost(self, reason: str) -> None:
        """See `Job.lost`; no worker died of it."""
        self.say(Event(self.worker, None, lost=reason))

    def _died(self, result: Result, facts: Mapping[str, Any]) -> None:
        """Its worker, or its training process, did, as a failed result tells."""
        reason = str(result.info["reason"])
        if not self.deaths.another(self.trial.config_id):
            self.lost(reason)
            return
        told = f"{reason} It is the last of {DEATHS} in a row that this pipeline ended."
        self._result(replace(result, info={**result.info, "reason": told}), facts)
        self._end()

    def _result(self, result: Result, facts: Mapping[str, Any]) -> None:
        more = {**facts, **({ATTEMPT: self.attempt} if self.attempt > 1 else {})}
        self.say(Event(self.worker, replace(result, info={**result.info, **more})))

    def _end(self) -> None:
        self.say(Event(self.worker, None))


@dataclass(frozen=True)
class Rehearsal:
    """A task's rehearsal, `package.module.name`.

    say: is told each line, then None; or an error, `WorkerLost` among them.
    """

    name: str
    candidates: Candidates
    task: TaskInfo
    say: Callable[[Said | Exception | None], None]

    def run(self, worker: RemoteWorker) -> None:
        """See `Job.run`."""
        try:
            arguments = self.name, self.candidates.to_dict(), self.task.to_dict()
            for message in worker.call("rehearse", *arguments):
                self.say(Said(message["text"], message["fact"]))
        except WorkerLost as error:
            self.say(error)
            raise
        except Exception as error:  # which is the caller's to hear
            self.say(error)
        else:
            self.say(None)

    def lost(self, reason: str) -> None:
        """See `Job.lost`."""
        self.say(WorkerLost(reason))
