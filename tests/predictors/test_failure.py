"""How likely a pipeline is to fail, against a count of those that did, one by one."""

import numpy as np

from qtt.predictors.base import SearchTask
from qtt.predictors.failure import PRIOR_RATE, PRIOR_WEIGHT, SURVIVED, FailureRate
from qtt.runs.history import History
from qtt.testing import METAFEATURES, SyntheticSpace
from qtt.types import Result, Status

TASK = SearchTask(SyntheticSpace().sample(60, 0), METAFEATURES)
CONFIGS = TASK.candidates.configs
FAILED, SURVIVORS, BEGUN = (3, 9, 10, 41, 50), (4, 5, 20, 33, 34, 57), (1, 2)
HISTORY = History(
    [
        *(Result(i, 1, float("nan"), 1.0, Status.FAILED) for i in FAILED),
        *(Result(i, epoch, 0.5, 1.0) for i in SURVIVORS for epoch in range(1, SURVIVED + 1)),
        *(Result(i, 1, 0.5, 1.0) for i in BEGUN),
    ]
)


def evidence(i, seen, larger):
    """What counts for pipeline i: half where its batches do not make the same fate likely."""
    total = 0.0
    for j in seen:
        if CONFIGS[i]["model"] == CONFIGS[j]["model"]:
            difference = CONFIGS[i]["batch_size"] - CONFIGS[j]["batch_size"]
            total += 1.0 if (difference >= 0 if larger else difference <= 0) else 0.5
    return total


def test_it_is_an_average_of_what_was_expected_and_of_what_was_seen():
    predictor = FailureRate()
    predictor.setup(TASK)
    predictor.condition(HISTORY)
    for i, found in enumerate(predictor.predict(range(len(CONFIGS)))):
        failures, survivals = evidence(i, FAILED, True), evidence(i, SURVIVORS, False)
        expected = (PRIOR_WEIGHT * PRIOR_RATE + failures) / (PRIOR_WEIGHT + failures + survivals)
        assert found == (0.0 if i in SURVIVORS else expected)


def test_nothing_seen_is_the_prior():
    predictor = FailureRate()
    predictor.setup(TASK)
    predictor.condition(History())
    np.testing.assert_array_equal(predictor.predict(range(len(CONFIGS))), PRIOR_RATE)
