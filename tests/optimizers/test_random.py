import itertools
from collections import Counter

import numpy as np

from qtt.optimizers import EpochwiseRandomOptimizer, RandomOptimizer
from qtt.testing import OptimizerContract, SyntheticCurves, SyntheticSpace, play
from qtt.types import Result, Status


class TestRandom(OptimizerContract):
    def make(self, seed, **settings):
        return RandomOptimizer(SyntheticSpace(), seed=seed, **settings)

    def test_finishes_one_pipeline_before_the_next(self):
        told = play(self.ready(n=4), 100)
        order = [result.config_id for result in told]
        assert [order[i] for i in range(0, 28, 7)] == list(dict.fromkeys(order))
        assert [result.fidelity for result in told] == list(range(1, 8)) * 4

    def test_order_depends_on_the_seed(self):
        orders = {tuple(dict.fromkeys(r.config_id for r in play(self.ready(seed), 100))) for seed in range(8)}
        assert len(orders) == 8


class TestEpochwise(OptimizerContract):
    def make(self, seed, **settings):
        return EpochwiseRandomOptimizer(SyntheticSpace(), seed=seed, **settings)

    def test_draws_live_pipelines_uniformly(self):
        # 400 first asks among 4: each count is binomial with mean 100 and deviation 8.7
        counts = Counter(self.ready(seed, n=4).ask().config_id for seed in range(400))
        assert all(abs(counts[i] - 100) < 44 for i in range(4))

    def test_what_is_cut_off_is_drawn_again_and_nothing_after_it_changes(self):
        for epochs_per_step in (1, 3):
            undisturbed = self._finished(epochs_per_step, cut_off=lambda step: False)
            assert self._finished(epochs_per_step, cut_off=lambda step: step % 3 != 0) == undisturbed

    def _finished(self, epochs_per_step, cut_off):
        """Epochs in their order, where the steps that are cut off end after the first of their epochs."""
        optimizer, curves = self.ready(seed=2, n=5, epochs_per_step=epochs_per_step), SyntheticCurves()
        finished, steps = [], itertools.count(1)
        while (trial := optimizer.ask()) is not None:
            results = curves.results(trial, optimizer.history.fidelity(trial.config_id))
            if cut_off(next(steps)):
                ended = Result(trial.config_id, trial.fidelity, np.nan, 1.0, Status.TIMEOUT)
                results = [*results[:1][: epochs_per_step - 1], ended]
            optimizer.tell(results)
            finished += [(r.config_id, r.fidelity) for r in results if r.succeeded]
        return finished
