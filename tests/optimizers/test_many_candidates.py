"""More candidates than are computed together: the same trials, however a search got there."""

import pytest

from qtt.optimizers.lookahead import SCREENED
from qtt.optimizers.quick import QuickTune
from qtt.predictors.cost import PhysicalCost
from qtt.predictors.failure import FailureRate
from qtt.predictors.performance import DeepKernelGP
from qtt.predictors.prior import BLOCK
from qtt.testing import METAFEATURES, SyntheticCurves
from synthetic_runs import SPACE, meta_learned

COUNT = max(BLOCK, SCREENED) + 76


def warm():
    return meta_learned(proposals=2)


def cold():
    return QuickTune(
        SPACE, performance=DeepKernelGP(), cost=PhysicalCost(), failure=FailureRate(), proposals=2
    )


@pytest.mark.parametrize("make", [warm, cold])
def test_a_resumed_search_asks_what_the_other_one_does(make):
    optimizer, curves, told = make(), SyntheticCurves(), []
    optimizer.setup(COUNT, METAFEATURES)
    for step in range(30):
        trial = optimizer.ask()
        if step % 10 == 9:
            resumed = make()
            resumed.setup(COUNT, METAFEATURES)
            resumed.tell(told)
            assert resumed.candidates == optimizer.candidates
            assert resumed.ask() == trial
        for result in curves.results(trial, optimizer.history.fidelity(trial.config_id)):
            optimizer.tell(result)
            told.append(result)
    assert len(optimizer.candidates) > COUNT, "candidates were proposed meanwhile"
