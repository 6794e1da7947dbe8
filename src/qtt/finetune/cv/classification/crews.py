"""Batches of one epoch, made here or by processes that go on from epoch to epoch and pipeline to pipeline."""

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from qtt.errors import QTTError
from qtt.evaluation.step import describe
from qtt.finetune.cv.classification.loading import (
    Batch,
    Place,
    Request,
    Requests,
    Split,
    Trouble,
    WorkerDataset,
    plain_loader,
)
from qtt.finetune.cv.classification.transforms import Transform

log = logging.getLogger(__name__)

LONGEST_END = 5.0
"""Seconds in which a process that was told to end must have ended."""


class WorkersLost(QTTError):  # noqa: N818 - says what happened
    """Processes that make batches died, or cannot hand them over; there will be fewer of them."""


def tells_of_lost_workers(error: BaseException) -> bool:
    """Whether torch says that a worker died: where it hears of that, it interrupts whatever is under way."""
    return isinstance(error, RuntimeError) and "DataLoader worker" in str(error)


class Crew:
    """Processes that make batches of one split; they start with the first epoch and stay until `close`."""

    def __init__(self, split: Split, workers: int, pin: bool) -> None:
        self._requests = Requests()
        with warnings.catch_warnings(
            action="ignore", category=UserWarning
        ):  # more workers than cores: asked for
            self._loader: Any = DataLoader(
                WorkerDataset(split),
                sampler=self._requests,
                batch_size=None,
                num_workers=workers,
                persistent_workers=True,
                pin_memory=pin,
                generator=torch.Generator(),
            )

    def batches(self, requests: Iterable[Request], count: int) -> Iterator[Batch]:
        """One epoch of so many batches; the processes end where not all are taken.

        Raises:
            DatasetError, …: what making a batch raised.
            WorkersLost: a process has died, could not be started, or cannot hand over what it made.
        """
        self._requests.of_epoch = requests
        finished = False
        try:
            batches = self._safely(lambda: iter(self._loader))
            for number in range(1, count + 1):
                batch = self._safely(lambda: next(batches))
                if isinstance(batch, Trouble):
                    raise WorkersLost(describe(batch.error)) if batch.lost else batch.error
                finished = number == count  # now, for Lightning does not ask for more than it was promised
                yield batch
        finally:
            if not finished:
                self.close()

    def close(self) -> None:
        """End the processes, and see them gone."""
        batches, self._loader._iterator = self._loader._iterator, None
        if batches is None:
            return
        try:
            batches._shutdown_workers()
        except RuntimeError as error:
            if not tells_of_lost_workers(error):
                raise
        for process in batches._workers:  # some versions of torch do not wait for those that they terminate
            process.join(LONGEST_END)
            process.kill()
            process.join()

    def _safely(self, ask: Callable[[], Any]) -> Any:
        """What the loader gives; all that it raises is about its processes."""
        try:
            return ask()
        except Exception as error:
            raise WorkersLost(describe(error)) from error


class Crews:
    """The crew used last: that of the training images at one size, whichever pipeline asks for them.

    A crew that is lost is followed by one of half as many processes, in the end by none: batches are made in
    the training process then. So where shared memory is too small for some workers, fewer may fit.
    """

    def __init__(self) -> None:
        self._crew: Crew | None = None
        self._of: tuple[Split, int, bool] | None = None
        self._most: int | None = None

    def batches(
        self, split: Split, requests: Iterable[Request], count: int, workers: int, pin: bool
    ) -> Iterator[Batch]:
        """One epoch of `count` batches, made by `workers` processes, or as many as are left, or here.

        Raises:
            DatasetError, …: what making a batch raised.
            WorkersLost: processes were lost; the epoch is to be repeated.
        """
        workers = workers if self._most is None else min(workers, self._most)
        if not workers:
            yield from plain_loader(split, requests, pin)
            return
        draw_as_a_loader_does()
        try:
            yield from self._of_split(split, workers, pin).batches(requests, count)
        except WorkersLost as error:
            raise self.lost(str(error)) from error

    def lost(self, reason: str) -> WorkersLost:
        """End what is left of a crew of which processes died; the error that says so."""
        workers = 0 if self._of is None else self._of[1]
        self._most = workers // 2
        self.close()
        log.warning(
            "Processes that make batches were lost (%s). Training goes on with %s of %d. Where shared memory "
            "is small, as in a container, give it more (docker run --shm-size=2g), or ask for fewer "
            "processes (objective.settings.num_workers).",
            reason,
            self._most or "none",
            workers,
        )
        return WorkersLost(reason)

    def _of_split(self, split: Split, workers: int, pin: bool) -> Crew:
        if (
            self._crew is None
            or self._of is None
            or self._of[0] is not split
            or self._of[1:] != (workers, pin)
        ):
            self.close()
            self._crew, self._of = Crew(split, workers, pin), (split, workers, pin)
        return self._crew

    def close(self) -> None:
        """End all processes."""
        crew, self._crew, self._of = self._crew, None, None
        if crew is not None:
            crew.close()


class Batches:
    """One epoch of a pipeline's batches whenever it is iterated over.

    No `DataLoader`, whose workers Lightning would end after every epoch.

    order: of the epoch that is to come. transform: None where images stay as they are.
    """

    def __init__(
        self,
        split: Split,
        order: Sampler[Place],
        transform: Transform | None,
        crews: Crews,
        workers: int,
        pin: bool,
    ) -> None:
        self._split = split
        self._order: Any = order
        self._transform = transform
        self._crews = crews
        self._workers = workers
        self._pin = pin

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Batch]:
        requests = ((indices, seed, self._transform) for indices, seed in self._order)
        return self._crews.batches(self._split, requests, len(self), self._workers, self._pin)


def draw_as_a_loader_does() -> None:
    """Take the seed that a loader without workers would take from torch's global state at an epoch's begin.

    What the network draws after that, for dropout, is then the same however many workers there are.
    """
    torch.empty((), dtype=torch.int64).random_()
