"""Gains over linear probes: what is expected before, and after, something was seen."""

from dataclasses import replace

import numpy as np
import pytest

from qtt.predictors.base import SearchTask
from qtt.predictors.gains import GainsOverProbes
from qtt.predictors.performance import DeepKernelGP
from qtt.predictors.prior import logit
from qtt.runs.history import History
from qtt.space.horizon import probe_of
from qtt.types import Candidates, MetaFeatures, ModelCard, Prediction, Result

CARDS = tuple(ModelCard(name, name, "f", 1.0, 64) for name in ("good", "bad", "unprobed"))
RECIPES = {"head_init": "probe", "lr": 1e-4, "batch_size": 32, "schedule_epochs": 5, "freeze_norms": True}
OTHER = {"model": "good", "lr": 1e-3, "batch_size": 32}
CONFIGS = (
    probe_of("good"),
    probe_of("bad"),
    RECIPES | {"model": "good"},
    RECIPES | {"model": "bad"},
    RECIPES | {"model": "unprobed"},
    RECIPES | {"model": "good", "layer_decay": 0.75},
    RECIPES | {"model": "good", "lr": 1e-2},
    OTHER,
)
GOOD, BAD, UNPROBED, NEAR, WILD, RANDOM = 2, 3, 4, 5, 6, 7
TASK = SearchTask(Candidates(CONFIGS, CARDS), MetaFeatures(400, 5, 128, 3))
PROBES = (Result(0, 1, 0.8, 1.0), Result(1, 1, 0.5, 1.0))


class Others:
    """Predicts .3 for everything."""

    learned_metric = "accuracy"

    def setup(self, task: SearchTask) -> None:
        self.conditioned = 0

    def condition(self, history: History) -> None:
        self.conditioned = len(history)

    def predict(self, config_ids: list[int], fidelities: list[int]) -> Prediction:
        return Prediction(np.full(len(config_ids), 0.3), np.full(len(config_ids), 0.1))


def conditioned(*results: Result) -> GainsOverProbes:
    predictor = GainsOverProbes(Others())
    predictor.setup(TASK)
    predictor.condition(History((*PROBES, *results)))
    return predictor


def test_the_better_probe_promises_the_better_pipeline() -> None:
    mean = conditioned().predict([GOOD, BAD, UNPROBED], [5, 5, 5]).mean
    assert mean[0] > mean[2] > mean[1]
    assert mean[0] > logit(np.array(0.8))


def test_nothing_is_as_uncertain_as_a_model_without_a_probe() -> None:
    std = conditioned().predict([GOOD, BAD, UNPROBED], [5, 5, 5]).std
    assert std[2] > max(std[:2])


def test_more_of_the_schedule_promises_more_and_a_wild_rate_less() -> None:
    predictor = conditioned()
    assert np.diff(predictor.predict([GOOD] * 5, [1, 2, 3, 4, 5]).mean).min() > 0
    gentle, wild = predictor.predict([GOOD, WILD], [5, 5]).mean
    assert gentle > wild


def test_what_one_pipeline_gains_its_likes_are_expected_to_gain() -> None:
    before = conditioned().predict([GOOD, BAD, NEAR], [5, 5, 5])
    after = conditioned(Result(GOOD, 4, 0.9, 1.0)).predict([GOOD, BAD, NEAR], [5, 5, 5])
    assert (after.mean > before.mean).all()
    rise = after.mean - before.mean
    assert rise[0] > max(rise[1:])  # its own curve says most of itself
    assert (after.std < before.std).all()


def test_a_pipeline_that_loses_is_not_expected_to_win() -> None:
    lost = conditioned(Result(GOOD, 2, 0.4, 1.0))
    assert lost.predict([GOOD], [5]).mean[0] < conditioned().predict([GOOD], [5]).mean[0]


def test_a_first_epoch_says_less_of_the_end_than_a_later_one() -> None:
    before = conditioned().predict([GOOD], [5]).mean[0]
    early = conditioned(Result(GOOD, 1, 0.7, 1.0)).predict([GOOD], [5]).mean[0]
    late = conditioned(Result(GOOD, 4, 0.7, 1.0)).predict([GOOD], [5]).mean[0]
    assert late < early < before
    assert before - early < 0.25 * (before - late)


def test_what_large_models_gain_says_more_of_large_ones() -> None:
    cards = (replace(CARDS[0], macs=0.05), replace(CARDS[1], macs=3.0), replace(CARDS[2], macs=3.0))
    predictor = GainsOverProbes(Others())
    predictor.setup(replace(TASK, candidates=Candidates((*CONFIGS, probe_of("unprobed")), cards)))
    probes = [Result(i, 1, 0.7, 1.0) for i in (0, 1, len(CONFIGS))]
    predictor.condition(History((*probes, Result(BAD, 5, 0.85, 1.0))))
    small, large = predictor.predict([GOOD, UNPROBED], [5, 5]).mean
    assert small < large


def test_all_others_are_predicted_as_they_were() -> None:
    beside = conditioned().predict([GOOD, RANDOM], [3, 3])
    assert beside.mean[1] == pytest.approx(logit(np.array(0.3)))
    assert beside.std[1] == pytest.approx(0.1 / 0.21)
    alone = conditioned().predict([RANDOM], [3])
    assert (alone.mean[0], alone.std[0], alone.link) == (0.3, 0.1, "identity")


def test_before_any_probe_the_other_predictor_speaks_for_all() -> None:
    predictor = GainsOverProbes(Others())
    predictor.setup(TASK)
    predictor.condition(History())
    found = predictor.predict([GOOD, RANDOM], [5, 5])
    assert found.link == "identity"
    assert found.mean.tolist() == [0.3, 0.3]


def test_it_depends_on_what_was_seen_and_not_on_when_it_was_asked() -> None:
    results = (Result(GOOD, 1, 0.82, 1.0), Result(BAD, 1, 0.6, 1.0), Result(GOOD, 2, 0.85, 1.0))
    whole = conditioned(*results).predict([GOOD, NEAR], [5, 5])
    predictor = GainsOverProbes(Others())
    predictor.setup(TASK)
    history = History(PROBES)
    for result in results:
        history.add(result)
        predictor.condition(history)
        predictor.predict([GOOD, RANDOM], [5, 5])
    again = predictor.predict([GOOD, NEAR], [5, 5])
    assert np.array_equal(whole.mean, again.mean) and np.array_equal(whole.std, again.std)


def test_it_says_which_metric_the_other_one_has_learned() -> None:
    assert GainsOverProbes(Others()).learned_metric == "accuracy"
    assert GainsOverProbes(DeepKernelGP()).learned_metric is None


def test_a_task_that_nobody_described_is_no_trouble() -> None:
    predictor = GainsOverProbes(Others())
    predictor.setup(replace(TASK, metafeatures=None))
    predictor.condition(History(PROBES))
    assert np.isfinite(predictor.predict([GOOD], [5]).mean).all()
