# ruff: noqa: D102 (test names say what they check)
"""Contract suites: subclass one in a test module, and pytest checks your own optimizer against the protocol.

```python
class TestMine(OptimizerContract):
    def make(self, seed, **settings):
        return MyOptimizer(SyntheticSpace(), seed=seed, **settings)
```
"""

import math
from abc import ABC, abstractmethod
from typing import Any

from qtt.errors import ConfigError, ObjectiveError
from qtt.optimizers.base import Optimizer
from qtt.testing.synthetic import METAFEATURES, SyntheticCurves, SyntheticSpace
from qtt.types import Result, Status


def play(optimizer: Optimizer, steps: int, curves: SyntheticCurves | None = None) -> list[Result]:
    """Ask, evaluate and tell `steps` times, or until nothing is left; returns every result told."""
    curves = curves or SyntheticCurves()
    told: list[Result] = []
    for _ in range(steps):
        trial = optimizer.ask()
        if trial is None:
            break
        for result in curves.results(trial, optimizer.history.fidelity(trial.config_id)):
            optimizer.tell(result)
            told.append(result)
    return told


class OptimizerContract(ABC):
    """What every optimizer must do; `n` candidates and a last epoch of 7 keep it quick."""

    n = 12
    max_fidelity = 7

    @abstractmethod
    def make(self, seed: int, **settings: Any) -> Optimizer:
        """An optimizer over `SyntheticSpace`; settings are `epochs_per_step` and `max_fidelity`."""

    def ready(self, seed: int = 0, n: int | None = None, **settings: Any) -> Optimizer:
        """An optimizer after `setup`."""
        optimizer = self.make(seed, **{"max_fidelity": self.max_fidelity, **settings})
        optimizer.setup(SyntheticSpace().sample(n or self.n, seed=3), METAFEATURES)
        return optimizer

    def searching(self, seed: int = 0) -> Optimizer:
        """The same with candidates of its own config manager, so that it may propose more of them."""
        optimizer = self.make(seed, max_fidelity=self.max_fidelity)
        optimizer.setup(self.n, METAFEATURES)
        return optimizer

    def test_implements_the_protocol(self) -> None:
        assert isinstance(self.ready(), Optimizer)

    def test_setup_samples_from_the_config_manager(self) -> None:
        optimizer = self.make(5)
        optimizer.setup(self.n, METAFEATURES)
        assert optimizer.candidates.configs == SyntheticSpace().sample(self.n, 5).configs

    def test_asking_before_setup_says_what_to_do(self) -> None:
        try:
            self.make(0).ask()
        except ConfigError as error:
            assert "setup" in str(error)
        else:
            raise AssertionError("ask() before setup() must raise ConfigError")

    def test_the_first_trial_is_one_step_of_a_candidate(self) -> None:
        optimizer = self.ready(epochs_per_step=2)
        trial = optimizer.ask()
        assert trial is not None
        assert trial.fidelity == 2
        assert trial.config == optimizer.candidates.configs[trial.config_id]

    def test_replaying_results_gives_the_same_next_ask(self) -> None:
        optimizer, curves = self.ready(seed=1), SyntheticCurves()
        told: list[Result] = []
        for _ in range(20):
            again = self.ready(seed=1)
            again.tell([result.to_dict() for result in told])
            trial = optimizer.ask()
            assert trial is not None
            assert again.ask() == trial
            for result in curves.results(trial, optimizer.history.fidelity(trial.config_id)):
                optimizer.tell(result)
                told.append(result)

    def test_candidates_grow_alike_however_results_are_told(self) -> None:
        optimizer = self.searching(seed=1)
        told = play(optimizer, 12)
        assert optimizer.candidates.configs[: self.n] == optimizer.candidates.initial
        one_by_one, together = self.searching(seed=1), self.searching(seed=1)
        for result in told:
            one_by_one.tell(result)
        together.tell(told)
        trial = optimizer.ask()
        for again in (one_by_one, together):
            assert again.candidates == optimizer.candidates
            assert again.ask() == trial

    def test_a_step_that_does_not_fit_is_not_asked(self) -> None:
        optimizer = self.searching()
        play(optimizer, 8)
        shortest = optimizer.shortest_step
        if shortest is not None:
            optimizer.seconds_left = 0.99 * shortest
            assert optimizer.nothing_fits
            assert optimizer.ask() is None
            assert not optimizer.waiting
            optimizer.seconds_left = 1.01 * shortest
        assert not optimizer.nothing_fits
        assert optimizer.ask() is not None

    def test_pending_pipelines_are_not_asked_twice(self) -> None:
        optimizer = self.ready()
        trials = [optimizer.ask() for _ in range(self.n)]
        assert sorted(trial.config_id for trial in trials if trial) == list(range(self.n))
        assert optimizer.ask() is None
        assert optimizer.waiting

    def test_a_pipeline_stays_pending_until_its_step_ends(self) -> None:
        optimizer = self.ready(n=1, epochs_per_step=3)
        trial = optimizer.ask()
        assert trial is not None
        for result in SyntheticCurves().results(trial)[:-1]:
            optimizer.tell(result)
            assert optimizer.ask() is None
            assert optimizer.waiting
        optimizer.tell(SyntheticCurves().results(trial)[-1])
        assert not optimizer.waiting
        follow_up = optimizer.ask()
        assert follow_up is not None
        assert follow_up.fidelity == 6

    def test_a_failed_pipeline_is_never_asked_again(self) -> None:
        optimizer = self.ready()
        asked = []
        for _ in range(self.n):
            trial = optimizer.ask()
            assert trial is not None
            asked.append(trial.config_id)
            optimizer.tell(Result(trial.config_id, trial.fidelity, math.nan, 0.1, Status.FAILED))
        assert sorted(asked) == list(range(self.n))
        assert optimizer.ask() is None
        assert not optimizer.waiting

    def test_a_timeout_leaves_the_pipeline_at_its_fidelity(self) -> None:
        optimizer = self.ready(n=1, epochs_per_step=3)
        trial = optimizer.ask()
        assert trial is not None
        optimizer.tell(SyntheticCurves().results(trial)[0])
        optimizer.tell(Result(0, 2, math.nan, 0.1, Status.TIMEOUT))
        assert optimizer.history.fidelity(0) == 1
        assert optimizer.ask() == trial

    def test_every_pipeline_is_trained_to_the_end_and_no_epoch_twice(self) -> None:
        for epochs_per_step in (1, 2, 3, self.max_fidelity):
            optimizer = self.ready(n=3, epochs_per_step=epochs_per_step)
            told = play(optimizer, 1000)
            epochs = [(result.config_id, result.fidelity) for result in told]
            assert len(epochs) == len(set(epochs)) == 3 * self.max_fidelity
            assert optimizer.ask() is None
            assert not optimizer.waiting

    def test_a_result_that_cannot_be_is_refused_and_leaves_no_trace(self) -> None:
        optimizer = self.ready()
        good = Result(0, 1, 0.5, 1.0)
        nan = {"config_id": 1, "fidelity": 1, "score": math.nan, "cost": 1.0, "status": True}
        for bad in (nan, Result(self.n, 1, 0.5, 1.0), Result(0, self.max_fidelity + 1, 0.5, 1.0)):
            try:
                optimizer.tell([good, bad])
            except ObjectiveError:
                assert len(optimizer.history) == 0
            else:
                raise AssertionError(f"tell() accepted {bad}")

    def test_scores_may_be_zero_or_negative(self) -> None:
        for shift in (0.0, -5.0):
            optimizer = self.ready()
            for _ in range(6):
                trial = optimizer.ask()
                assert trial is not None
                score = shift - trial.config_id / 100
                optimizer.tell(Result(trial.config_id, trial.fidelity, score, 1.0))
            assert optimizer.history.incumbent is not None
            assert optimizer.history.incumbent.score <= shift

    def test_equal_scores_do_no_harm(self) -> None:
        optimizer = self.ready(n=3)
        while (trial := optimizer.ask()) is not None:
            optimizer.tell(Result(trial.config_id, trial.fidelity, 0.25, 1.0))
        assert optimizer.history.evaluations == 3 * self.max_fidelity
