import numpy as np
import pytest

from qtt.predictors.features import FeatureSpec
from qtt.predictors.points import PointBuilder
from qtt.runs.history import History
from qtt.testing.synthetic import METAFEATURES, SyntheticSpace
from qtt.types import Result


@pytest.fixture
def features():
    space = SyntheticSpace()
    return FeatureSpec.from_options(space.options, space.cards).encode(space.sample(5, 0), METAFEATURES)


def told(*observations):
    return History(Result(i, t, score, 1.0) for i, t, score in observations)


def test_a_point_knows_the_curve_before_its_step_and_no_more(features):
    history = told((3, 1, 0.1), (3, 2, 0.2), (3, 3, 0.3), (1, 1, 0.5))
    points, scores = PointBuilder(features, max_fidelity=5).observed(history)
    assert scores.tolist() == [0.1, 0.2, 0.3, 0.5]
    assert points.budget.tolist() == [0.2, 0.4, 0.6, 0.2]
    np.testing.assert_array_equal(points.curve[2], [0.1, 0.2, 0, 0, 0])
    np.testing.assert_array_equal(points.seen, [[0] * 5, [1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0] * 5])
    np.testing.assert_array_equal(points.pipeline, features.pipeline[[3, 3, 3, 1]])


def test_epochs_of_one_step_know_what_was_known_when_it_began(features):
    history = told(*((0, t, t / 10) for t in range(1, 6)))
    points, _ = PointBuilder(features, max_fidelity=6, epochs_per_step=2).observed(history)
    assert points.seen.sum(1).tolist() == [0, 0, 2, 2, 4]


def test_queries_know_the_whole_curve(features):
    history = told((0, 1, 0.1), (0, 2, 0.2))
    points = PointBuilder(features, max_fidelity=4).queries(history, [0, 4], [3, 1])
    np.testing.assert_array_equal(points.curve, [[0.1, 0.2, 0, 0], [0, 0, 0, 0]])
    assert points.budget.tolist() == [0.75, 0.25]


def test_a_limit_keeps_first_and_latest_epochs(features):
    history = told(*((0, t, t / 10) for t in range(1, 8)), (1, 1, 0.1), (1, 2, 0.2))
    builder = PointBuilder(features, max_fidelity=7)
    _, scores = builder.observed(history, limit=6)
    assert scores.tolist() == [0.1, 0.5, 0.6, 0.7, 0.1, 0.2]
    assert len(builder.observed(history, limit=9)[1]) == 9


def test_no_observations_make_no_points(features):
    points, scores = PointBuilder(features).observed(History(), limit=4)
    assert len(points) == len(scores) == 0
    assert points.curve.shape == (0, 50)
