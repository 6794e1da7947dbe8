import numpy as np
import pytest
import torch

from qtt.predictors.base import SearchTask
from qtt.predictors.encoders import Inputs
from qtt.predictors.performance import DeepKernelGP
from qtt.runs.history import History
from qtt.testing import METAFEATURES, SyntheticSpace
from qtt.types import Result

SPACE = SyntheticSpace()
COUNT = 600
TASK = SearchTask(SPACE.sample(COUNT, 0), METAFEATURES, SPACE.options)
HISTORY = History(
    Result(i, epoch, 0.1 + 0.02 * epoch + 0.001 * i, 1.0) for i in range(30) for epoch in range(1, 2 + i % 7)
)
IDS = np.repeat(np.arange(COUNT), 3)
ENDS = np.concatenate([HISTORY.fidelity(i) + np.array([1, 2, 20]) for i in range(COUNT)])


def conditioned(history):
    predictor = DeepKernelGP()
    predictor.setup(TASK)
    predictor.condition(history)
    return predictor


@pytest.mark.parametrize("history", [HISTORY, History()], ids=["observed", "nothing"])
def test_predictions_are_the_posterior_of_each_query_by_itself(history):
    predictor = conditioned(history)
    ends = ENDS if len(history) else np.tile([1, 2, 20], COUNT)
    points = predictor._points().queries(history, IDS, ends)
    query = Inputs.of(points, predictor._center, predictor._scale)
    with torch.no_grad():
        mean, variance = predictor._model.posterior(predictor._x, predictor._y, query)
    found = predictor.predict(IDS.tolist(), ends.tolist())
    scale = predictor._scale
    np.testing.assert_allclose(found.mean, mean.numpy() * scale + predictor._center, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(found.std, variance.sqrt().numpy() * scale, rtol=1e-6)


def test_a_bound_has_the_same_means_and_no_smaller_deviations():
    predictor = conditioned(HISTORY)
    found, bound = predictor.predict(IDS, ENDS), predictor.bound(IDS, ENDS)
    np.testing.assert_array_equal(bound.mean, found.mean)
    assert (bound.std >= found.std).all()
    assert (bound.std > 1.01 * found.std).any()
