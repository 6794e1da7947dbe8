"""When and how long the paper's networks are finetuned during a search (Quick-Tune, section 4).

In the first steps of a search the meta-learned weights are finetuned anew and for long, later the current
weights for a little after each observation, and anew again when the incumbent has not improved for long.
The weights after n observations depend on those before, so they are computed from the last such restart on:
they are a function of the history, however it was told.
"""

import copy
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, NamedTuple

from torch import Tensor

from qtt.errors import ConfigError, PredictionError
from qtt.predictors.base import SearchTask
from qtt.predictors.finetuning import adam
from qtt.predictors.paper_network import Network, paper_builder, paper_network, paper_spec
from qtt.runs.history import History
from qtt.types import Result


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


class OnlinePredictor(ABC, Generic[Network]):
    """What the paper's two predictors share: a network of an artifact that follows a search.

    Args:
        kind: of network.
        weights: artifact folder with `features.json` and `paper.safetensors`; None for random weights.
        plan: of finetuning.
    """

    def __init__(self, kind: type[Network], weights: Path | str | None, plan: RefitPlan) -> None:
        self.weights = None if weights is None else Path(weights)
        self.plan = plan
        self._kind = kind
        self._fit: OnlineFit[Network] | None = None

    def setup(self, task: SearchTask) -> None:
        """Start a new search.

        Raises:
            ArtifactError: weights that are missing or malformed.
        """
        spec = paper_spec(task, self.weights)
        self._builder = paper_builder(task, spec)
        self._network = paper_network(self._kind, spec, self.weights, task.seed)
        self._fit = OnlineFit(self.plan, self._network, self._objective)
        self._history = History()

    def condition(self, history: History) -> None:
        """Finetune on the observations, as far as the plan says so after these."""
        self._network = self._ready().after(history)
        self._history = history

    def _ready(self) -> OnlineFit[Network]:
        """Raises PredictionError before `setup`."""
        if self._fit is None:
            raise PredictionError("The predictor has no task yet; call setup(task) first.")
        return self._fit

    @abstractmethod
    def _objective(self, history: History) -> Callable[[Network], Tensor]:
        """The loss after these results, of a network."""
