"""The steps that are under way: who is at what, and who is free."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from qtt.runs.history import History
from qtt.search.watchdog import Watch
from qtt.types import Result, Trial


@dataclass
class Step:
    """A step that a worker runs.

    asked: by the optimizer. trial: what of it the budget allows. begin: by the clock. last: its last result
    so far. fault: of the world, that it met.
    """

    asked: Trial
    trial: Trial
    worker: int
    watch: Watch
    begin: float
    last: Result | None = None
    fault: str | None = None


class Steps:
    """Steps under way, at most one for each worker."""

    def __init__(self) -> None:
        self._of: dict[int, Step] = {}
        self._last_of: dict[int, int] = {}
        self._lost_by: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._of)

    def __iter__(self) -> Iterator[Step]:
        return iter(self._of.values())

    def __getitem__(self, worker: int) -> Step:
        return self._of[worker]

    def free(self, there: Collection[int]) -> list[int]:
        """The workers that have no step."""
        return [worker for worker in there if worker not in self._of]

    @property
    def pipelines(self) -> set[int]:
        """Ids of the pipelines that are being trained."""
        return {step.trial.config_id for step in self}

    def promised(self, history: History) -> int:
        """Epochs that are still to come of them."""
        missing = (step.trial.fidelity - history.fidelity(step.trial.config_id) for step in self)
        return sum(max(epochs, 0) for epochs in missing)

    def worker_for(self, config_id: int, there: Collection[int]) -> int:
        """A free worker: the one that trained the pipeline last, which may still have it, or the first.

        Where that one lost it, any other is better.
        """
        free = self.free(there)
        lost_by = self._lost_by.get(config_id)
        if lost_by is not None:
            return min(free, key=lambda worker: (worker == lost_by, worker))
        last = self._last_of.get(config_id)
        return last if last is not None and last in free else free[0]

    def begin(self, step: Step) -> None:
        """A worker, which was free, is at it."""
        self._of[step.worker] = step
        self._last_of[step.trial.config_id] = step.worker

    def end(self, step: Step) -> None:
        """Its worker is free again."""
        del self._of[step.worker]
        self._lost_by.pop(step.trial.config_id, None)

    def lose(self, step: Step) -> None:
        """Its worker is gone, or has begun anew."""
        self.end(step)
        self._lost_by[step.trial.config_id] = step.worker
