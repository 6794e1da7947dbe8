"""Fantasies: scores that are supposed of steps which have not ended, so that asks know of what is under way.

A predictor that is conditioned on the scores it expects of pending steps (the "kriging believer",
Ginsbourger et al. 2010) expects what it did before, but is surer of pipelines that are like the pending ones:
the next ask goes where there is more to be learned.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from scipy.special import expit

from qtt.predictors.base import PerformancePredictor
from qtt.runs.history import Curve, History, Observation


@dataclass(frozen=True)
class Fantasy:
    """A pending step as it may end: at an epoch, with a score."""

    fidelity: int
    score: float


NOTHING: Mapping[int, Fantasy] = {}
"""No fantasies."""


class Curves(Protocol):
    """Where learning curves are found: a history, or one with fantasies."""

    @property
    def observed(self) -> list[int]:
        """Ids of pipelines with at least one score."""
        ...

    def curve(self, config_id: int) -> Curve:
        """Observations of a pipeline by rising fidelity; empty when it was never seen."""
        ...

    def fidelity(self, config_id: int) -> int:
        """Largest fidelity with a score, 0 when there is none."""
        ...


@dataclass(frozen=True)
class Supposed:
    """A history in which pending steps have ended.

    fantasies: of pipelines, beyond their last epoch that was seen.
    """

    history: History
    fantasies: Mapping[int, Fantasy]

    @property
    def observed(self) -> list[int]:
        """Ids of pipelines with at least one score, supposed ones last."""
        seen = self.history.observed
        return seen + [i for i in self.fantasies if not self.history.fidelity(i)]

    def curve(self, config_id: int) -> Curve:
        """Observations of a pipeline by rising fidelity; that of a fantasy took no time."""
        seen = self.history.curve(config_id)
        supposed = self.fantasies.get(config_id)
        if supposed is None:
            return seen
        return (*seen, Observation(supposed.fidelity, supposed.score, 0.0, supposed.score))

    def fidelity(self, config_id: int) -> int:
        """Largest fidelity with a score, 0 when there is none."""
        supposed = self.fantasies.get(config_id)
        return self.history.fidelity(config_id) if supposed is None else supposed.fidelity


@runtime_checkable
class SupposingPredictor(PerformancePredictor, Protocol):
    """A predictor of scores that can take fantasies for observations."""

    def suppose(self, history: History, fantasies: Mapping[int, Fantasy]) -> None:
        """Learn from the observations so far, and predict as if pending steps had ended as supposed.

        What is learned beyond that, weights and scales, is learned from the observations alone.
        """
        ...


def expected(
    predictor: PerformancePredictor, config_id: int, fidelity: int, deviations: float = 0.0
) -> Fantasy:
    """How a step may end: as is expected of it, or so many standard deviations above that."""
    found = predictor.predict([config_id], [fidelity])
    value = float(found.mean[0] + deviations * found.std[0])
    return Fantasy(fidelity, float(expit(value)) if found.link == "logit" else value)
