import itertools
from dataclasses import replace

import numpy as np
import pytest

from qtt.errors import ArtifactError, PredictionError
from qtt.predictors.base import SearchTask
from qtt.predictors.meta import FRESH_ENDS, STARTED, MetaPerformance, residual_points
from qtt.runs.history import History
from qtt.testing import SyntheticCurves
from qtt.types import Candidates, Result, Status
from synthetic_runs import SPACE, TASK, fitted

COUNT = len(TASK.candidates)
CONFIGS = TASK.candidates.configs
CURVES = SyntheticCurves(99)
AHEAD = (list(range(COUNT)) * 2, [30] * COUNT + [50] * COUNT)


def curve(config_id, length, shift=0.0):
    scores = (CURVES.score(CONFIGS[config_id], epoch) for epoch in range(1, length + 1))
    return [Result(config_id, t, min(1.0, score + shift), 1.0) for t, score in enumerate(scores, 1)]


TOLD = [*curve(0, 3), *curve(5, 1), *curve(9, 8), *curve(11, 2)]


@pytest.fixture
def predictor():
    predictor = MetaPerformance.from_tensors(fitted().spec, fitted().performance)
    predictor.setup(TASK)
    return predictor


def conditioned(predictor, results, task=TASK):
    predictor.setup(task)
    predictor.condition(History(results))
    return predictor.predict(*AHEAD)


def same(one, other):
    np.testing.assert_array_equal(one.mean, other.mean)
    np.testing.assert_array_equal(one.std, other.std)


def test_predictions_are_logits_with_positive_deviations(predictor):
    predicted = conditioned(predictor, TOLD)
    assert predicted.link == "logit"
    assert predicted.mean.shape == predicted.std.shape == (2 * COUNT,)
    assert np.isfinite(predicted.mean).all()
    assert (predicted.std > 0).all()


def test_observations_of_others_change_what_is_expected_of_a_pipeline(predictor):
    before = predictor.predict([7], [20])
    means = [before.mean[0]]
    for shift in (-0.3, 0.3):
        predictor.setup(TASK)
        predictor.condition(History(curve(0, 5, shift)))
        after = predictor.predict([7], [20])
        means.append(after.mean[0])
        assert after.std[0] < before.std[0]
    assert means[1] < means[0] < means[2], "the whole dataset is harder or easier"


def test_how_far_the_prior_is_off_for_the_models_of_another_hub_is_learned_sooner(predictor):
    cards = tuple(replace(card, name=f"other {card.name}") for card in TASK.candidates.models)
    configs = tuple({**config, "model": f"other {config['model']}"} for config in CONFIGS)
    tasks = {"known": TASK, "unseen": replace(TASK, candidates=Candidates(configs, cards))}
    fresh, epochs = list(range(1, COUNT)), [10] * (COUNT - 1)
    shift, std = {}, {}
    for name, task in tasks.items():
        predictor.setup(task)
        before = predictor.predict(fresh, epochs)
        predictor.condition(History(curve(0, 1, shift=0.4)))
        shift[name] = (predictor.predict(fresh, epochs).mean - before.mean) / before.std
        std[name] = before.std
    assert (std["unseen"] > 1.1 * std["known"]).mean() > 0.9
    assert (shift["unseen"] > shift["known"]).mean() > 0.9  # trees differ by the version of scikit-learn


def test_without_a_kernel_only_a_pipelines_own_curve_counts():
    predictor = MetaPerformance(
        fitted().spec, MetaPerformance.from_tensors(fitted().spec, fitted().performance).prior, None
    )
    before, after = (conditioned(predictor, results) for results in ([], TOLD))
    seen = np.isin(np.array(AHEAD[0]), [0, 5, 9, 11])
    np.testing.assert_array_equal(before.mean[~seen], after.mean[~seen])
    assert (before.mean[seen] != after.mean[seen]).all()


def test_learning_step_by_step_is_learning_at_once(predictor):
    expected = conditioned(predictor, TOLD)
    predictor.setup(TASK)
    history = History()
    for result in TOLD:
        history.add(result)
        predictor.condition(history)
        predictor.predict(*AHEAD)
    same(predictor.predict(*AHEAD), expected)


def test_the_order_of_results_does_not_matter(predictor):
    expected = conditioned(predictor, TOLD)
    parts = [list(group) for _, group in itertools.groupby(TOLD, lambda result: result.config_id)]
    for order in itertools.permutations(parts):
        same(conditioned(predictor, itertools.chain(*order)), expected)
    in_turns = [result for turn in itertools.zip_longest(*parts) for result in turn if result]
    same(conditioned(predictor, in_turns), expected)


def test_gaps_in_a_curve_are_filled_by_straight_lines(predictor):
    ends = [Result(0, t, score, 1.0) for t, score in ((2, 0.2), (4, 0.4), (7, 0.1))]
    filled = [Result(0, t, s, 1.0) for t, s in enumerate([0.2, 0.2, 0.3, 0.4, 0.3, 0.2, 0.1], 1)]
    one, other = (conditioned(predictor, results) for results in (ends, filled))
    np.testing.assert_allclose(one.mean, other.mean)
    np.testing.assert_allclose(one.std, other.std)


@pytest.mark.parametrize("late", [Result(0, 2, 0.9, 1.0), Result(0, 5, 0.9, 1.0)])
def test_an_epoch_told_late_or_again_is_learned(predictor, late):
    results = [result for result in curve(0, 5) if result.fidelity != 2]
    history = History(results)
    expected = conditioned(predictor, [*results, late])
    predictor.setup(TASK)
    predictor.condition(history)
    history.add(late)
    predictor.condition(history)
    same(predictor.predict(*AHEAD), expected)


def test_failures_and_timeouts_teach_no_score(predictor):
    broken = [Result(3, 1, np.nan, 1.0, Status.FAILED), Result(4, 2, np.nan, 1.0, Status.TIMEOUT)]
    same(conditioned(predictor, [*TOLD, *broken]), conditioned(predictor, TOLD))


def test_a_new_search_forgets_the_last_one(predictor):
    fresh = predictor.predict(*AHEAD)
    conditioned(predictor, TOLD)
    same(conditioned(predictor, []), fresh)


def test_more_candidates_change_nothing_for_the_others(predictor):
    expected = conditioned(predictor, TOLD)
    more = Candidates((*CONFIGS, *SPACE.sample(6, 1).configs), TASK.candidates.models)
    grown = conditioned(predictor, TOLD, SearchTask(more, TASK.metafeatures, TASK.options))
    np.testing.assert_allclose(grown.mean, expected.mean, rtol=1e-9)
    np.testing.assert_allclose(grown.std, expected.std, rtol=1e-9)


def test_a_dataset_without_description_can_be_searched(predictor):
    predicted = conditioned(predictor, TOLD, SearchTask(TASK.candidates))
    assert np.isfinite(predicted.mean).all()


def test_scores_beyond_a_share_do_no_harm(predictor):
    for score in (0.0, 1.0, -3.0, 250.0):
        predicted = conditioned(predictor, [Result(0, 1, score, 1.0), Result(1, 1, 0.5, 1.0)])
        assert np.isfinite(predicted.mean).all()
        assert (predicted.std > 0).all()


def test_asking_before_setup_says_what_to_do():
    predictor = MetaPerformance.from_tensors(fitted().spec, fitted().performance)
    with pytest.raises(PredictionError, match=r"call setup\(task\) first"):
        predictor.predict([0], [1])


def test_tensors_come_back_as_they_were(predictor):
    again = MetaPerformance.from_tensors(predictor.spec, predictor.tensors())
    same(conditioned(again, TOLD), conditioned(predictor, TOLD))
    without = {name: array for name, array in predictor.tensors().items() if name != "residual.log_noise"}
    with pytest.raises(ArtifactError):
        MetaPerformance.from_tensors(predictor.spec, without)


def test_without_a_kernel_tensors_come_back_as_well(predictor):
    alone = MetaPerformance(predictor.spec, predictor.prior, None)
    again = MetaPerformance.from_tensors(predictor.spec, alone.tensors())
    same(conditioned(again, TOLD), conditioned(alone, TOLD))


@pytest.mark.parametrize("length", [1, 2, 3, 4, 20, 21, 50])
def test_curves_are_compared_where_they_are_known(length):
    start, end = residual_points(length)
    assert (end <= length).all()
    assert (start == 0).sum() == (length >= FRESH_ENDS).sum() >= 1
    pairs = {(s, e) for s, e in zip(start, end, strict=True) if s}
    assert pairs == {(s, e) for s, e in STARTED if e <= length}
