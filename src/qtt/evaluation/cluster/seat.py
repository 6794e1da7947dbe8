"""A worker's number: whoever has it at the moment is asked, heard, and replaced when lost."""

import logging
import queue
import threading
from collections.abc import Callable

from qtt.errors import EnvironmentFault
from qtt.evaluation.cluster.jobs import Job
from qtt.evaluation.cluster.remote import BEAT, RemoteWorker, WorkerLost
from qtt.evaluation.training_process import GRACE, MARGIN

logger = logging.getLogger("qtt")

MOST_DOUBLINGS = 6
"""Of the pause until the next worker is asked for, where one after the other cannot begin: a minute."""

LOST_AT_ONCE = 3
"""So many workers in a row that die before they are placed are not taken for an accident."""


class Seat:
    """Served by a thread of its own, from `open` to `close`.

    hire: asks for a worker. came: is called once it is placed. failed: is told why none could begin.
    """

    def __init__(
        self,
        number: int,
        hire: Callable[[], RemoteWorker],
        came: Callable[[], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self.number = number
        self._hire = hire
        self._came = came
        self._failed = failed
        self._worker: RemoteWorker | None = None
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name=f"qtt-seat-{number}", daemon=True)

    @property
    def taken(self) -> bool:
        """Whether somebody is there."""
        return self._worker is not None

    def open(self) -> None:
        """Ask for the first worker."""
        self._thread.start()

    def do(self, job: Job) -> None:
        """Have the worker do it, or tell at once that it is lost."""
        with self._lock:
            if self.taken:
                self._jobs.put(job)
                return
        job.lost("the worker has gone")

    def close(self) -> None:
        """End the worker, and what it is at."""
        self._closing.set()
        self._jobs.put(None)
        worker = self._worker
        if worker is not None:
            worker.interrupt()
        self._thread.join(2 * (GRACE + MARGIN))

    def _serve(self) -> None:
        failures = 0
        while not self._closing.is_set():
            failures = failures + 1 if self._employ() else 0
            if failures == LOST_AT_ONCE:
                self._failed(
                    EnvironmentFault("Workers die on the cluster before they can begin; see its logs.")
                )
            self._closing.wait(2.0 ** min(failures, MOST_DOUBLINGS) - 1)

    def _employ(self) -> bool:
        """Have a worker from its beginning to its end; whether it could not even begin."""
        worker = self._hire()
        try:
            while not worker.placed(0.2):
                if self._closing.is_set():
                    return False
            self._worker = worker
            self._came()
            self._work(worker)
        except WorkerLost as lost:
            if not self._closing.is_set():
                logger.info("Worker %d was lost: %s", self.number, lost)
            return not worker.facts
        except Exception as error:  # it cannot work where it is
            logger.warning("Worker %d could not begin: %s", self.number, error)
            self._failed(error)
            return True
        finally:
            self._leave()
            worker.end(orderly=self._closing.is_set())
        return False

    def _work(self, worker: RemoteWorker) -> None:
        while not self._closing.is_set():
            try:
                job = self._jobs.get(timeout=BEAT)
            except queue.Empty:
                worker.beat()
                continue
            if job is not None:
                job.run(worker)

    def _leave(self) -> None:
        """Nobody is there; what nobody has begun is lost."""
        with self._lock:
            self._worker = None
        while not self._jobs.empty():
            if (job := self._jobs.get()) is not None:
                job.lost("the worker has gone")
