"""What turns a library that says "evaluate this configuration at that budget" into steps of freeze-thaw."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from itertools import islice
from typing import Any

from qtt.errors import ConfigError
from qtt.optimizers.base import CandidateOptimizer, CandidateSource
from qtt.optimizers.rivals.positions import Nearest, Positions, Values, key
from qtt.types import Candidates, Config, MetaFeatures, Result, Status

KNOWN_IN_A_ROW = 10
"""Proposals of what is known already, which cost nothing, before a pipeline that can be trained is taken."""


def require(library: str) -> None:
    """See that a library of the extra `optimizers` is there.

    Raises:
        ConfigError: it is not, or it cannot be imported.
    """
    try:
        import_module(library)
    except ImportError as error:
        raise ConfigError(
            f"This optimizer is that of the library {library}, which cannot be imported ({error}): "
            "pip install 'qtt[optimizers]'"
        ) from error


def at_least(name: str, value: int, least: int) -> None:
    """See that a setting is not too small.

    Raises:
        ConfigError: it is.
    """
    if value < least:
        raise ConfigError(f"{name} must be at least {least}; got {value}.")


def zero_or_one(proposals: int) -> int:
    """How many pipelines an optimizer may propose after a result.

    Raises:
        ConfigError: more than one, or less than none.
    """
    if proposals not in (0, 1):
        raise ConfigError(f"proposals of this optimizer must be 0 or 1; got {proposals}.")
    return proposals


@dataclass(frozen=True)
class Proposal:
    """What a library wants to know.

    handle: the library's own name of it. values: the configuration. until: the epoch up to which to train.
    """

    handle: Any
    values: Values
    until: int


class Library(ABC):
    """An optimizer of another library, with its own state; all chance in it comes from one seed.

    continues: whether to propose a configuration again, until a later epoch, means to go on with it. Where it
        does not, a proposal that comes again becomes another candidate of a table.
    """

    continues = True

    @abstractmethod
    def propose(self) -> Proposal | None:
        """What to evaluate next, any number of times before an answer; None: nothing without answers."""

    @abstractmethod
    def finish(self, proposal: Proposal, scores: Sequence[float], seconds: float) -> None:
        """Learn how a proposal did.

        Args:
            proposal: of this library, told once.
            scores: of its epochs from the first on; fewer than `until` where it was stopped or a curve ends.
            seconds: that its epochs took, those of earlier proposals of the same pipeline included.
        """

    @abstractmethod
    def fail(self, proposal: Proposal) -> None:
        """Learn that a proposal cannot be evaluated."""

    def goes_on(self, proposal: Proposal, scores: Sequence[float]) -> bool:
        """Whether to train on after these epochs; only libraries that prune say no."""
        return True


@dataclass(eq=False)
class Job:
    """A proposal under way. seen: its pipeline's epochs that the library was shown."""

    proposal: Proposal
    config_id: int
    seen: int = 0


@dataclass
class _Known:
    """Scores and seconds of a pipeline's epochs, as far as they were read, and whether it failed."""

    scores: list[float] = field(default_factory=list)
    seconds: float = 0.0
    failed: bool = False


class LibraryOptimizer(CandidateOptimizer):
    """An `Optimizer` in which a library decides.

    The library proposes a configuration and an epoch; the pipeline is trained until there, step by step, and
    from where an earlier proposal left it. What was trained already is answered at once.

    On a fixed table of candidates a proposal becomes the nearest candidate that no proposal has become yet
    (`Nearest`), the same one whenever it is proposed again, and the library is told the scores as those of
    its proposal. Once all are taken it becomes the nearest that can still be trained; or, where a library
    never continues what it stopped, nothing is proposed any more, and the best are trained to their ends.

    In a search over an open space (`proposals` > 0 and a config manager) the proposals themselves become
    candidates; the first, before there are results, is one of those that the search began with.

    State is a function of the results told: a library that is built anew gets the same answers in the same
    order, and so proposes the same.
    """

    def __init__(
        self,
        config_manager: CandidateSource | None = None,
        *,
        seed: int = 0,
        epochs_per_step: int = 1,
        max_fidelity: int = 50,
        proposals: int = 1,
    ) -> None:
        """See `CandidateOptimizer`.

        Args:
            config_manager: samples candidates, and is the open space.
            seed: of the library.
            epochs_per_step: Δt.
            max_fidelity: last epoch of every pipeline.
            proposals: 0: the library chooses among the candidates that the search began with.

        Raises:
            ConfigError: `proposals` is neither 0 nor 1.
        """
        super().__init__(
            config_manager, seed=seed, epochs_per_step=epochs_per_step, max_fidelity=max_fidelity
        )
        self.proposals = zero_or_one(proposals)

    @abstractmethod
    def build(self, positions: Positions) -> Library:
        """The library at the start of a search over a space."""

    def setup(self, n: int | Candidates, metafeatures: MetaFeatures | None = None) -> None:
        """Start a new search; see `CandidateOptimizer.setup`."""
        super().setup(n, metafeatures)
        self._reset()

    def _reset(self) -> None:
        source = self.config_manager if self.proposals and self._may_grow else None
        self._positions = Positions.of(self.candidates, source, self.seed)
        self._open = self._positions.manager is not None
        self._nearest = Nearest(self._positions, self.candidates)
        self._library = self.build(self._positions)
        self._jobs: list[Job] = []
        self._ids: dict[str, int] = {}
        self._taken: set[int] = set()
        self._known: dict[int, _Known] = {}
        self._read_results = 0

    def _choose(self, live: list[int]) -> int:
        self._read_history()
        ready = set(live)
        for job in self._jobs:
            if job.config_id in ready:
                return job.config_id
        for _ in range(KNOWN_IN_A_ROW):
            opened = self._next_job(live)
            if opened is None:
                break
            if opened.config_id in ready and opened in self._jobs:
                return opened.config_id
        fresh = [i for i in live if i not in self._taken]
        return fresh[0] if fresh else max(live, key=self._best_score)

    def _propose(self) -> Sequence[Config]:
        """The library's next pipeline, once none of its proposals is under way."""
        self._read_history()
        if not self._open:
            return ()
        for _ in range(KNOWN_IN_A_ROW):
            if self._jobs:
                break
            proposal = self._library.propose()
            if proposal is None:
                break
            config_id, new = self._own(proposal)
            self._begin(proposal, config_id)
            if new is not None:
                return (new,)
        return ()

    def _own(self, proposal: Proposal) -> tuple[int, Config | None]:
        """The candidate that a proposal is, and its pipeline where it has yet to become one."""
        name = key(proposal.values)
        if name in self._ids:
            return self._ids[name], None
        config = self._positions.config(proposal.values)
        known = config in self.candidates.configs
        config_id = self.candidates.configs.index(config) if known else len(self.candidates)
        self._ids[name] = config_id
        self._taken.add(config_id)
        return config_id, None if known else config

    def _read_history(self) -> None:
        """Tell the library of results that came since the last call."""
        if self._read_results > len(self.history):
            self._reset()
        for result in islice(self.history, self._read_results, None):
            self._read_results += 1
            self._enter(result)

    def _enter(self, result: Result) -> None:
        if not any(job.config_id == result.config_id for job in self._jobs):
            self._open_again(result.config_id)
        known = self._known.setdefault(result.config_id, _Known())
        if result.succeeded:
            if result.fidelity == len(known.scores) + 1:
                known.scores.append(result.score)
                known.seconds += result.cost
        elif result.status is Status.FAILED:
            known.failed = True
        for job in [job for job in self._jobs if job.config_id == result.config_id]:
            self._answer(job)

    def _open_again(self, config_id: int) -> None:
        """Propose what the library had proposed before this result came, in a search that goes on."""
        if config_id in self._known:
            return  # trained beyond what the library asked: it had nothing to propose
        for _ in range(len(self.candidates)):
            opened = self._next_job([i for i in range(len(self.candidates)) if self._trainable(i)])
            if opened is None or opened.config_id == config_id:
                return

    def _next_job(self, live: Sequence[int]) -> Job | None:
        """The library's next proposal, as one of the pipelines that the search began with.

        Answered if it can be; None where the library has none, or none of those is left.
        """
        live = [i for i in live if i < len(self.candidates.initial)]
        fresh = [i for i in live if i not in self._taken]
        if not (fresh or self._library.continues):
            return None
        proposal = self._library.propose()
        if proposal is None:
            return None
        name = key(proposal.values)
        config_id = self._ids.get(name) if self._library.continues else None
        if config_id is None:
            free = fresh or [i for i in live if self._trainable(i)]
            if not free:
                self._library.fail(proposal)
                return None
            config_id = self._nearest.among(free, self._positions.config(proposal.values))
            self._ids[name] = config_id
            self._taken.add(config_id)
        return self._begin(proposal, config_id)

    def _begin(self, proposal: Proposal, config_id: int) -> Job:
        job = Job(proposal, config_id)
        self._jobs.append(job)
        self._answer(job)
        return job

    def _answer(self, job: Job) -> None:
        """Show the library what is known of a job's pipeline, and close the job where that is enough."""
        known = self._known.get(job.config_id, _Known())
        until = min(job.proposal.until, len(known.scores))
        while job.seen < until:
            job.seen += 1
            if not self._library.goes_on(job.proposal, known.scores[: job.seen]):
                self._close(job, known)
                return
        if job.seen >= min(job.proposal.until, self._last(job.config_id)):
            self._close(job, known)
        elif known.failed:
            self._jobs.remove(job)
            self._library.fail(job.proposal)

    def _close(self, job: Job, known: _Known) -> None:
        self._jobs.remove(job)
        self._library.finish(job.proposal, known.scores[: job.seen], known.seconds)

    def _best_score(self, config_id: int) -> float:
        known = self._known.get(config_id)
        return max(known.scores) if known is not None and known.scores else -math.inf

    def _trainable(self, config_id: int) -> bool:
        known = self._known.get(config_id)
        return known is None or not (known.failed or len(known.scores) >= self._last(config_id))

    def _last(self, config_id: int) -> int:
        return self.last_epoch(config_id) if config_id < len(self.candidates) else self.max_fidelity
