from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from qtt.errors import ArtifactError
from qtt.predictors import prior as prior_module
from qtt.predictors.dynamics import Encoded
from qtt.predictors.prior import HORIZONS, CurvePrior, curve_columns, interpolate, logit
from qtt.testing import SyntheticCurves
from qtt.testing.synthetic import CARDS
from qtt.types import Candidates
from synthetic_runs import TASK, fitted

CONFIGS = TASK.candidates.configs
COUNT = len(CONFIGS)
IDS = np.arange(COUNT)
STARTS = [0, 1, 2, 3, 4, 7, 20, 49]


@pytest.fixture(scope="module")
def prior():
    return CurvePrior.from_tensors(fitted().performance)


@pytest.fixture(scope="module")
def encoded():
    return Encoded.of(fitted().spec, TASK)


@pytest.fixture(scope="module")
def curves():
    truth = SyntheticCurves(99)
    return np.array([[truth.score(c, epoch + 1) for epoch in range(50)] for c in TASK.candidates.configs])


def ask(prior, encoded, curves, start, end):
    standings = prior.standing.predict(encoded)
    return prior.predict(
        encoded, standings, IDS, np.full(COUNT, float(start)), np.full(COUNT, float(end)), curves
    )


def test_standings_of_candidates_that_came_later_are_those_of_a_search_that_began_with_them(
    prior, encoded, monkeypatch
):
    monkeypatch.setattr(prior_module, "BLOCK", 7)
    whole = prior.standing.predict(encoded)
    for count in (3, 7, 10, 21, COUNT):
        first = Encoded.of(fitted().spec, replace(TASK, candidates=Candidates(CONFIGS[:count], CARDS)))
        assert encoded.begins_with(first)
        known = prior.standing.predict(first)
        np.testing.assert_array_equal(prior.standing.predict(encoded, known), whole)
    other = Encoded.of(fitted().spec, replace(TASK, candidates=Candidates(CONFIGS[1:], CARDS)))
    assert not encoded.begins_with(other)
    assert not first.begins_with(replace(encoded, warmup=encoded.warmup + 1.0))


@pytest.mark.parametrize("start", STARTS)
def test_the_future_of_a_curve_is_masked(prior, encoded, curves, start):
    other = curves.copy()
    other[:, start:] = np.random.default_rng(0).uniform(size=(COUNT, 50 - start))
    absent = curves.copy()
    absent[:, start:] = np.nan
    for end in {start + 1, min(start + 6, 50), 50}:
        expected = ask(prior, encoded, curves, start, end)
        for changed in (other, absent):
            np.testing.assert_array_equal(ask(prior, encoded, changed, start, end), expected)


@pytest.mark.parametrize("start", STARTS[1:])
def test_the_past_of_a_curve_matters(prior, encoded, curves, start):
    better = curves.copy()
    better[:, start - 1] = curves[:, :start].max(axis=1) + 0.1
    mean, _ = ask(prior, encoded, curves, start, 50)
    changed, _ = ask(prior, encoded, better, start, 50)
    assert (changed != mean).all()
    assert changed.mean() > mean.mean()


def test_every_query_is_answered_by_itself(prior, encoded, curves):
    standings = prior.standing.predict(encoded)
    start, end = np.arange(COUNT) % 3.0, np.arange(COUNT) + 4.0
    mean, std = prior.predict(encoded, standings, IDS, start, end, curves)
    assert (std > 0).all()
    assert np.isfinite(mean).all()
    for i in (0, 1, 2, 17):
        one = slice(i, i + 1)
        alone = prior.predict(encoded, standings, IDS[one], start[one], end[one], curves[one])
        np.testing.assert_allclose(np.ravel(alone), [mean[i], std[i]], rtol=1e-9)


def test_the_order_of_pipelines_on_a_dataset_never_seen_is_known(prior, encoded, curves):
    best = np.maximum.accumulate(curves, axis=1)[:, HORIZONS - 1]
    standings = prior.standing.predict(encoded)
    assert standings.shape == (COUNT, len(HORIZONS))
    for horizon in range(len(HORIZONS)):
        assert spearmanr(standings[:, horizon], best[:, horizon]).statistic > 0.6
    mean, _ = ask(prior, encoded, curves, 0, 50)
    assert spearmanr(mean, best[:, -1]).statistic > 0.6


def test_a_known_curve_tells_more_than_none(prior, encoded, curves):
    truth = logit(curves[:, 10:20].max(axis=1))
    fresh, _ = ask(prior, encoded, curves, 0, 20)
    started, std = ask(prior, encoded, curves, 10, 20)
    assert np.abs(started - truth).mean() < 0.5 * np.abs(fresh - truth).mean()
    assert (np.abs(started - truth) < 3 * std).mean() > 0.8


def test_standings_are_interpolated_in_log_epochs():
    standings = np.random.default_rng(0).normal(size=(400, len(HORIZONS)))
    epochs = np.concatenate([HORIZONS, np.random.default_rng(1).uniform(1, 50, 391)])
    expected = [np.interp(np.log(e), np.log(HORIZONS), row) for e, row in zip(epochs, standings, strict=True)]
    np.testing.assert_allclose(interpolate(standings, epochs), expected)


def test_the_shape_of_a_curve_by_hand():
    curve = np.array([[0.1, 0.4, 0.3, 0.6, 0.5, 0.7]])
    nan = np.nan
    expected = {
        1: [0.1, 0.1, nan, nan, nan, 0.1, nan],
        2: [0.4, 0.4, 0.3, 0.3, 0.3, 0.1, np.std([0.1, 0.4])],
        4: [0.6, 0.6, 0.3, 0.5, 0.2, 0.1, np.std([0.1, 0.4, 0.3, 0.6])],
        5: [0.5, 0.6, -0.1, 0.1, 0.1, 0.1, np.std([0.1, 0.4, 0.3, 0.6, 0.5])],
        6: [0.7, 0.7, 0.2, 0.4, 0.4, 0.1, np.std([0.4, 0.3, 0.6, 0.5, 0.7])],
    }
    starts = np.array(list(expected), dtype=float)
    shape = curve_columns(np.tile(curve, (len(starts), 1)), starts)
    np.testing.assert_allclose(shape, list(expected.values()), atol=1e-12)


def test_logits_of_extreme_scores_are_finite():
    np.testing.assert_allclose(logit(np.array([0.5, 0.75])), [0.0, np.log(3.0)])
    np.testing.assert_allclose(
        logit(np.array([0.0, 0.004, 0.996, 1.0])), np.log(249.0) * np.array([-1, -1, 1, 1])
    )


def test_arrays_come_back_as_they_were(prior, encoded, curves):
    again = CurvePrior.from_tensors(prior.tensors())
    for start in (0, 4):
        np.testing.assert_array_equal(
            ask(again, encoded, curves, start, 9), ask(prior, encoded, curves, start, 9)
        )


def lacking(prior, names):
    tensors = prior.tensors()
    assert names
    for name in names:
        with pytest.raises(ArtifactError, match=name):
            CurvePrior.from_tensors({key: array for key, array in tensors.items() if key != name})


def test_every_array_of_trees_and_networks_is_needed(prior):
    lacking(prior, [name for name in prior.tensors() if not name.endswith(".factor")])


def test_the_calibration_is_needed(prior):
    lacking(prior, ["fresh.factor", "started.factor"])
