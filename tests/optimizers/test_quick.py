from qtt.optimizers.quick import QuickTune
from qtt.predictors.cost import PhysicalCost
from qtt.predictors.performance import DeepKernelGP
from qtt.testing import OptimizerContract, SyntheticSpace


class TestQuick(OptimizerContract):
    def make(self, seed, **settings):
        return QuickTune(
            SyntheticSpace(), performance=DeepKernelGP(), cost=PhysicalCost(), seed=seed, **settings
        )
