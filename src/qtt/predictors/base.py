"""What an optimizer needs to know from its predictors."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from qtt.runs.history import History
from qtt.space.domains import Options
from qtt.types import Candidates, MetaFeatures, Prediction

Shared = TypeVar("Shared")


@dataclass(frozen=True)
class SearchTask:
    """One search as predictors see it, before anything was observed.

    options: every hyperparameter with all of its options, or its range; by default the options that occur in
    the candidates.
    epochs_per_step: Δt. seed: of everything a predictor draws.
    on_cpu: whether training is known to be on a CPU.
    """

    candidates: Candidates
    metafeatures: MetaFeatures | None = None
    options: Mapping[str, Options] = field(default_factory=dict)
    max_fidelity: int = 50
    epochs_per_step: int = 1
    seed: int = 0
    on_cpu: bool = False
    _shared: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.options:
            object.__setattr__(self, "options", _options_of(self.candidates))

    @property
    def conditional(self) -> tuple[str, ...]:
        """Hyperparameters that are inactive in some candidates."""
        configs = self.candidates.configs
        return tuple(name for name in self.options if any(name not in config for config in configs))

    def shared(self, key: Hashable, compute: Callable[[], Shared]) -> Shared:
        """What several predictors need, computed by the first of them.

        key: names the function and everything but the task that it depends on.
        """
        if key not in self._shared:
            self._shared[key] = compute()
        found: Shared = self._shared[key]
        return found


class Predictor(Protocol):
    """Learns from the observations of one search."""

    def setup(self, task: SearchTask) -> None:
        """Start a new search: encode its candidates, forget what was observed."""
        ...

    def condition(self, history: History) -> None:
        """Learn from the observations so far, as a pure function of task and history."""
        ...


class PerformancePredictor(Predictor, Protocol):
    """Predicts the scores of pipelines at epochs yet to come."""

    def predict(self, config_ids: Sequence[int], fidelities: Sequence[int]) -> Prediction:
        """Score of each pipeline at a fidelity beyond its last one: mean and std, both (n,)."""
        ...


class CostPredictor(Predictor, Protocol):
    """Predicts how long pipelines train."""

    def predict(self, config_ids: Sequence[int]) -> NDArray[np.float64]:
        """Seconds of each pipeline's next epoch, training and evaluation, > 0; (n,)."""
        ...


class FailurePredictor(Predictor, Protocol):
    """Predicts which pipelines fail."""

    def predict(self, config_ids: Sequence[int]) -> NDArray[np.float64]:
        """Probability that each pipeline fails, in [0, 1]; (n,)."""
        ...


def _options_of(candidates: Candidates) -> dict[str, tuple[Any, ...]]:
    names = dict.fromkeys(name for config in candidates.configs for name in config)
    return {
        name: tuple(dict.fromkeys(config[name] for config in candidates.configs if name in config))
        for name in names
    }
