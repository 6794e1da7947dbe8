"""Several workers as one: steps go in, and what comes of them comes out in the order in which it comes.

A worker is an evaluator. One alone is asked in the caller's thread, as if there were no pool; each of several
has a thread that waits for it.
"""

import os
import queue
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from qtt.errors import ConfigError
from qtt.evaluation.base import Evaluator, Rehearser, make_evaluator
from qtt.support.machine import CORES, core_shares, visible_gpus
from qtt.types import Objective, Result, TaskInfo, Trial

WORKER, GPU = "worker", "gpu"
"""Entries of a result's info, where there are several workers: its number, and the device it has."""


@dataclass(frozen=True)
class Event:
    """What a worker says: a result of its step, or None: its step has ended, and it is free.

    lost: why the step ended without a result of its own: its worker is gone, and it is to be asked again.
    """

    worker: int
    result: Result | None
    lost: str | None = None


class Pool(Protocol):
    """Workers, numbered from 0, each of which runs one step at a time.

    places: what the journal says of each one's results: where they were made; empty for one that is alone.
    """

    @property
    def places(self) -> Sequence[Mapping[str, Any]]:
        """One of each worker."""
        ...

    @property
    def there(self) -> Collection[int]:
        """Numbers of the workers that can be given a step, or are at one; those of a cluster come and go."""
        ...

    @property
    def first(self) -> Rehearser:
        """The worker that sees to what all need before the first step."""
        ...

    def start(self) -> None:
        """Make all ready in the background."""
        ...

    def submit(self, worker: int, trial: Trial, task: TaskInfo, seconds: float | None) -> None:
        """Have a free worker run a step; see `Evaluator.evaluate`."""
        ...

    def next(self) -> Event | None:
        """What any worker says next, once it does; None: another worker is there, or none is at work yet.

        Raises:
            Exception: whatever a worker's evaluator raises.
        """
        ...

    def close(self) -> None:
        """Release what the workers hold, steps that run included."""
        ...


class OneWorker:
    """An evaluator that is alone."""

    places: Sequence[Mapping[str, Any]] = ({},)
    there: Collection[int] = (0,)

    def __init__(self, evaluator: Evaluator) -> None:
        self.first = evaluator
        self._results: Iterator[Result] = iter(())

    def start(self) -> None:
        """See `Pool.start`."""
        self.first.start()

    def submit(self, worker: int, trial: Trial, task: TaskInfo, seconds: float | None) -> None:
        """See `Pool.submit`."""
        self._results = self.first.evaluate(trial, task, seconds)

    def next(self) -> Event:
        """See `Pool.next`."""
        return Event(0, next(self._results, None))

    def close(self) -> None:
        """See `Pool.close`."""
        self.first.close()


class Workers:
    """Several evaluators, each waited for by a thread of its own while it runs a step."""

    def __init__(self, evaluators: Sequence[Evaluator], places: Sequence[Mapping[str, Any]]) -> None:
        self._evaluators = evaluators
        self.places = places
        self.there: Collection[int] = range(len(places))
        self._events: queue.SimpleQueue[Event | BaseException] = queue.SimpleQueue()
        self._threads: dict[int, threading.Thread] = {}

    @property
    def first(self) -> Evaluator:
        """See `Pool.first`."""
        return self._evaluators[0]

    def start(self) -> None:
        """See `Pool.start`."""
        for evaluator in self._evaluators:
            evaluator.start()

    def submit(self, worker: int, trial: Trial, task: TaskInfo, seconds: float | None) -> None:
        """See `Pool.submit`."""
        arguments = worker, trial, task, seconds
        thread = threading.Thread(
            target=self._serve, args=arguments, name=f"qtt-worker-{worker}", daemon=True
        )
        self._threads[worker] = thread
        thread.start()

    def _serve(self, worker: int, trial: Trial, task: TaskInfo, seconds: float | None) -> None:
        try:
            for result in self._evaluators[worker].evaluate(trial, task, seconds):
                self._events.put(Event(worker, result))
            self._events.put(Event(worker, None))
        except BaseException as error:  # which is the caller's to hear
            self._events.put(error)

    def next(self) -> Event:
        """See `Pool.next`."""
        found = self._events.get()
        if isinstance(found, BaseException):
            raise found
        return found

    def close(self) -> None:
        """See `Pool.close`; all end at once, so that it takes no longer than one of them."""
        at_once([evaluator.close for evaluator in self._evaluators])
        for thread in self._threads.values():
            thread.join()
        at_once([evaluator.close for evaluator in self._evaluators])  # one that was just starting again


def at_once(calls: Sequence[Callable[[], None]]) -> None:
    """Make all calls at the same time, and wait for them."""
    threads = [threading.Thread(target=call, daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(0.2)  # in pieces, so that an interrupt is noticed


def make_pool(
    objective: Objective,
    log: Path,
    isolation: str = "auto",
    workers: int | None = 1,
    device: str | None = None,
) -> Pool:
    """As many workers as are wanted.

    Several are training processes, each with a GPU of its own, or with its share of the processor cores, and
    a log of its own beside `log`.

    workers: how many; None: one for each GPU, or one where there is none.
    device: the objective's setting; where it names a device, all use it.

    Raises:
        ConfigError: several workers in this process; or see `make_evaluator`.
    """
    gpus, count = usable_gpus(device), worker_count(workers, device)
    if count == 1:
        return OneWorker(make_evaluator(objective, log, isolation))
    if isolation == "inline":
        raise ConfigError(f"{count} workers need processes of their own: executor=process, not inline.")
    logs = [log, *(log.with_name(f"{log.stem}-{worker}{log.suffix}") for worker in range(1, count))]
    environments = [own_device(worker, count, gpus) for worker in range(count)]
    evaluators = [
        make_evaluator(objective, log, "process", environment)
        for log, environment in zip(logs, environments, strict=True)
    ]
    return Workers(evaluators, [_place(worker, own) for worker, own in enumerate(environments)])


def usable_gpus(device: str | None) -> tuple[str, ...]:
    """The GPUs that workers may have to themselves; none where the setting names one device for all."""
    return () if device == "cpu" or (device or "").startswith("cuda:") else visible_gpus()


def worker_count(workers: int | None, device: str | None) -> int:
    """How many workers a setting means; None: one for each GPU, or one where there is none.

    Raises:
        ConfigError: none at all.
    """
    count = max(1, len(usable_gpus(device))) if workers is None else workers
    if count < 1:
        raise ConfigError(f"A search needs at least one worker; got {count}.")
    return count


def own_device(worker: int, count: int, gpus: Sequence[str]) -> dict[str, str]:
    """Variables by which a worker's training process sees one GPU alone, and its share of the cores."""
    cores = core_shares(count)[worker]
    own = {CORES: ",".join(map(str, cores))} if cores else {}
    if cores and "OMP_NUM_THREADS" not in os.environ:
        own["OMP_NUM_THREADS"] = str(len(cores))
    return own | ({"CUDA_VISIBLE_DEVICES": gpus[worker % len(gpus)]} if gpus else {})


def _place(worker: int, environment: Mapping[str, str]) -> dict[str, Any]:
    gpu = environment.get("CUDA_VISIBLE_DEVICES")
    return {WORKER: worker, **({} if gpu is None else {GPU: gpu})}
