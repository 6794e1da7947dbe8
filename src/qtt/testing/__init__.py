"""Contract suites and synthetic tasks: for our tests, and for those of your own optimizers."""

from qtt.testing.contracts import OptimizerContract, play
from qtt.testing.synthetic import METAFEATURES, SyntheticCurves, SyntheticSpace, synthetic_objective
from qtt.testing.tasks import TaskContract

__all__ = [
    "METAFEATURES",
    "OptimizerContract",
    "SyntheticCurves",
    "SyntheticSpace",
    "TaskContract",
    "play",
    "synthetic_objective",
]
