import math

import numpy as np

from qtt.optimizers import RandomOptimizer
from qtt.optimizers.quick import QuickTune
from qtt.predictors.cost import PhysicalCost
from qtt.predictors.performance import DeepKernelGP
from qtt.testing import METAFEATURES, OptimizerContract
from synthetic_runs import SPACE, best_over_time, meta_learned


def cold(seed):
    return QuickTune(SPACE, performance=DeepKernelGP(), cost=PhysicalCost(), seed=seed)


class TestMetaLearned(OptimizerContract):
    def make(self, seed, **settings):
        return meta_learned(seed, proposals=2, **settings)


def test_meta_learned_predictors_find_better_pipelines_than_those_of_a_cold_start():
    means = {}
    for make in (meta_learned, cold, lambda seed: RandomOptimizer(SPACE, seed=seed)):
        means[make] = []
        for seed in range(6):
            optimizer = make(seed)
            optimizer.setup(SPACE.sample(40, 200 + seed), METAFEATURES)
            means[make].append(best_over_time(optimizer, [3, 6, 12]))
    meta, *others = (np.array(values) for values in means.values())
    for other in others:
        gain = meta - other
        assert gain.mean() > 2 * gain.std(ddof=1) / math.sqrt(len(gain)), gain


def test_what_the_tuner_says_of_the_machine_after_setup_is_heeded():
    spread = {}
    for on_cpu in (False, True):
        optimizer = meta_learned()
        optimizer.setup(SPACE.sample(40, 200), METAFEATURES)
        optimizer.on_cpu = on_cpu
        optimizer.ask()
        spread[on_cpu] = np.log(optimizer.cost.predict(range(40))).std()
    assert spread[True] > 1.2 * spread[False], "a CPU is slower with large models than a GPU is"
