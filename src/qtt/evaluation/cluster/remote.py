"""A worker on the cluster as the head sees it: it is placed, answers, and may be lost at any moment."""

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from qtt.evaluation.cluster.actor import NodeWorker, Plan
from qtt.evaluation.cluster.luggage import State
from qtt.evaluation.training_process import GRACE, MARGIN

BEAT = 3.0
"""Seconds between two words to a worker."""

SILENCE = 40.0
"""Seconds without an answer after which a worker counts as dead; it has ended itself before, if it could."""


class WorkerLost(Exception):  # noqa: N818 - the world's doing, and nobody's error
    """A worker that died, or cannot be reached any more."""


class Overdue(Exception):  # noqa: N818 - what comes of a limit
    """A call that has not ended in its time."""


class RemoteWorker:
    """An actor of Ray's, asked for at once and placed as soon as the cluster has room; used by one thread.

    facts: where it is, once it is placed. holds: the pipeline whose files it has, and their state on the
    head, where they travel.
    """

    def __init__(self, ray: Any, plan: Plan, needs: Mapping[str, float]) -> None:
        self._ray = ray
        options = {
            "num_cpus": needs["CPU"],
            "num_gpus": needs["GPU"],
            "max_concurrency": 4,
            "max_restarts": 0,
        }
        self._actor = ray.remote(NodeWorker).options(**options).remote(plan)
        self._begun = self._actor.begin.remote()
        self._beat: Any = None
        self._asked = 0.0
        self._interrupted = False
        self.facts: Mapping[str, Any] = {}
        self.holds: tuple[int, State] | None = None

    def placed(self, seconds: float) -> bool:
        """Wait so long for its place; whether it has one.

        Raises:
            WorkerLost: it died on the way.
            EnvironmentFault: it cannot work where it was placed.
        """
        ready, _ = self._ray.wait([self._begun], timeout=seconds)
        if ready:
            self.facts = self._value(self._begun)
        return bool(ready)

    def call(self, method: str, *arguments: Any, seconds: float | None = None) -> Iterator[Mapping[str, Any]]:
        """Yield what a method yields, as it comes.

        Raises:
            WorkerLost: it died, or does not answer.
            Overdue: so many seconds have passed.
            Exception: what the method raises.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        stream = getattr(self._actor, method).options(num_returns="streaming").remote(*arguments)
        while True:
            left = BEAT if deadline is None else min(BEAT, deadline - time.monotonic())
            if left <= 0:
                raise Overdue
            ready, _ = self._ray.wait([stream], timeout=left)
            if ready:
                try:
                    found = next(stream)
                except StopIteration:
                    return
                except self._ray.exceptions.RayError as error:
                    raise self._lost(error) from error
                yield self._value(found)
            if self._interrupted:
                raise WorkerLost("it was ended")
            self.beat()

    def beat(self) -> None:
        """Say a word, every `BEAT` seconds at most.

        Raises:
            WorkerLost: it is dead, or has not answered for `SILENCE` seconds.
        """
        now = time.monotonic()
        if self._beat is None and now - self._asked >= BEAT:
            self._beat, self._asked = self._actor.beat.remote(), now
        if self._beat is None:
            return
        ready, _ = self._ray.wait([self._beat], timeout=0)
        if ready:
            answer, self._beat = self._beat, None
            self._value(answer)
        elif now - self._asked > SILENCE:
            raise WorkerLost(f"it has not answered for {now - self._asked:.0f} s")

    def interrupt(self) -> None:
        """End its training process, from any thread; a call that is under way then ends, too."""
        self._interrupted = True
        with suppress(self._ray.exceptions.RayError):
            self._actor.close.remote()

    def end(self, orderly: bool) -> None:
        """End it, with its training process.

        orderly: wait until that has ended; without it, and where it takes too long, it ends by itself.
        """
        with suppress(self._ray.exceptions.RayError):
            if orderly and self.facts:
                self._ray.wait([self._actor.close.remote()], timeout=GRACE + MARGIN)
            self._ray.kill(self._actor)

    def _value(self, reference: Any) -> Any:
        try:
            return self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except self._ray.exceptions.RayError as error:
            raise self._lost(error) from error

    def _lost(self, error: Exception) -> WorkerLost:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        why = next(
            (line for line in lines if line.startswith(("The actor is dead", "The actor died because"))), ""
        )
        return WorkerLost((why or lines[0] if lines else type(error).__name__).split(". ")[0].rstrip("."))
