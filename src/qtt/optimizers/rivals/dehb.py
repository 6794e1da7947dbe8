"""DEHB: differential evolution, with the rungs and brackets of Hyperband.

What DEHB calls of ConfigSpace is deprecated there. It searches a unit cube instead, as it also may: an axis
for each hyperparameter, those without a meaning in a pipeline included. Here it writes no file and no log.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from qtt.optimizers.base import CandidateSource
from qtt.optimizers.rivals.base import Library, LibraryOptimizer, Proposal, at_least, require
from qtt.optimizers.rivals.positions import Positions, Values
from qtt.space.domains import Range

if TYPE_CHECKING:
    import dehb

WORST = sys.float_info.max
"""Fitness of what failed: DEHB compares alone, and takes infinity for what was not evaluated yet."""


class DEHBOptimizer(LibraryOptimizer):
    """DEHB (Awad, Mallik & Hutter 2021, IJCAI), with its own settings: rand1_bin, F = CR = 0.5."""

    def __init__(
        self,
        config_manager: CandidateSource | None = None,
        *,
        seed: int = 0,
        epochs_per_step: int = 1,
        max_fidelity: int = 50,
        proposals: int = 1,
        eta: int = 3,
    ) -> None:
        """See `LibraryOptimizer`.

        Args:
            config_manager: samples candidates, and is the open space.
            seed: of the populations and their evolution.
            epochs_per_step: Δt.
            max_fidelity: last epoch of every pipeline, and the last rung.
            proposals: 0: choose among the candidates that the search began with.
            eta: reduction factor of Hyperband.

        Raises:
            ConfigError: `eta` is below 2, or no DEHB.
        """
        with _loguru_left_alone():
            require("dehb")
        super().__init__(
            config_manager,
            seed=seed,
            epochs_per_step=epochs_per_step,
            max_fidelity=max_fidelity,
            proposals=proposals,
        )
        at_least("eta", eta, 2)
        self.eta = eta

    def build(self, positions: Positions) -> Library:
        """See `LibraryOptimizer`."""
        from dehb import DEHB

        with _loguru_left_alone(), TemporaryDirectory() as folder:
            evolution = DEHB(
                dimensions=max(len(positions.space), 1),
                min_fidelity=min(1.0, 0.99 * self.max_fidelity),  # DEHB wants it below the largest
                max_fidelity=self.max_fidelity,
                eta=self.eta,
                seed=self.seed,
                n_workers=1,
                output_path=folder,
                save_freq="end",  # of a `run`, which never comes
            )
        return _Evolution(evolution, positions)


class _Evolution(Library):
    """Populations in memory."""

    def __init__(self, evolution: "dehb.DEHB", positions: Positions) -> None:
        self._evolution, self._positions = evolution, positions

    def propose(self) -> Proposal:
        job = self._evolution.ask()
        return Proposal(job, self._values(job["config"]), max(round(job["fidelity"]), 1))

    def finish(self, proposal: Proposal, scores: Sequence[float], seconds: float) -> None:
        self._tell(proposal, -scores[-1], seconds)

    def fail(self, proposal: Proposal) -> None:
        self._tell(proposal, WORST, 0.0)

    def _tell(self, proposal: Proposal, fitness: float, seconds: float) -> None:
        """Tell it of the fidelity that it named, a fraction of an epoch included."""
        self._evolution.tell(proposal.handle, {"fitness": fitness, "cost": seconds})
        self._evolution.clean_inactive_brackets()

    def _values(self, places: Sequence[float]) -> Values:
        """Where in the cube options have equal shares of their axis, and ranges their own scale."""
        values: dict[str, Any] = {}
        for name, place in zip(self._positions.space, places, strict=False):
            domain = self._positions.domains[name]
            if isinstance(domain, Range):
                values[name] = domain.at(float(place))
            else:
                values[name] = min(int(place * domain.size), domain.size - 1)
        return self._positions.active(values)


@contextmanager
def _loguru_left_alone() -> Iterator[None]:
    """Keep DEHB from changing the one logger of loguru: its handlers when imported, its files when built."""
    with ExitStack() as stack:
        if find_spec("loguru") is not None:
            from loguru import logger

            for name in ("configure", "add"):
                stack.enter_context(patch.object(logger, name))
        yield
