"""The watchdog: a step that takes far longer than can be expected has hung, and is ended."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from qtt.errors import ConfigError
from qtt.evaluation.pool import WORKER
from qtt.evaluation.step import GAVE_UP, failure
from qtt.optimizers.base import Optimizer, Outlook
from qtt.runs.history import History
from qtt.runs.journal import Entry
from qtt.types import Result, Status, Trial

REPEATED = 2.0
"""Times what the epochs before a step took are granted, too: without a checkpoint they are repeated."""


@dataclass(frozen=True)
class Watchdog:
    """How long a step may take, in seconds.

    What it is expected to take is known from the pipeline's own epochs and, once an epoch of any pipeline was
    seen on this machine, from the optimizer's cost predictor; the longer one counts. A step of which nothing
    is known may take `factor * floor`.

    factor: a step may take so many times what is expected; None: as long as it likes.
    floor: seconds that it may take in any case: training processes start, weights and images are loaded.

    Raises:
        ConfigError: a factor that is not above 1, or a floor that is not positive.
    """

    factor: float | None = 20.0
    floor: float = 600.0

    def __post_init__(self) -> None:
        if self.factor is not None and not self.factor > 1:
            raise ConfigError(f"hang_factor must be above 1; got {self.factor}.")
        if not self.floor > 0:
            raise ConfigError(f"hang_floor must be positive seconds; got {self.floor}.")

    def limit(
        self, trial: Trial, history: History, predicted: float | None, scale: float = 1.0
    ) -> float | None:
        """Seconds that a step may take; None: there is no limit.

        predicted: seconds that the optimizer expects it to take; None: it expects nothing. scale: seconds by
        the clock that a second of cost takes; see `Pace`.
        """
        if self.factor is None:
            return None
        epoch = epoch_seconds(trial, history, predicted)
        if epoch is None:
            return self.factor * self.floor
        done = history.fidelity(trial.config_id)
        return max(self.floor, scale * epoch * (self.factor * (trial.fidelity - done) + REPEATED * done))

    def watch(self, trial: Trial, limit: float | None, left: float | None) -> "Watch":
        """What bounds a step: its limit, or the seconds left of a budget where these are fewer."""
        if limit is None or (left is not None and left <= limit):
            return Watch(left, None)
        reason = (
            f"Hung: its step until epoch {trial.fidelity} was ended after {{seconds:.0f}} s, far beyond what "
            f"was expected (hang_factor {self.factor:g}, hang_floor {self.floor:g} s)."
        )
        return Watch(limit, reason)


@dataclass(frozen=True)
class Watch:
    """What bounds one step.

    seconds: that it may take; None: as long as it likes. hung: why it fails beyond them; None: it does not.
    """

    seconds: float | None
    hung: str | None

    def judged(self, result: Result, trial: Trial) -> Result:
        """A result of the step: where it ran out of time by hanging, the failure of its pipeline."""
        if self.hung is None or result.status is not Status.TIMEOUT or result.info.get(GAVE_UP):
            return result
        return failure(trial, self.hung.format(seconds=result.cost), result.cost)


class Pace:
    """What a second of cost takes by the clock: objectives leave something out, or count in other units.

    Of several workers each has its own clock: from its result before.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._elapsed: dict[object, float] = {}
        self._ratios: list[float] = []
        for entry in entries:
            self.add(entry.result, entry.elapsed)

    def add(self, result: Result, elapsed: float) -> None:
        """Note a result that was journaled at so many seconds of the budget."""
        worker = result.info.get(WORKER, 0)
        if result.succeeded:
            self._ratios.append((elapsed - self._elapsed.get(worker, 0.0)) / result.cost)
        self._elapsed[worker] = elapsed

    @property
    def scale(self) -> float:
        """Seconds by the clock for a second of cost, at least 1: the median of all epochs."""
        return max(1.0, median(self._ratios)) if self._ratios else 1.0


def epoch_seconds(trial: Trial, history: History, predicted: float | None) -> float | None:
    """Seconds that an epoch of a step is expected to take; None: nothing is known.

    predicted: of the whole step, by the optimizer, which is not believed before an epoch was seen.
    """
    curve = history.curve(trial.config_id)
    known = [max(seen.cost for seen in curve)] if curve else []
    if predicted is not None and history.observed:
        known.append(predicted / max(trial.fidelity - history.fidelity(trial.config_id), 1))
    return max(known, default=None)


def predicted_seconds(optimizer: Optimizer) -> float | None:
    """What an optimizer expects the step to take that it asked last; None: it does not say."""
    outlook: Callable[[], Outlook | None] | None = getattr(optimizer, "outlook", None)
    expected = None if outlook is None else outlook()
    return None if expected is None else expected.step_seconds
