"""Optuna: tree-structured Parzen estimators or Gaussian processes, with Hyperband or successive halving.

Optuna's trials begin at the first epoch and are pruned on their way: all proposals are until the last epoch.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from ConfigSpace import AndConjunction, OrConjunction
from ConfigSpace.hyperparameters import CategoricalHyperparameter, IntegerHyperparameter

from qtt.errors import ConfigError, unknown
from qtt.optimizers.base import CandidateSource
from qtt.optimizers.rivals.base import Library, LibraryOptimizer, Proposal, require
from qtt.optimizers.rivals.positions import Positions, Values

if TYPE_CHECKING:
    import optuna

Sampler = Literal["tpe", "gp"]
Pruner = Literal["hyperband", "successive_halving", "none"]


class OptunaOptimizer(LibraryOptimizer):
    """Optuna's samplers and pruners (Akiba et al. 2019, KDD).

    sampler `tpe`: Bergstra et al. 2011 (NeurIPS), multivariate where the space has no conditions; `gp`:
    Optuna's own Gaussian process. pruner `hyperband`: Li et al. 2018 (JMLR); `successive_halving`: ASHA's
    stopping variant (Li et al. 2020, MLSys).
    """

    def __init__(
        self,
        config_manager: CandidateSource | None = None,
        *,
        seed: int = 0,
        epochs_per_step: int = 1,
        max_fidelity: int = 50,
        proposals: int = 1,
        sampler: Sampler = "tpe",
        pruner: Pruner = "hyperband",
        eta: int = 3,
        bootstrap_count: int = 3,
    ) -> None:
        """See `LibraryOptimizer`.

        Args:
            config_manager: samples candidates, and is the open space.
            seed: of the sampler.
            epochs_per_step: Δt.
            max_fidelity: last epoch of every pipeline, and the pruners' largest resource.
            proposals: 0: choose among the candidates that the search began with.
            sampler: what proposes.
            pruner: what stops pipelines on their way.
            eta: reduction factor of the pruners.
            bootstrap_count: trials that a rung must have seen before it lets any go on. With 0, Optuna's
                default, the first trial of each bracket is compared with none and trained to its end.

        Raises:
            ConfigError: no such sampler or pruner, or no Optuna.
        """
        require("optuna")
        super().__init__(
            config_manager,
            seed=seed,
            epochs_per_step=epochs_per_step,
            max_fidelity=max_fidelity,
            proposals=proposals,
        )
        if sampler not in get_args(Sampler):
            raise ConfigError(unknown("sampler of Optuna", sampler, get_args(Sampler)))
        if pruner not in get_args(Pruner):
            raise ConfigError(unknown("pruner of Optuna", pruner, get_args(Pruner)))
        self.sampler, self.pruner = sampler, pruner
        self.eta, self.bootstrap_count = eta, bootstrap_count

    def build(self, positions: Positions) -> Library:
        """See `LibraryOptimizer`."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            study_name="qtt",  # from which Hyperband draws brackets
            direction="maximize",
            sampler=self._sampler(),
            pruner=self._pruner(),
        )
        return _Study(study, positions, self.max_fidelity)

    def _sampler(self) -> "optuna.samplers.BaseSampler":
        from optuna.samplers import GPSampler, TPESampler

        return GPSampler(seed=self.seed) if self.sampler == "gp" else TPESampler(seed=self.seed)

    def _pruner(self) -> "optuna.pruners.BasePruner":
        from optuna.pruners import HyperbandPruner, NopPruner, SuccessiveHalvingPruner

        settings: dict[str, Any] = {
            "min_resource": 1,
            "reduction_factor": self.eta,
            "bootstrap_count": self.bootstrap_count,
        }
        if self.pruner == "hyperband":
            return HyperbandPruner(max_resource=self.max_fidelity, **settings)
        return SuccessiveHalvingPruner(**settings) if self.pruner == "successive_halving" else NopPruner()


class _Study(Library):
    """A study in memory."""

    continues = False

    def __init__(self, study: "optuna.Study", positions: Positions, epochs: int) -> None:
        self._study, self._positions, self._epochs = study, positions, epochs

    def propose(self) -> Proposal:
        trial = self._study.ask()
        space = self._positions.space
        values: dict[str, Any] = {}
        for name in space:  # parents come before their children
            if all(_holds(condition, values) for condition in space.parent_conditions_of[name]):
                values[name] = _suggest(trial, space[name])
        return Proposal(trial, values, self._epochs)

    def goes_on(self, proposal: Proposal, scores: Sequence[float]) -> bool:
        trial = proposal.handle
        trial.report(scores[-1], len(scores))
        return len(scores) >= proposal.until or not trial.should_prune()

    def finish(self, proposal: Proposal, scores: Sequence[float], seconds: float) -> None:
        if len(scores) < proposal.until:
            self._study.tell(proposal.handle, state=_state("PRUNED"))
        else:
            self._study.tell(proposal.handle, scores[-1])

    def fail(self, proposal: Proposal) -> None:
        self._study.tell(proposal.handle, state=_state("FAIL"))


def _holds(condition: Any, values: Values) -> bool:
    """Whether a hyperparameter is active, given the values of those that come before it."""
    if isinstance(condition, AndConjunction | OrConjunction):
        parts = [_holds(part, values) for part in condition.components]
        return all(parts) if isinstance(condition, AndConjunction) else any(parts)
    return condition.parent.name in values and bool(condition.satisfied_by_value(values))


def _state(name: str) -> Any:
    from optuna.trial import TrialState

    return TrialState[name]


def _suggest(trial: "optuna.Trial", parameter: Any) -> Any:
    if isinstance(parameter, CategoricalHyperparameter):
        return trial.suggest_categorical(parameter.name, range(len(parameter.choices)))
    draw = trial.suggest_int if isinstance(parameter, IntegerHyperparameter) else trial.suggest_float
    return draw(parameter.name, parameter.lower, parameter.upper, log=parameter.log)
