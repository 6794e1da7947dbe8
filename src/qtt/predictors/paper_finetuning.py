"""When and how long the paper's networks are finetuned during a search (Quick-Tune, section 4).

In the first steps of a search the meta-learned weights are finetuned anew and for long, later the current
weights for a little after each observation, and anew again when the incumbent has not improved for long.
The weights after n observations depend on those before, so they are computed from the last such restart on:
they are a function of the history, however it was told.
"""

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic, NamedTuple, TypeVar

from torch import Tensor, nn

from qtt.errors import ConfigError
from qtt.history import History
from qtt.predictors.finetuning import adam
from qtt.types import Result

Network = TypeVar("Network", bound=nn.Module)


class Refit(NamedTuple):
    """After `position` results, `steps` of Adam."""

    position: int
    steps: int


@dataclass(frozen=True)
class RefitPlan:
    """Settings of finetuning; observations are epochs with a score.

    early: so many observations are the start of a search. early_steps: of Adam after each of them, and after
    a restart. steps: of Adam after later observations, 0 for none. every: later observations per refit.
    patience: observations without a better score that lead to a restart.
    """

    early: int
    early_steps: int
    steps: int
    every: int
    patience: int
    learning_rate: float

    def __post_init__(self) -> None:
        if min(self.every, self.patience) < 1 or min(self.early, self.early_steps, self.steps) < 0:
            raise ConfigError(f"Finetuning needs every and patience ≥ 1 and no negative counts; got {self}.")

    def refits(self, history: History) -> list[Refit]:
        """All refits from the last restart on; the first one starts from the meta-learned weights."""
        plan: list[Refit] = []
        best, improved, observed = -float("inf"), 0, 0
        for position, result in enumerate(history, 1):
            if not result.succeeded:
                continue
            observed += 1
            if result.score > best:
                best, improved = result.score, observed
            stuck = observed > improved and (observed - improved) % self.patience == 0
            if observed <= self.early or stuck:
                plan = [Refit(position, self.early_steps)]
            elif observed % self.every == 0:
                plan.append(Refit(position, self.steps))
        return [refit for refit in plan if refit.steps]


class OnlineFit(Generic[Network]):
    """A network that follows a search.

    Args:
        plan: when and how long.
        initial: the meta-learned network; it is not changed.
        objective: the loss to minimise, as a function of a network, after a history.
    """

    def __init__(
        self,
        plan: RefitPlan,
        initial: Network,
        objective: Callable[[History], Callable[[Network], Tensor]],
    ) -> None:
        self._plan = plan
        self._initial = initial
        self._objective = objective
        self._done: list[Refit] = []
        self._told: list[Result] = []
        self._network = initial

    def after(self, history: History) -> Network:
        """The network after these results; what was computed for the first of them is not repeated."""
        refits = self._plan.refits(history)
        results = list(history)
        if not self._continues(refits, results):
            self._done, self._network = [], self._initial
        for refit in itertools.islice(refits, len(self._done), None):
            network = copy.deepcopy(self._network)
            objective = self._objective(History(results[: refit.position]))
            parameters = list(network.parameters())
            rates = [self._plan.learning_rate] * len(parameters)
            adam(partial(objective, network), parameters, rates, refit.steps)
            self._network = network
        self._done, self._told = refits, results
        return self._network

    def _continues(self, refits: list[Refit], results: list[Result]) -> bool:
        done = len(self._done)
        known = self._done[-1].position if self._done else 0
        return refits[:done] == self._done and results[:known] == self._told[:known]
