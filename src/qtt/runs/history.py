"""What a search has seen so far, as a function of its results: curves, failures and the incumbent."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from qtt.types import Result, Status


@dataclass(frozen=True)
class Observation:
    """One finished epoch of a pipeline.

    estimate: see `Result`. stderr: standard error of the score, where it is known. pace: seconds that another
    such epoch takes, where the objective says that `cost` is not that, because it found or made what others
    will use.
    """

    fidelity: int
    score: float
    cost: float
    estimate: float
    stderr: float | None = None
    pace: float | None = None

    @property
    def seconds(self) -> float:
        """What another such epoch takes."""
        return self.cost if self.pace is None else self.pace


Curve = tuple[Observation, ...]
"""Observations of a pipeline by rising fidelity."""


class History:
    """Results in the order in which they were told, indexed by pipeline.

    A repeated (config_id, fidelity) replaces the earlier observation, so that a pipeline restarted after its
    checkpoint was evicted has one curve.

    Of pipelines that one is better whose best epoch has the higher estimate (see `Result`), which mostly is
    its score, and of equal ones the first. Of a pipeline's epochs it is the score that counts, and of equal
    ones the last: on some hundred validation examples ties are frequent, and the end of a schedule mostly is
    the better one.
    """

    def __init__(self, results: Iterable[Result] = ()) -> None:
        self._results: list[Result] = []
        self._curves: dict[int, dict[int, Observation]] = {}
        self._sorted: dict[int, Curve] = {}
        self._evaluations = 0
        self._last: dict[int, int] = {}
        self._reached: dict[int, tuple[float, int]] = {}
        self._failed: dict[int, str] = {}
        self._incumbent: Result | None = None
        self._highest: float | None = None
        self._cut_off = 0
        for result in results:
            self.add(result)

    def add(self, result: Result) -> None:
        """Append one result."""
        self._results.append(result)
        self._cut_off += result.status is Status.TIMEOUT
        if result.status is Status.FAILED:
            self._failed[result.config_id] = str(result.info.get("reason", "no reason given"))
        if not result.succeeded:
            return
        curve = self._curves.setdefault(result.config_id, {})
        curve[result.fidelity] = Observation(
            result.fidelity,
            result.score,
            result.cost,
            result.estimate,
            result.reported("stderr"),
            result.reported("pace"),
        )
        self._sorted.pop(result.config_id, None)
        self._evaluations += 1
        self._last[result.config_id] = max(result.fidelity, self._last.get(result.config_id, 0))
        best = max(curve.values(), key=lambda seen: seen.score).estimate
        if result.config_id not in self._reached or self._reached[result.config_id][0] != best:
            self._reached[result.config_id] = best, len(self._results)
        if self._incumbent is None or self._is_better(result, self._incumbent):
            self._incumbent = result
        if self._highest is None or result.score > self._highest:
            self._highest = result.score

    def __len__(self) -> int:
        return len(self._results)

    def __iter__(self) -> Iterator[Result]:
        return iter(self._results)

    @property
    def latest(self) -> Result | None:
        """The result that was added last; None before the first."""
        return self._results[-1] if self._results else None

    @property
    def evaluations(self) -> int:
        """Number of epochs that finished with a score."""
        return self._evaluations

    @property
    def learned(self) -> int:
        """Number of results that say something of a pipeline: those of steps that were not cut off."""
        return len(self._results) - self._cut_off

    @property
    def incumbent(self) -> Result | None:
        """The best result so far; None before the first success."""
        return self._incumbent

    @property
    def highest(self) -> float | None:
        """The highest score so far, luck included; None before the first success."""
        return self._highest

    @property
    def failed(self) -> dict[int, str]:
        """Failed pipelines with their reasons."""
        return dict(self._failed)

    @property
    def observed(self) -> list[int]:
        """Ids of pipelines with at least one score, in order of their first one."""
        return list(self._curves)

    def curve(self, config_id: int) -> Curve:
        """Observations of a pipeline by rising fidelity; empty when it was never seen.

        The same object until there is another observation of it.
        """
        if config_id not in self._sorted:
            curve = self._curves.get(config_id, {})
            self._sorted[config_id] = tuple(curve[fidelity] for fidelity in sorted(curve))
        return self._sorted[config_id]

    def fidelity(self, config_id: int) -> int:
        """Largest fidelity with a score, 0 when there is none."""
        return self._last.get(config_id, 0)

    def best(self, config_id: int) -> Observation | None:
        """The pipeline's best observation, the last among equals; None when it was never seen."""
        return max(self.curve(config_id), key=lambda seen: (seen.score, seen.fidelity), default=None)

    def ranking(self) -> list[int]:
        """Ids of observed pipelines, the best first; of equal ones, the one that reached it first."""

        def place(config_id: int) -> tuple[float, int]:
            estimate, when = self._reached[config_id]
            return -estimate, when

        return sorted(self._curves, key=place)

    @staticmethod
    def _is_better(result: Result, than: Result) -> bool:
        if result.config_id != than.config_id:
            return result.estimate > than.estimate
        return (result.score, result.fidelity) > (than.score, than.fidelity)
