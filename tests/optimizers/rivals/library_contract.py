"""What every library behind the protocol must do, on a table and in an open space."""

from collections.abc import Sequence

import ConfigSpace as Cs

from qtt.optimizers.base import Optimizer
from qtt.optimizers.rivals.base import LibraryOptimizer
from qtt.space.config_manager import ConfigManager
from qtt.testing.contracts import OptimizerContract, play
from qtt.testing.synthetic import METAFEATURES, SyntheticCurves, SyntheticSpace
from qtt.types import Result

STEPS = 40


class LibraryContract(OptimizerContract):
    """Subclasses say `make`, as those of `OptimizerContract` do, with a `SyntheticSpace`."""

    def in_open_space(self, seed: int = 0) -> LibraryOptimizer:
        optimizer = self.make(seed, max_fidelity=self.max_fidelity)
        assert isinstance(optimizer, LibraryOptimizer)
        optimizer.config_manager = SyntheticSpace()._manager
        optimizer.setup(self.n, METAFEATURES)
        return optimizer

    def test_its_own_proposals_become_candidates_of_the_space(self) -> None:
        optimizer = self.in_open_space()
        play(optimizer, STEPS)
        new = optimizer.candidates.configs[self.n :]
        assert optimizer.candidates.proposed == len(new) > 3
        manager = SyntheticSpace()._manager
        assert all(manager.validate(config) == config for config in new)
        assert {("momentum" in config) == (config["opt"] == "momentum") for config in new} == {True}
        trained = set(optimizer.history.observed)
        assert len(trained & set(range(self.n, len(optimizer.candidates)))) >= 3

    def test_a_search_of_an_open_space_goes_on_from_its_results(self) -> None:
        optimizer = self.in_open_space(seed=2)
        told: list[Result] = []
        for _ in range(STEPS):
            trial = optimizer.ask()
            again = self.in_open_space(seed=2)
            again.tell([result.to_dict() for result in told])
            assert again.candidates == optimizer.candidates
            assert again.ask() == trial
            assert trial is not None
            for result in SyntheticCurves().results(trial, optimizer.history.fidelity(trial.config_id)):
                optimizer.tell(result)
                told.append(result)

    def test_many_at_once_in_an_open_space(self) -> None:
        """Without answers all pipelines can be asked, those included that were proposed meanwhile."""
        optimizer = self.in_open_space(seed=1)
        play(optimizer, STEPS)
        assert len(optimizer.candidates) > self.n
        live = optimizer.live()
        asked = []
        while (trial := optimizer.ask()) is not None:
            asked.append(trial.config_id)
        assert sorted(asked) == live

    def test_conditions_of_all_kinds_hold(self) -> None:
        optimizer = self.make(0, max_fidelity=self.max_fidelity)
        optimizer.config_manager = ConfigManager(conditional_space())
        optimizer.setup(self.n, METAFEATURES)
        for step in range(STEPS):
            trial = optimizer.ask()
            assert trial is not None
            optimizer.tell(Result(trial.config_id, trial.fidelity, 0.01 * step, 1.0))
        assert optimizer.candidates.proposed > 3
        for config in optimizer.candidates.configs:
            assert ("child" in config) == (config["kind"] != "c" and config["on"])
            assert ("other" in config) == (config["kind"] == "c" or not config["on"])

    def test_seeds_differ(self) -> None:
        assert len({_order(self.ready(seed)) for seed in range(4)}) > 1

    def test_promising_pipelines_get_more_epochs(self) -> None:
        """With candidates in plenty, what is trained longest is better than what was begun, on average."""
        better = []
        for seed in range(3):
            optimizer = self.ready(seed, n=60, max_fidelity=27)
            play(optimizer, 250)
            history = optimizer.history
            first = {i: history.curve(i)[0].score for i in history.observed}
            longest = sorted(first, key=history.fidelity)[-max(len(first) // 4, 1) :]
            better.append(_mean([first[i] for i in longest]) - _mean(list(first.values())))
        assert _mean(better) > 0


def conditional_space() -> Cs.ConfigurationSpace:
    """Ranges, integers, and hyperparameters that depend on several others."""
    space = Cs.ConfigurationSpace(
        {
            "x": Cs.Float("x", (1e-4, 1.0), log=True),
            "n": Cs.Integer("n", (8, 128)),
            "layers": Cs.OrdinalHyperparameter("layers", [2, 4, 6, 8]),
            "kind": ["a", "b", "c"],
            "on": [True, False],
            "child": (1.0, 2.0),
            "other": (1.0, 2.0),
        }
    )
    is_on = [Cs.EqualsCondition(space[name], space["on"], name == "child") for name in ("child", "other")]
    space.add(Cs.AndConjunction(Cs.InCondition(space["child"], space["kind"], ["a", "b"]), is_on[0]))
    space.add(Cs.OrConjunction(Cs.EqualsCondition(space["other"], space["kind"], "c"), is_on[1]))
    return space


def _order(optimizer: Optimizer) -> tuple[int, ...]:
    return tuple(result.config_id for result in play(optimizer, 15))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
