"""SMAC: a random forest proposes pipelines, Hyperband says until which epoch each is trained."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from warnings import catch_warnings

from qtt.optimizers.base import CandidateSource
from qtt.optimizers.rivals.base import Library, LibraryOptimizer, Proposal, at_least, require
from qtt.optimizers.rivals.positions import Positions, Values
from qtt.space.domains import Range

if TYPE_CHECKING:
    import smac


class SMACOptimizer(LibraryOptimizer):
    """SMAC's multi-fidelity facade (Lindauer et al. 2022, JMLR): expected improvement, Hyperband.

    The forest learns from the largest budget that any pipeline has reached, as is the facade's default.
    """

    def __init__(
        self,
        config_manager: CandidateSource | None = None,
        *,
        seed: int = 0,
        epochs_per_step: int = 1,
        max_fidelity: int = 50,
        proposals: int = 1,
        eta: int = 3,
        initial: int = 25,
        challengers: int = 10_000,
    ) -> None:
        """See `LibraryOptimizer`.

        Args:
            config_manager: samples candidates, and is the open space.
            seed: of all that SMAC draws.
            epochs_per_step: Δt.
            max_fidelity: last epoch of every pipeline, and the largest budget.
            proposals: 0: choose among the candidates that the search began with.
            eta: reduction factor of Hyperband.
            initial: random pipelines before the forest's; SMAC's default is a quarter of its 100 trials.
            challengers: random pipelines among which those of the largest expected improvement are searched.

        Raises:
            ConfigError: `eta` is below 2, a count below 1, or no SMAC.
        """
        require("smac")
        super().__init__(
            config_manager,
            seed=seed,
            epochs_per_step=epochs_per_step,
            max_fidelity=max_fidelity,
            proposals=proposals,
        )
        for name, value, least in (("eta", eta, 2), ("initial", initial, 1), ("challengers", challengers, 1)):
            at_least(name, value, least)
        self.eta, self.initial, self.challengers = eta, initial, challengers

    def build(self, positions: Positions) -> Library:
        """See `LibraryOptimizer`."""
        from smac import MultiFidelityFacade as Facade
        from smac import Scenario

        logging.getLogger("smac").setLevel(logging.ERROR)
        if not positions.domains:
            return _NoChoice()
        with TemporaryDirectory() as folder:  # SMAC writes there when it is built, and not later
            scenario = Scenario(
                positions.space,
                name="qtt",
                output_directory=Path(folder),
                deterministic=True,
                n_trials=sys.maxsize,
                min_budget=1,
                max_budget=self.max_fidelity,
                seed=self.seed,
            )
            design = Facade.get_initial_design(scenario, n_configs=self.initial)
            maximizer = Facade.get_acquisition_maximizer(scenario, challengers=self.challengers)
            _in_order(maximizer._local_search)
            facade = Facade(
                scenario,
                initial_design=design,
                intensifier=Facade.get_intensifier(scenario, eta=self.eta),
                acquisition_maximizer=maximizer,
                logging_level=False,
                overwrite=True,
            )
        return _Facade(facade, positions, len(design.select_configurations()))


class _NoChoice(Library):
    """Where all pipelines are alike."""

    def propose(self) -> None:
        return None

    def finish(self, proposal: Proposal, scores: Sequence[float], seconds: float) -> None:
        raise NotImplementedError

    def fail(self, proposal: Proposal) -> None:
        raise NotImplementedError


class _Facade(Library):
    """A facade in memory.

    initial: distinct pipelines of its initial design. More than these are not asked before the first answer:
        without one, SMAC draws what it may have drawn already, and of a small space forever.
    """

    def __init__(self, facade: "smac.MultiFidelityFacade", positions: Positions, initial: int) -> None:
        self._facade, self._positions = facade, positions
        self._initial, self._asked = initial, 0
        self._worst: float | None = None

    def propose(self) -> Proposal | None:
        from smac.main.exceptions import ConfigurationSpaceExhaustedException

        if self._worst is None and self._asked >= self._initial:
            return None
        self._asked += 1
        try:
            with catch_warnings(action="ignore", category=RuntimeWarning):  # it logs means of nothing
                trial: Any = self._facade.ask()
        except (StopIteration, ConfigurationSpaceExhaustedException):  # nothing that it has not proposed yet
            return None
        return Proposal(trial, self._values(trial.config), max(round(trial.budget), 1))

    def finish(self, proposal: Proposal, scores: Sequence[float], seconds: float) -> None:
        self._tell(proposal, 1.0 - scores[-1], seconds, "SUCCESS")

    def fail(self, proposal: Proposal) -> None:
        """A pipeline that fails is as bad as the worst that did not."""
        self._tell(proposal, 1.0 if self._worst is None else self._worst, 0.0, "CRASHED")

    def _tell(self, proposal: Proposal, cost: float, seconds: float, status: str) -> None:
        from smac.runhistory import StatusType, TrialValue

        self._worst = cost if self._worst is None else max(self._worst, cost)
        value = TrialValue(cost=cost, time=seconds, status=StatusType[status])
        self._facade.tell(proposal.handle, value, save=False)

    def _values(self, config: Any) -> Values:
        """Native numbers; ConfigSpace rounds to nine places, and so beyond the ends of a range."""
        domains = self._positions.domains
        return {
            name: domains[name].closest(value) if isinstance(domains[name], Range) else int(value)
            for name, value in config.items()
        }


def _in_order(search: Any) -> None:
    """Have SMAC's local search begin in the same order everywhere; its own is that of a set of strings."""
    points = search._get_initial_points

    def ordered(*arguments: Any) -> list[Any]:
        return sorted(points(*arguments), key=repr)

    search._get_initial_points = ordered
