from collections import Counter

from qtt.optimizers import EpochwiseRandomOptimizer, RandomOptimizer
from qtt.testing import OptimizerContract, SyntheticSpace, play


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
