"""Syne Tune: asynchronous successive halving of random pipelines, or of those that density estimators draw.

Its trials begin at the first epoch and are stopped on their way: all proposals are until the last epoch.
"""

import logging
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from qtt.errors import ConfigError, unknown
from qtt.optimizers.base import CandidateSource
from qtt.optimizers.rivals.base import Library, LibraryOptimizer, Proposal, at_least, require
from qtt.optimizers.rivals.positions import Positions, Values
from qtt.space.domains import Domain, Range

if TYPE_CHECKING:
    from syne_tune.backend.trial_status import Trial
    from syne_tune.optimizer.schedulers.asha import AsynchronousSuccessiveHalving
    from syne_tune.optimizer.schedulers.searchers.last_value_multi_fidelity_searcher import (
        LastValueMultiFidelitySearcher,
    )

Kind = Literal["asha", "bohb"]

SCORE, EPOCH = "score", "epoch"
WHENEVER = datetime(2018, 7, 3)
"""When trials were created, which no scheduler asks."""

LARGE = 1e200
"""Stands for an infinite density; the library divides by it, and multiplies by 1e32."""


class SyneTuneOptimizer(LibraryOptimizer):
    """Schedulers of Syne Tune (Salinas et al. 2022, AutoML-Conf).

    kind `asha`: random search with asynchronous successive halving (Li et al. 2020, MLSys); `bohb`: kernel
    density estimators (Falkner et al. 2018, ICML), here of every trial's last score whatever its epoch, with
    the same halving. Halving is of the stopping type, the only one that Syne Tune 0.16 has: a trial is
    compared, when it reaches a rung, with those that came before, and the first goes on to its end.
    """

    def __init__(
        self,
        config_manager: CandidateSource | None = None,
        *,
        seed: int = 0,
        epochs_per_step: int = 1,
        max_fidelity: int = 50,
        proposals: int = 1,
        kind: Kind = "asha",
        eta: int = 3,
        brackets: int = 1,
    ) -> None:
        """See `LibraryOptimizer`.

        Args:
            config_manager: samples candidates, and is the open space.
            seed: of the scheduler and its searcher.
            epochs_per_step: Δt.
            max_fidelity: last epoch of every pipeline, and the scheduler's largest resource.
            proposals: 0: choose among the candidates that the search began with.
            kind: which scheduler.
            eta: one of `eta` pipelines of a rung goes on.
            brackets: of successive halving, the first rung of each `eta` times later than that of the one
                before. Hyperband (Li et al. 2018, JMLR) has one for each power of `eta` up to
                `max_fidelity`; more than these are not made.

        Raises:
            ConfigError: no such scheduler, eta or number of brackets, or no Syne Tune.
        """
        _import()
        super().__init__(
            config_manager,
            seed=seed,
            epochs_per_step=epochs_per_step,
            max_fidelity=max_fidelity,
            proposals=proposals,
        )
        if kind not in get_args(Kind):
            raise ConfigError(unknown("scheduler of Syne Tune", kind, get_args(Kind)))
        at_least("eta", eta, 2)
        at_least("brackets", brackets, 1)
        self.kind, self.eta, self.brackets = kind, eta, brackets

    def build(self, positions: Positions) -> Library:
        """See `LibraryOptimizer`."""
        from syne_tune.optimizer.schedulers.asha import AsynchronousSuccessiveHalving

        space = {name: _translated(domain) for name, domain in positions.domains.items()}
        scheduler = AsynchronousSuccessiveHalving(
            space,
            metric=SCORE,
            do_minimize=False,
            searcher=self._searcher(space),
            time_attr=EPOCH,
            max_t=self.max_fidelity,
            reduction_factor=self.eta,
            brackets=min(self.brackets, _powers(self.eta, self.max_fidelity)),
            random_seed=self.seed,
        )
        return _Scheduler(scheduler, positions, self.max_fidelity, self.seed)

    def _searcher(self, space: Mapping[str, Any]) -> "LastValueMultiFidelitySearcher":
        from syne_tune.optimizer.schedulers.searchers.last_value_multi_fidelity_searcher import (
            LastValueMultiFidelitySearcher,
        )

        if self.kind == "asha" or not space:  # random search
            settings: dict[str, Any] = {"num_init_random_draws": sys.maxsize}
        else:
            least = len(space) + 1  # the paper's N_min
            settings = {"searcher": _estimator(), "searcher_kwargs": {"num_min_data_points": least}}
        return LastValueMultiFidelitySearcher(space, random_seed=self.seed, **settings)


class _Scheduler(Library):
    """A scheduler without a backend."""

    continues = False

    def __init__(
        self, scheduler: "AsynchronousSuccessiveHalving", positions: Positions, epochs: int, seed: int
    ) -> None:
        self._scheduler, self._positions, self._epochs = scheduler, positions, epochs
        self._generator = np.random.default_rng(seed)
        self._trials = 0

    def propose(self) -> Proposal:
        from syne_tune.backend.trial_status import Trial

        suggestion = self._scheduler.suggest()
        trial = Trial(self._trials, suggestion.config, WHENEVER)
        self._trials += 1
        self._add(trial)
        return Proposal(trial, self._values(trial.config), self._epochs)

    def _add(self, trial: "Trial") -> None:
        """What `on_trial_add` does, which draws the bracket from NumPy's global state."""
        brackets = self._scheduler.brackets
        weights = np.exp([len(bracket.rungs) for bracket in brackets])
        drawn = self._generator.choice(len(brackets), p=weights / weights.sum())
        self._scheduler.trial_info[trial.trial_id] = brackets[drawn]

    def goes_on(self, proposal: Proposal, scores: Sequence[float]) -> bool:
        trial = proposal.handle
        decision = self._scheduler.on_trial_result(trial, {SCORE: scores[-1], EPOCH: len(scores)})
        return bool(decision == "CONTINUE")

    def finish(self, proposal: Proposal, scores: Sequence[float], seconds: float) -> None:
        self._scheduler.on_trial_remove(proposal.handle)  # it has all results

    def fail(self, proposal: Proposal) -> None:
        self._scheduler.on_trial_remove(proposal.handle)  # on_trial_error does no more than to log a warning

    def _values(self, suggested: Mapping[str, Any]) -> Values:
        """Positions and numbers, where they are active."""
        domains = self._positions.domains
        values = {name: _value(domain, suggested[name]) for name, domain in domains.items()}
        return self._positions.active(values)


def _import() -> None:
    """See `require`; a handler that imports give the root logger is taken away again."""
    before = list(logging.root.handlers)
    require("syne_tune")
    import_module("syne_tune.optimizer.schedulers.searchers.kde")
    for handler in [handler for handler in logging.root.handlers if handler not in before]:
        logging.root.removeHandler(handler)


def _estimator() -> type:
    """Syne Tune's density estimators, which draw from their own seed alone, and quietly.

    Where statsmodels has no density it is 0: at an option that none of the points has, far from all of them.
    """
    from syne_tune.optimizer.schedulers.searchers.kde import KernelDensityEstimator

    class Estimator(KernelDensityEstimator):  # type: ignore[misc]
        def _get_random_config(self) -> dict[str, Any]:
            state = self.random_state
            return {name: domain.sample(random_state=state) for name, domain in self.config_space.items()}

        def _train_kde(self, *data: Any) -> Any:
            with warnings.catch_warnings(action="ignore", category=FutureWarning):  # about statsmodels' seeds
                models = super()._train_kde(*data)
            for model in models or ():
                model.pdf = _finite(model.pdf)
            return models

    return Estimator


def _finite(density: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def finite(point: Any) -> Any:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.nan_to_num(density(point), nan=0.0, posinf=LARGE)

    return finite


def _translated(domain: Domain) -> Any:
    """A domain of Syne Tune: a range is a place on its own scale, ordered options a grid of real numbers.

    Its density estimators take logarithmic scales for linear ones, and draw integers below their range.
    """
    from syne_tune.config_space import choice, finrange, uniform

    if isinstance(domain, Range):
        return uniform(0.0, 1.0)
    return finrange(0, domain.size - 1, domain.size) if domain.ordered else choice(range(domain.size))


def _value(domain: Domain, suggested: Any) -> Any:
    """The number at a place, or an option's position."""
    return domain.at(float(suggested)) if isinstance(domain, Range) else round(suggested)


def _powers(eta: int, most: int) -> int:
    """How many of 1, η, η², … are at most `most`."""
    count = 1
    while eta**count <= most:
        count += 1
    return count
