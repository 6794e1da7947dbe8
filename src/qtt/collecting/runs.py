"""One run of a collection, how far runs are trained, and who is told of it."""

import shutil
from dataclasses import dataclass
from typing import Protocol

from qtt.collecting.plan import Plan
from qtt.collecting.record import RunRecord
from qtt.errors import ConfigError
from qtt.space.horizon import last_epoch
from qtt.types import Result


@dataclass(frozen=True)
class Run:
    """One run: pipeline `config_id` of a plan, and what is known of it."""

    plan: Plan
    config_id: int
    record: RunRecord

    @property
    def name(self) -> str:
        """Its name within the curve table."""
        return self.plan.run_ids[self.config_id]

    def last(self, epochs: int) -> int:
        """Where it ends that is to be trained for so many epochs: there, or where its schedule does."""
        return last_epoch(self.plan.candidates.configs[self.config_id], epochs)

    def end(self, epochs: int) -> str | None:
        """How it ended that is to be trained for so many epochs, None where it goes on."""
        return self.record.end(self.last(epochs))

    def discard_checkpoint(self) -> None:
        """Remove what the objective keeps on disk for this run."""
        folder = self.plan.task.pipeline_dir(self.config_id)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Limits:
    """How far to train a run (epochs), and for how many seconds at most."""

    epochs: int
    time_cap: float | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise ConfigError(f"epochs must be at least 1; got {self.epochs}.")
        if self.time_cap is not None and not self.time_cap > 0:
            raise ConfigError(f"time_cap must be positive seconds, or null for none; got {self.time_cap}.")


class Watcher(Protocol):
    """Who is told of the progress; called by one thread at a time."""

    def epoch(self, run: Run, result: Result) -> None:
        """An epoch was journaled."""
        ...

    def ended(self, run: Run, end: str, epochs_saved: int) -> None:
        """A run ended, by so many epochs earlier than planned."""
        ...

    def waiting(self, run: Run, fault: str, seconds: float) -> None:
        """A fault of the world keeps a run from going on; it is tried again in `seconds`."""
        ...
