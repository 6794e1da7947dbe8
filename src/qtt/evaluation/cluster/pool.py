"""The pool of workers on a cluster: each has a number, and is somewhere as long as there is room for it.

Where a worker is lost, its step is told as lost, to be asked again, and another worker is asked for. Results
come over a stream that belongs to one attempt of one step: whatever an abandoned worker may still say, nobody
listens to it.
"""

import logging
import queue
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qtt.errors import ConfigError, EnvironmentFault
from qtt.evaluation.base import Rehearser
from qtt.evaluation.cluster.actor import plan_for
from qtt.evaluation.cluster.connection import Connection, in_words
from qtt.evaluation.cluster.deaths import DEATHS, Deaths
from qtt.evaluation.cluster.jobs import Rehearsal, Step
from qtt.evaluation.cluster.luggage import Traffic
from qtt.evaluation.cluster.remote import RemoteWorker, WorkerLost
from qtt.evaluation.cluster.seat import Seat
from qtt.evaluation.cluster.settings import Cluster
from qtt.evaluation.pool import WORKER, Event, at_once
from qtt.evaluation.process import import_path
from qtt.evaluation.step import describe
from qtt.space.hyperparameters import nameless_modules, registering_modules
from qtt.support.announcements import announce
from qtt.support.machine import trains_on_cpu
from qtt.tasks.preflight import Said
from qtt.types import Candidates, Objective, TaskInfo, Trial

logger = logging.getLogger("qtt")

PATIENCE = 20.0
"""Seconds until people are told that the cluster has no room yet."""


class ClusterWorkers:
    """So many workers, of which those are there that the cluster has room for; see `Pool`."""

    def __init__(
        self, objective: str, log: Path, cluster: Cluster, workers: int | None, on_cpu: bool = False
    ) -> None:
        """Connect to the cluster.

        Args:
            objective: `package.module:name`.
            log: of the first training process; those of the others are beside it.
            cluster: where.
            workers: how many; None: as many as there is room for now.
            on_cpu: whether training is known to be on a CPU.

        Raises:
            ConfigError: Ray is not installed, or no machine is large enough for a worker.
            EnvironmentFault: the cluster cannot be reached.
        """
        self._objective, self._log, self._cluster = objective, log, cluster
        self._connection: Connection | None = Connection(cluster)
        self._needs = self._connection.needs(cluster, on_cpu)
        count = self._connection.room(self._needs) if workers is None else workers
        self.places: Sequence[Mapping[str, Any]] = [{WORKER: number} for number in range(count)]
        self._seats: list[Seat] = []
        self._deaths = Deaths()
        self._traffic = None if cluster.shared else Traffic()
        self._reset()

    def _reset(self) -> None:
        self._events: queue.SimpleQueue[Event | BaseException | None] = queue.SimpleQueue()
        self._arrived = threading.Event()
        self._broken: Exception | None = None
        self._running = 0

    @property
    def there(self) -> Collection[int]:
        """See `Pool.there`."""
        return [seat.number for seat in self._seats if seat.taken]

    @property
    def first(self) -> Rehearser:
        """See `Pool.first`."""
        return self

    @property
    def moved(self) -> tuple[int, int]:
        """Bytes of pipelines' files that were moved, to workers and back."""
        return (0, 0) if self._traffic is None else (self._traffic.there, self._traffic.back)

    def start(self) -> None:
        """Ask for all workers, and wait for the first.

        Raises:
            EnvironmentFault: none can work where it is placed.
        """
        if self._seats:
            return
        self._reset()
        if self._connection is None:
            self._connection = Connection(self._cluster)
        self._seats = [
            Seat(number, self._hire(number), self._came, self._failed) for number in range(len(self.places))
        ]
        for seat in self._seats:
            seat.open()
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    def _hire(self, number: int) -> Any:
        """What asks for a worker of that number."""
        log = self._log.with_name(f"{self._log.stem}-{number}{self._log.suffix}") if number else self._log
        plan = plan_for(self._objective, registering_modules(), log, self._cluster.shared)
        assert self._connection is not None
        ray = self._connection.ray
        return lambda: RemoteWorker(ray, plan, self._needs)

    def _came(self) -> None:
        self._arrived.set()
        self._events.put(None)

    def _failed(self, error: Exception) -> None:
        """A worker could not begin: no search begins with that, and one that goes on does without it."""
        if not self._arrived.is_set():
            self._broken = error
            self._arrived.set()

    def _wait(self) -> None:
        """Wait for the first worker."""
        begin = time.monotonic()
        while not self._arrived.wait(0.5):
            if time.monotonic() - begin > PATIENCE:
                announce(f"Waiting until the cluster has room for a worker of {in_words(self._needs)}.")
        if self._broken is not None:
            if isinstance(self._broken, (ConfigError, EnvironmentFault)):
                raise self._broken
            raise EnvironmentFault(f"No worker can begin: {describe(self._broken)}") from self._broken

    def rehearse(self, rehearsal: str, candidates: Candidates, task: TaskInfo) -> Iterator[Said]:
        """See `Evaluator.rehearse`; whoever is there does it, or another one where that is lost."""
        told: set[Said] = set()
        for attempt in range(1, DEATHS + 1):
            said: queue.SimpleQueue[Said | Exception | None] = queue.SimpleQueue()
            self._someone().do(Rehearsal(rehearsal, candidates, task, said.put))
            while isinstance(line := said.get(), Said):
                if line not in told:
                    yield line
                told.add(line)
            if line is None:
                return
            if not isinstance(line, WorkerLost):
                raise line
            if attempt == DEATHS:
                raise EnvironmentFault(f"{DEATHS} workers were lost in the rehearsal: {line}.") from line

    def _someone(self) -> Seat:
        """A seat that is taken, once there is one."""
        while True:
            for seat in self._seats:
                if seat.taken:
                    return seat
            time.sleep(0.2)

    def submit(self, worker: int, trial: Trial, task: TaskInfo, seconds: float | None) -> None:
        """See `Pool.submit`."""
        self.start()
        self._running += 1
        attempt = self._deaths.attempt(trial.config_id)
        task = replace(task, workers=max(task.workers, 2))  # the next step may be another machine's
        step = Step(worker, trial, task, seconds, attempt, self._traffic, self._deaths, self._events.put)
        self._seats[worker].do(step)

    def next(self) -> Event | None:
        """See `Pool.next`."""
        while True:
            try:
                found = self._events.get(timeout=1.0)
            except queue.Empty:
                if self._running:
                    continue
                return None
            if isinstance(found, BaseException):
                raise found
            if found is not None and found.result is None:
                self._running -= 1
            return found

    def close(self) -> None:
        """See `Pool.close`."""
        seats, self._seats = self._seats, []
        at_once([seat.close for seat in seats])
        if seats and self._traffic is not None:
            there, back = (count / 1e6 for count in self.moved)
            logger.info("Files of pipelines moved: %.1f MB to workers, %.1f MB back.", there, back)
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def make_cluster_workers(
    objective: Objective, log: Path, cluster: Cluster, workers: int | None, device: str | None
) -> ClusterWorkers:
    """Workers on a cluster for an objective; device: its setting.

    Raises:
        ConfigError: the objective, or registered hyperparameters, cannot be imported by name on another
            machine; or see `ClusterWorkers`.
        EnvironmentFault: the cluster cannot be reached.
    """
    path = import_path(objective)
    if path is None or nameless_modules():
        raise ConfigError(
            f"{objective!r}, and hyperparameters that were registered, must be imported by name on other "
            "machines. Define them at the top level of a module that these have, too."
        )
    return ClusterWorkers(path, log, cluster, workers, trains_on_cpu(device))
