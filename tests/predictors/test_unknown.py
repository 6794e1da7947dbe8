"""Hyperparameters that predictors were not made for: ignored beforehand, learned from what is observed."""

from dataclasses import replace

import numpy as np
import pytest

from qtt.predictors.base import SearchTask
from qtt.predictors.cost import PhysicalCost
from qtt.predictors.features import FeatureSpec
from qtt.predictors.meta import MetaPerformance
from qtt.predictors.meta_cost import MetaCost
from qtt.predictors.unknown import known_part, unknown_effects, unknown_hyperparameters
from qtt.runs.history import History
from qtt.space.domains import Range
from qtt.types import Candidates, Result
from synthetic_runs import TASK, fitted

COUNT = len(TASK.candidates)
NEW = {"norm": ("batch", "layer"), "dropout": Range(0.0, 1.0)}
DROPOUT = np.linspace(0.0, 1.0, COUNT)
CONFIGS = tuple(
    {**config, "norm": "batch" if i % 2 else "layer", "dropout": float(DROPOUT[i])}
    for i, config in enumerate(TASK.candidates.configs)
)


def task(options=None, configs=CONFIGS):
    return SearchTask(
        Candidates(configs, TASK.candidates.models),
        TASK.metafeatures,
        {**TASK.options, **(NEW if options is None else options)},
    )


def meta(of):
    predictor = MetaPerformance.from_tensors(fitted().spec, fitted().performance)
    predictor.setup(of)
    return predictor


def told(scores):
    return History(Result(i, 1, score, 1.0) for i, score in scores.items())


def test_unknown_is_what_has_no_column_or_other_values():
    spec = fitted().spec
    assert unknown_hyperparameters(spec, TASK) == ()
    assert unknown_hyperparameters(spec, task()) == ("norm", "dropout")
    assert unknown_hyperparameters(spec, task({"lr": ("low", "high")})) == ("lr",)
    assert unknown_hyperparameters(spec, task({"lr": Range(1e-4, 1e-1, log=True)})) == ()
    left = known_part(task().candidates, ("norm", "dropout"))
    assert left.configs == TASK.candidates.configs


def test_effects_are_alike_for_equal_and_near_values_and_of_unit_size():
    assert unknown_effects((), TASK).shape == (COUNT, 0)
    effects = unknown_effects(("norm", "dropout"), task())
    gram = effects @ effects.T
    assert 0.3 < np.diag(gram).mean() < 2.0
    same_norm = (np.arange(COUNT)[:, None] % 2) == (np.arange(COUNT) % 2)
    assert gram[same_norm].mean() > gram[~same_norm].mean() + 0.4
    assert gram[0, 2] > gram[0, COUNT - 2], "of one norm, and dropout near or far"


def test_the_prior_is_that_of_the_known_hyperparameters():
    epochs = [10] * COUNT
    known, predicted = (meta(of).predict(range(COUNT), epochs) for of in (TASK, task()))
    np.testing.assert_array_equal(known.mean, predicted.mean)
    assert (predicted.std > known.std).all(), "and less sure of itself"


@pytest.mark.parametrize("name", ["norm", "dropout"])
def test_observations_move_other_pipelines_with_the_same_value(name):
    """Two observations of one value are high, two of the other low; all others are judged accordingly."""
    of = task(
        {name: NEW[name]}, tuple({k: v for k, v in c.items() if k not in NEW or k == name} for c in CONFIGS)
    )
    one, two = ([1, 3], [0, 2]) if name == "norm" else ([COUNT - 1, COUNT - 2], [0, 1])
    seen = [*one, *two]
    rest = np.array([i for i in range(COUNT) if i not in seen])
    alike = rest % 2 == 1 if name == "norm" else DROPOUT[rest] > 0.5
    expected = meta(of).prior.predict(
        meta(of)._encoded, meta(of)._standings, np.array(seen), np.zeros(4), np.ones(4), np.zeros((4, 50))
    )
    logits = expected[0] + expected[1] * np.array([1.5, 1.5, -1.5, -1.5])
    scores = dict(zip(seen, 1 / (1 + np.exp(-logits)), strict=True))
    shifts = {}
    for label, search in (("known", replace(of, options=TASK.options)), ("unknown", of)):
        predictor = meta(search)
        before = predictor.predict(list(rest), [10] * len(rest))
        predictor.condition(told(scores))
        after = predictor.predict(list(rest), [10] * len(rest))
        shifts[label] = (after.mean - before.mean) / before.std
    gain = shifts["unknown"] - shifts["known"]
    assert gain[alike].mean() > 0.1 and gain[~alike].mean() < -0.1
    value = alike if name == "norm" else DROPOUT[rest]
    assert np.corrcoef(gain, value)[0, 1] > 0.6


@pytest.mark.parametrize("make", [PhysicalCost, lambda: MetaCost.from_tensors(fitted().spec, fitted().cost)])
def test_seconds_follow_an_unknown_hyperparameter(make):
    truth = 3.0 * np.exp(1.5 * DROPOUT)
    history = History(Result(i, 1, 0.5, truth[i]) for i in range(0, COUNT, 4))
    rest = [i for i in range(COUNT) if i % 4]
    errors = {}
    for label, of in (("known", TASK), ("unknown", task({"dropout": NEW["dropout"]}))):
        predictor = make()
        predictor.setup(of)
        predictor.condition(history)
        errors[label] = np.abs(np.log(predictor.predict(rest) / truth[rest])).mean()
    assert errors["unknown"] < 0.8 * errors["known"]


def test_the_same_names_may_mean_other_things():
    odd = {
        "lr": ("low", "high"),
        "batch_size": ("auto", "max"),
        "pct_to_freeze": (3.0, 7.0),
        "momentum": (2.0, 3.0),
        "opt": ("momentum", "lion"),
        "layer_decay": (-1.0, 0.0),
        "linear_probing": ("a", "b"),
        "weight_decay": (-5.0, 1.0),
    }
    configs = tuple({name: values[i % 2] for name, values in odd.items()} for i in range(6))
    search = SearchTask(Candidates(configs), None, odd)
    performance = meta(search)
    history = told({0: 0.3, 1: 0.6})
    costs = [PhysicalCost(), MetaCost.from_tensors(fitted().spec, fitted().cost)]
    performance.condition(history)
    predicted = performance.predict([2, 3], [5, 5])
    assert np.isfinite(predicted.mean).all() and predicted.mean[1] > predicted.mean[0]
    for cost in costs:
        cost.setup(search)
        cost.condition(history)
        assert (cost.predict(range(6)) > 0).all()


def test_range_columns_are_standardised_on_the_scale_of_the_space():
    log, number = Range(1e-5, 1e-1, log=True), Range(-2.0, 6.0)
    spec = FeatureSpec.from_options({"a": log, "b": number, "c": number}, conditional=["c"])
    drawn = [{"a": log.at(u), "b": number.at(u)} for u in np.linspace(0, 1, 201)]
    columns = spec.encode(Candidates(tuple(drawn)), None).pipeline
    assert [(c.source, c.kind) for c in spec.columns if c.group == "pipeline"] == [
        ("a", "log"),
        ("b", "number"),
        ("c", "active"),
        ("c", "number"),
    ]
    np.testing.assert_allclose(columns.mean(axis=0), 0.0, atol=1e-9)
    np.testing.assert_allclose(columns.std(axis=0), [1, 1, 0, 0], atol=0.02)
    assert FeatureSpec.from_json(spec.to_json()) == spec
