import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtt.errors import ArtifactError, PredictionError
from qtt.predictors import meta_cost
from qtt.predictors.base import SearchTask
from qtt.predictors.dynamics import frozen_share
from qtt.predictors.meta_cost import MetaCost
from qtt.runs.history import History
from qtt.testing.synthetic import CARDS
from qtt.types import Candidates, MetaFeatures, ModelCard, Result, Status
from synthetic_runs import TASK, fitted, seconds_of

CONFIGS = TASK.candidates.configs
COUNT = len(CONFIGS)
TRUTH = seconds_of(TASK)
FROZEN = frozen_share(CONFIGS)
MACS = {card.name: card.macs for card in TASK.candidates.models}


def conditioned(results, task=TASK):
    predictor = MetaCost.from_tensors(fitted().spec, fitted().cost)
    predictor.setup(task)
    predictor.condition(History(results))
    return predictor.predict(range(len(task.candidates)))


def epochs(config_id, *seconds):
    return [Result(config_id, t, 0.5, cost) for t, cost in enumerate(seconds, 1)]


def error(predicted, truth):
    """Root mean square, in log seconds."""
    return math.sqrt(np.mean(np.log(predicted / truth) ** 2))


def test_costs_of_the_recording_machine_are_known_before_the_first_step():
    assert error(conditioned([]), TRUTH) < 0.25
    spread = np.log(TRUTH).std()
    assert spread > 1.0


@pytest.mark.parametrize("factor", [0.02, 10.0, 300.0])
@pytest.mark.parametrize("observed", ["small", "medium", "large"])
def test_the_first_observation_rescales_all_predictions(factor, observed):
    before, i = conditioned([]), [config["model"] for config in CONFIGS].index(observed)
    after = conditioned(epochs(i, factor * TRUTH[i]))
    assert after[i] == pytest.approx(factor * TRUTH[i], rel=0.02)
    left = np.abs(np.log(after / before / factor))
    assert (left < 0.5 * abs(math.log(factor))).all(), "of the error of every prediction, most is gone"


def test_a_slower_machine_is_known_after_a_step_of_each_model():
    first = {config["model"]: i for i, config in reversed(list(enumerate(CONFIGS)))}
    after = conditioned([Result(i, 1, 0.5, 10.0 * TRUTH[i]) for i in first.values()])
    np.testing.assert_allclose(after / conditioned([]), 10.0, rtol=0.35)
    assert error(after, 10.0 * TRUTH) < 0.25


def test_a_machine_that_is_slow_with_large_models_is_learned_from_a_few_steps():
    macs = np.array([MACS[config["model"]] for config in CONFIGS])
    truth = TRUTH * 4.0 * (macs / macs.min()) ** 0.6
    largest = macs == macs.max()
    others = [i for i in range(COUNT) if not largest[i]]
    errors = []
    for steps in ([], others[:1], others[:6]):
        after = conditioned([Result(i, 1, 0.5, truth[i]) for i in steps])
        errors.append(error(after[largest], truth[largest]))
    assert errors[0] > errors[1] > errors[2], "none of the largest was ever seen"
    assert errors[2] < 0.5 * errors[1]
    with_one = conditioned([Result(i, 1, 0.5, truth[i]) for i in (*others[:6], int(np.argmax(largest)))])
    assert error(with_one[largest], truth[largest]) < 0.25


def test_on_a_cpu_epochs_are_expected_to_follow_arithmetic_from_the_start():
    arithmetic = np.array(
        [MACS[c["model"]] * (3 - 2 * frozen) for c, frozen in zip(CONFIGS, FROZEN, strict=True)]
    )
    truth = 20.0 * TRUTH * (arithmetic / arithmetic.mean()) ** 0.6
    expected = {on_cpu: conditioned([], replace(TASK, on_cpu=on_cpu)) for on_cpu in (False, True)}
    off = {on_cpu: np.log(seconds / truth).std() for on_cpu, seconds in expected.items()}
    assert off[True] < 0.5 * off[False], "which pipelines are cheap is known, before how cheap they are"
    one = {on_cpu: conditioned(epochs(0, truth[0]), replace(TASK, on_cpu=on_cpu)) for on_cpu in (False, True)}
    assert error(one[True], truth) < 0.5 * error(one[False], truth)


def test_seconds_grow_with_the_images():
    predicted = {}
    for images in (1000, 2000):
        described = MetaFeatures(images, 10, 64, 3)
        predicted[images] = conditioned([], SearchTask(TASK.candidates, described, TASK.options))
    assert 1.5 < np.median(predicted[2000] / predicted[1000]) < 3.0


def test_the_posterior_is_the_dense_gaussian_process():
    ids, factors = [2, 5, 6, 11], [3.0, 2.0, 4.0, 0.5]
    lengths = [1, 4, 2, 3]
    results = [
        r for i, f, n in zip(ids, factors, lengths, strict=True) for r in epochs(i, *[f * TRUTH[i]] * n)
    ]
    before, after = np.log(conditioned([])), np.log(conditioned(results))
    macs = np.log([MACS[config["model"]] for config in CONFIGS])
    batch = np.log([config["batch_size"] for config in CONFIGS])
    basis = np.column_stack([np.ones(COUNT), macs - macs.mean(), batch - batch.mean(), np.zeros(COUNT)])
    prior = np.zeros((COUNT, COUNT))
    for i in range(COUNT):
        for j in range(COUNT):
            prior[i, j] = sum(basis[i] * meta_cost.MACHINE_STD**2 * basis[j])
            prior[i, j] += meta_cost.MODEL_STD**2 * (CONFIGS[i]["model"] == CONFIGS[j]["model"])
            prior[i, j] += meta_cost.PIPELINE_STD**2 * (i == j)
    residual = np.log([f * TRUTH[i] for i, f in zip(ids, factors, strict=True)]) - before[ids]
    inner = prior[np.ix_(ids, ids)] + np.diag(meta_cost.EPOCH_STD**2 / np.array(lengths))
    np.testing.assert_allclose(after, before + prior[:, ids] @ np.linalg.solve(inner, residual), rtol=1e-9)


def test_one_slow_epoch_among_many_changes_nothing():
    usual = epochs(0, *[10.0] * 9)
    np.testing.assert_allclose(conditioned([*usual, Result(0, 10, 0.5, 500.0)])[0], 10.0, rtol=0.02)


def test_the_order_of_results_does_not_matter():
    results = [r for i in range(6) for r in epochs(i, TRUTH[i] * (1 + i), TRUTH[i] * (2 + i))]
    np.testing.assert_array_equal(
        conditioned(results), conditioned(sorted(results, key=lambda r: -r.config_id))
    )


def test_an_empty_history_forgets():
    predictor = MetaCost.from_tensors(fitted().spec, fitted().cost)
    predictor.setup(TASK)
    predictor.condition(History(epochs(0, 1e4)))
    predictor.condition(History())
    np.testing.assert_array_equal(predictor.predict(range(COUNT)), conditioned([]))


def test_failures_teach_no_cost():
    failed = Result(0, 1, math.nan, 1e-3, Status.FAILED)
    np.testing.assert_array_equal(conditioned([failed]), conditioned([]))


@settings(max_examples=50)
@given(st.dictionaries(st.integers(0, COUNT - 1), st.floats(1e-6, 1e8), min_size=1, max_size=12))
def test_costs_are_always_positive_seconds(seconds):
    predicted = conditioned([Result(i, 1, 0.5, value) for i, value in seconds.items()])
    assert np.isfinite(predicted).all()
    assert (predicted > 0).all()


BARE = ModelCard("bare", "bare", "bare", params=3.0, input_size=64)


def with_bare_model(*others):
    first = {**CONFIGS[0], "model": "bare"}
    predicted = conditioned(epochs(0, 2.0, 2.0), SearchTask(Candidates((first, *others), (*CARDS, BARE))))
    assert np.isfinite(predicted).all()
    assert predicted[0] == pytest.approx(2.0, rel=0.1)


def test_a_model_without_multiply_adds_does_no_harm():
    with_bare_model(*CONFIGS[1:4])


def test_a_hub_without_multiply_adds_does_no_harm():
    with_bare_model({"model": "bare", "lr": 1e-3})


def test_learning_step_by_step_is_learning_at_once():
    predictor = MetaCost.from_tensors(fitted().spec, fitted().cost)
    predictor.setup(TASK)
    results = [*epochs(0, 3.0, 9.0, 4.0), *epochs(4, 1.0), *epochs(0, 3.0, 9.0, 4.0, 5.0)[3:]]
    history = History()
    for result in results:
        history.add(result)
        predictor.condition(history)
    np.testing.assert_allclose(predictor.predict(range(COUNT)), conditioned(results), rtol=1e-12)


def test_asking_before_setup_says_what_to_do():
    with pytest.raises(PredictionError, match=r"call setup\(task\) first"):
        MetaCost.from_tensors(fitted().spec, fitted().cost).predict([0])


def test_tensors_come_back_as_they_were_and_all_are_needed():
    predictor = MetaCost.from_tensors(fitted().spec, fitted().cost)
    again = MetaCost.from_tensors(predictor.spec, predictor.tensors())
    for cost in (predictor, again):
        cost.setup(TASK)
    np.testing.assert_array_equal(predictor.predict(range(COUNT)), again.predict(range(COUNT)))
    with pytest.raises(ArtifactError, match=r"cost\.value"):
        MetaCost.from_tensors(predictor.spec, {k: v for k, v in fitted().cost.items() if k != "cost.value"})
