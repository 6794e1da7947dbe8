"""What every optimizer promises, and the bookkeeping that all of them share."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Protocol, runtime_checkable

from qtt.errors import ConfigError, ObjectiveError
from qtt.history import History
from qtt.types import Candidates, MetaFeatures, RawResult, Result, Trial

Told = RawResult | Iterable[RawResult]
"""What `tell` takes: one result or several, as `Result` or as the paper's dict."""


class CandidateSource(Protocol):
    """Where `setup(n)` gets its pipelines; a `qtt.config_manager.ConfigManager` is one."""

    def sample(self, n: int, seed: int) -> Candidates:
        """`n` valid pipelines; the same ones for the same seed."""
        ...


@runtime_checkable
class Optimizer(Protocol):
    """Decides which pipeline is trained next, one step of `epochs_per_step` epochs at a time.

    - State is a function of (candidates, seed, results told): an optimizer that is built anew and told the
      journal asks next what the old one would have asked.
    - Asking changes nothing but the set of pending pipelines, and a pending pipeline is not asked again.
    - `ask` returns None when nothing can be asked now. Then `waiting` says why: True, results of pending
      pipelines are still to come; False, every pipeline is exhausted or failed, and the search is over.
    """

    seed: int
    epochs_per_step: int
    max_fidelity: int

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
    """An `Optimizer` that chooses among a fixed set of candidates; subclasses say which one.

    A pipeline is *live* until it failed or reached `max_fidelity`. It is pending from its ask until a result
    at the asked fidelity, a failure or a timeout. After a timeout it may be asked again, up to the same
    fidelity.
    """

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
        self._history = History()
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

    def setup(self, n: int | Candidates, metafeatures: MetaFeatures | None = None) -> None:
        """Start a new search.

        Args:
            n: how many pipelines to sample from the config manager, or the pipelines themselves.
            metafeatures: descriptors of the dataset.

        Raises:
            ConfigError: there is nothing to choose from.
        """
        if isinstance(n, int):
            if self.config_manager is None:
                raise ConfigError(
                    "setup(n) samples pipelines and needs an optimizer with a config_manager; "
                    "pass one when building it, or pass Candidates to setup."
                )
            n = self.config_manager.sample(n, self.seed)
        if len(n) == 0:
            raise ConfigError("A search needs at least one candidate.")
        self._candidates = n
        self.metafeatures = metafeatures
        self._history = History()
        self._pending = {}

    def ask(self) -> Trial | None:
        """The next step; None when nothing can be asked now (`waiting` says whether that will change)."""
        live = self.live()
        if not live:
            return None
        config_id = self._choose(live)
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
        for result in [self._read(raw) for raw in results]:
            self._history.add(result)
            asked = self._pending.get(result.config_id, result.fidelity)
            if result.fidelity >= asked or not result.succeeded:
                self._pending.pop(result.config_id, None)

    def live(self) -> list[int]:
        """Ids of pipelines that may be asked now, ascending."""
        failed = self._history.failed
        return [
            i
            for i in range(len(self.candidates))
            if i not in failed and i not in self._pending and self._history.fidelity(i) < self.max_fidelity
        ]

    def next_fidelity(self, config_id: int) -> int:
        """Where the pipeline's next step ends: at a multiple of `epochs_per_step`, or at the last epoch.

        Multiples, so that a step that was cut short (timeout, crash) is asked again up to where it was meant
        to end, and curves are compared at the same epochs.
        """
        done = self._history.fidelity(config_id)
        return min((done // self.epochs_per_step + 1) * self.epochs_per_step, self.max_fidelity)

    @abstractmethod
    def _choose(self, live: list[int]) -> int:
        """One of `live` (never empty), as a function of candidates, seed, history and pending alone."""

    def _read(self, raw: RawResult) -> Result:
        result = raw if isinstance(raw, Result) else Result.from_dict(raw)
        if not 0 <= result.config_id < len(self.candidates):
            raise ObjectiveError(
                f"A result names config {result.config_id}; the candidates are numbered 0 to "
                f"{len(self.candidates) - 1}."
            )
        if result.fidelity > self.max_fidelity:
            raise ObjectiveError(
                f"A result of config {result.config_id} has fidelity {result.fidelity}, "
                f"beyond the last epoch {self.max_fidelity}."
            )
        return result
