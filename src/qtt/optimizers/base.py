"""What every optimizer promises, and the bookkeeping that all of them share."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from qtt.errors import ConfigError, ObjectiveError
from qtt.optimizers.progress import Ids, Progress
from qtt.runs.history import History
from qtt.space.portfolio import Adapter, Portfolio
from qtt.types import Candidates, Config, MetaFeatures, RawResult, Result, Trial

Told = RawResult | Iterable[RawResult]
"""What `tell` takes: one result or several, as `Result` or as the paper's dict."""


class CandidateSource(Protocol):
    """Where `setup(n)` gets its pipelines; a `qtt.space.config_manager.ConfigManager` is one."""

    def sample(self, n: int, seed: int) -> Candidates:
        """`n` valid pipelines; the same ones for the same seed."""
        ...


@dataclass(frozen=True)
class Expectation:
    """The best score that is expected of any pipeline: which one reaches it, and until which epoch."""

    config_id: int
    fidelity: int
    score: float


@dataclass(frozen=True)
class Outlook:
    """What an optimizer expects, as of the step it asked last.

    step_seconds: how long that step takes. best: None before there is something to go by.
    """

    step_seconds: float
    best: Expectation | None = None


@runtime_checkable
class PipelineSpace(CandidateSource, Adapter, Protocol):
    """A source that knows more than how to sample, as a `ConfigManager` does."""

    def neighbours(self, config: Config, count: int, seed: int) -> list[Config]:
        """Up to `count` distinct pipelines near `config`; the same ones for the same arguments."""
        ...


@runtime_checkable
class ProbedSpace(Protocol):
    """A source that has linear probes."""

    def probes(self) -> list[Config]:
        """Those of its models, in the order in which to fit them; none where the space has none."""
        ...

    def recipes(self) -> list[Config]:
        """Pipelines that begin with a probe and gained much elsewhere, the same ones for each model."""
        ...


@runtime_checkable
class Optimizer(Protocol):
    """Decides which pipeline is trained next, one step of `epochs_per_step` epochs at a time.

    - State is a function of (candidates, seed, results told): an optimizer that is built anew and told the
      journal asks next what the old one would have asked.
    - Asking changes nothing but the set of pending pipelines, and a pending pipeline is not asked again.
    - `ask` returns None when nothing can be asked now. Then `waiting` says why: True, results of pending
      pipelines are still to come; False, the search is over: no step fits into the seconds that are left
      (`nothing_fits`), or every pipeline is exhausted or failed.
    - `candidates` may grow while results are told, never shrink or change: ids stay what they are.

    seconds_left: of the budget; the tuner sets it before every ask, None where time has no bound.
    on_cpu: whether training is known to be on a CPU; the tuner sets it before the first ask.
    epochs_count: whether the budget counts epochs and no seconds, so that an epoch costs one, however long it
        takes; the tuner sets it before the first ask.
    """

    seed: int
    epochs_per_step: int
    max_fidelity: int
    seconds_left: float | None
    on_cpu: bool
    epochs_count: bool

    @property
    def candidates(self) -> Candidates:
        """The pipelines to choose from; `Trial.config_id` counts them from 0."""
        ...

    @property
    def history(self) -> History:
        """Every result told so far."""
        ...

    @property
    def waiting(self) -> bool:
        """Whether results of pending pipelines are still to come."""
        ...

    @property
    def nothing_fits(self) -> bool:
        """Whether there are pipelines to continue, but none whose next step fits into `seconds_left`."""
        ...

    @property
    def shortest_step(self) -> float | None:
        """Predicted seconds of the shortest step that could be asked; None where none is, or no one knows."""
        ...

    def setup(self, n: int | Candidates, metafeatures: MetaFeatures | None = None) -> None:
        """Start a new search on `n` sampled pipelines, or on the given ones."""
        ...

    def ask(self) -> Trial | None:
        """The next step, or None (see the class)."""
        ...

    def tell(self, results: Told) -> None:
        """Learn from one result or several."""
        ...


class CandidateOptimizer(ABC):
    """An `Optimizer` that chooses among candidates; subclasses say which one, and may propose more of them.

    A pipeline is *live* until it failed or reached its last epoch. It is pending from its ask until a result
    at the asked fidelity, a failure or a timeout. After a timeout it may be asked again, up to the same
    fidelity.

    portfolio: pipelines that won elsewhere; a quarter of the candidates that `setup(n)` makes come from it,
        where the config manager can adapt them.
    proposals: how many candidates may be proposed after each result; 0: none. Candidates that were handed to
        `setup` ready-made are all there are.
    seconds_left, on_cpu, epochs_count: see `Optimizer`.
    """

    portfolio: Portfolio | None = None
    proposals: int = 0
    seconds_left: float | None = None
    on_cpu: bool = False
    epochs_count: bool = False

    def __init__(
        self,
        config_manager: CandidateSource | None = None,
        *,
        seed: int = 0,
        epochs_per_step: int = 1,
        max_fidelity: int = 50,
    ) -> None:
        if seed < 0:
            raise ConfigError(f"An optimizer's seed must not be negative; got {seed}.")
        if not 1 <= epochs_per_step <= max_fidelity:
            raise ConfigError(
                f"epochs_per_step must be from 1 to max_fidelity ({max_fidelity}); got {epochs_per_step}."
            )
        self.seed = seed
        self.epochs_per_step = epochs_per_step
        self.max_fidelity = max_fidelity
        self.config_manager = config_manager
        self.metafeatures: MetaFeatures | None = None
        self._candidates: Candidates | None = None
        self._may_grow = False
        self._history = History()
        self._progress = Progress((), max_fidelity)
        self._pending: dict[int, int] = {}

    @property
    def candidates(self) -> Candidates:
        """The pipelines to choose from.

        Raises:
            ConfigError: before `setup`.
        """
        if self._candidates is None:
            raise ConfigError("The optimizer has no candidates yet; call setup(128, metafeatures) first.")
        return self._candidates

    @property
    def history(self) -> History:
        """Every result told so far."""
        return self._history

    @property
    def pending(self) -> frozenset[int]:
        """Ids of pipelines whose last ask has not been answered."""
        return frozenset(self._pending)

    @property
    def waiting(self) -> bool:
        """Whether results of pending pipelines are still to come."""
        return bool(self._pending)

    @property
    def space(self) -> PipelineSpace | None:
        """The config manager, where it knows neighbours and cards of models."""
        return self.config_manager if isinstance(self.config_manager, PipelineSpace) else None

    @property
    def nothing_fits(self) -> bool:
        """Whether there are live pipelines, but none whose next step fits into `seconds_left`."""
        live = self.live()
        return bool(live) and not self._fits(live)

    @property
    def shortest_step(self) -> float | None:
        """Predicted seconds of the shortest step of a live pipeline; None where none is, or no one knows."""
        live = self.live()
        seconds = self._step_seconds(live) if live else None
        return None if seconds is None else float(np.min(seconds))

    def setup(self, n: int | Candidates, metafeatures: MetaFeatures | None = None) -> None:
        """Start a new search.

        Args:
            n: how many pipelines to take from the portfolio and to sample from the config manager, or the
                pipelines themselves.
            metafeatures: descriptors of the dataset.

        Raises:
            ConfigError: there is nothing to choose from.
        """
        self._may_grow = isinstance(n, int)
        candidates = self._sample(n) if isinstance(n, int) else n
        if len(candidates) == 0:
            raise ConfigError("A search needs at least one candidate.")
        self._candidates = candidates
        self.metafeatures = metafeatures
        self._history = History()
        self._progress = Progress(candidates.configs, self.max_fidelity)
        self._pending = {}

    def ask(self) -> Trial | None:
        """The next step; None when nothing can be asked now (`waiting` says whether that will change)."""
        live = self.live()
        fitting = self._fits(live) if live else []
        if not fitting:
            return None
        config_id = self._choose(fitting)
        trial = Trial(config_id, self.candidates.configs[config_id], self.next_fidelity(config_id))
        self._pending[config_id] = trial.fidelity
        return trial

    def tell(self, results: Told) -> None:
        """Learn from one result or several; either all are accepted or none.

        Raises:
            ObjectiveError: a result is malformed, or about a pipeline or fidelity that does not exist.
        """
        if isinstance(results, Result | Mapping):
            results = (results,)
        read = [self._read(raw) for raw in results]
        before = self.candidates
        known, pending = len(self._history), dict(self._pending)
        try:
            for result in read:
                self._add(result)
        except ObjectiveError:
            self._candidates, self._pending = before, pending
            self._history = History(list(self._history)[:known])
            self._progress = Progress.of(before.configs, self.max_fidelity, self._history)
            raise
        if len(self.candidates) > len(before):
            self._candidates_grew()

    def live(self) -> list[int]:
        """Ids of pipelines that may be asked now, ascending."""
        return self._progress.live(self._pending) if len(self.candidates) else []

    def last_epoch(self, config_id: int) -> int:
        """Where a pipeline ends: at `max_fidelity`, or where its own schedule does."""
        return int(self._progress.last[config_id])

    def next_fidelity(self, config_id: int) -> int:
        """Where the pipeline's next step ends: at a multiple of `epochs_per_step`, or at the last epoch.

        Multiples, so that a step that was cut short (timeout, crash) is asked again up to where it was meant
        to end, and curves are compared at the same epochs.
        """
        return int(self._next(np.array([config_id]))[0])

    def _next(self, ids: Ids) -> Ids:
        """The same of several pipelines; (n,)."""
        return self._progress.next_fidelity(ids, self.epochs_per_step)

    @abstractmethod
    def _choose(self, live: list[int]) -> int:
        """One of `live` (never empty), as a function of candidates, seed, history and pending alone.

        `live` holds the pipelines that may be asked and whose next step fits into `seconds_left`.
        """

    def _propose(self) -> Sequence[Config]:
        """New candidates after a result, as a function of candidates, seed and history alone.

        Called after every single result, also when many are told at once, so that a resumed search has the
        same candidates. Those that exist already are dropped, and of the others the first `proposals` taken.
        """
        return ()

    def _candidates_grew(self) -> None:  # noqa: B027 (a hook: most optimizers have nothing to do)
        """Called at the end of a `tell` in which candidates were added."""

    def _step_seconds(self, live: list[int]) -> Sequence[float] | NDArray[np.float64] | None:
        """Predicted seconds (n,) of the next step of each pipeline in `live`; None where no one knows."""
        return None

    def _fits(self, live: list[int]) -> list[int]:
        """Those of `live` whose next step fits into `seconds_left`; all where costs are not known.

        Before a first epoch was seen on this machine, no prediction is trusted to end a search.
        """
        if self.seconds_left is None or not self._history.observed:
            return live
        seconds = self._step_seconds(live)
        if seconds is None:
            return live
        return list(compress(live, np.asarray(seconds) <= self.seconds_left))

    def _sample(self, n: int) -> Candidates:
        """`n` pipelines: up to a quarter of them from the portfolio, the others drawn at random.

        Before them come linear probes of all models and recipes that begin with them, where the space has
        any; a portfolio of pipelines without probes then is of no use.
        """
        if self.config_manager is None:
            raise ConfigError(
                "setup(n) samples pipelines and needs an optimizer with a config_manager; "
                "pass one when building it, or pass Candidates to setup."
            )
        sampled = self.config_manager.sample(n, self.seed)
        if self.space is None:
            return sampled
        first: list[Config] = []
        if isinstance(self.config_manager, ProbedSpace):
            first = [*self.config_manager.probes(), *self.config_manager.recipes()]
        known = [] if first or self.portfolio is None else self.portfolio.pipelines(self.space, n // 4)
        if not first and not known:
            return sampled
        others = [config for config in sampled.configs if config not in known and config not in first]
        together = Candidates(()).grown([*first, *[*known, *others][:n]], self.space.hub or ())
        return replace(together, proposed=0)

    def _add(self, result: Result) -> None:
        """Enter one result, and the candidates that it leads to."""
        if result.config_id >= len(self.candidates):
            raise ObjectiveError(
                f"A result names config {result.config_id}; the candidates are numbered 0 to "
                f"{len(self.candidates) - 1}."
            )
        self._history.add(result)
        self._progress.enter(result)
        asked = self._pending.get(result.config_id, result.fidelity)
        if result.fidelity >= asked or not result.succeeded:
            self._pending.pop(result.config_id, None)
        if self._may_grow and self.proposals and self.space is not None:
            new = self._new_proposals()
            if new:
                self._candidates = self.candidates.grown(new, self.space.hub or ())
                self._progress.grow(new)

    def _new_proposals(self) -> list[Config]:
        new: list[Config] = []
        for config in self._propose():
            if config not in new and config not in self.candidates.configs:
                new.append(config)
        return new[: self.proposals]

    def _read(self, raw: RawResult) -> Result:
        result = raw if isinstance(raw, Result) else Result.from_dict(raw)
        if result.config_id < 0:
            raise ObjectiveError(f"A result names config {result.config_id}; candidates count from 0.")
        if result.fidelity > self.max_fidelity:
            raise ObjectiveError(
                f"A result of config {result.config_id} has fidelity {result.fidelity}, "
                f"beyond the last epoch {self.max_fidelity}."
            )
        return result
