import math

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from qtt.errors import ConfigError
from qtt.metatraining.paper import EncodedRuns, PaperNetworks, meta_train_paper
from qtt.metatraining.runs import Runs
from qtt.predictors.base import SearchTask
from qtt.predictors.features import FeatureSpec
from qtt.predictors.paper import PaperPerformance
from qtt.predictors.paper_cost import PaperCost
from qtt.runs.history import History
from qtt.testing import METAFEATURES, SyntheticCurves, SyntheticSpace
from qtt.types import Result

SPACE = SyntheticSpace()
SPEC = FeatureSpec.from_options(SPACE.options, SPACE.cards, conditional=["momentum"])


def recorded(dataset, seed, n=30, epochs=10):
    """Runs of synthetic pipelines; every fifth ends early, and the first one failed at once."""
    candidates = SPACE.sample(n, seed)
    curves = SyntheticCurves(seed)
    lengths = np.array([0 if i == 0 else 1 + i % epochs if i % 5 == 0 else epochs for i in range(n)])
    scores, seconds = np.full((n, epochs), math.nan), np.full((n, epochs), math.nan)
    for i, config in enumerate(candidates.configs):
        scores[i, : lengths[i]] = [curves.score(config, epoch + 1) for epoch in range(lengths[i])]
        seconds[i, : lengths[i]] = curves.seconds(config)
    return Runs(dataset, METAFEATURES, candidates, scores, seconds, lengths, lengths == 0)


RUNS = [recorded(name, seed) for seed, name in enumerate("ABCD")]


def test_points_know_the_curve_before_their_epoch_and_no_more():
    runs = RUNS[0]
    batch = EncodedRuns.of(runs, SPEC).draw(np.random.default_rng(0), 40)
    assert len(batch.scores) == 40
    features = SPEC.encode(runs.candidates, runs.metafeatures)
    for k in range(40):
        epoch = round(float(batch.x.budget[k]) * 10)
        run = int(np.flatnonzero(np.isclose(runs.scores[:, epoch - 1], float(batch.scores[k]), atol=1e-7))[0])
        known = np.where(np.arange(10) < epoch - 1, runs.scores[run], 0.0)
        np.testing.assert_allclose(batch.x.curve[k], known, atol=1e-7)
        assert batch.x.seen[k].tolist() == [1.0] * (epoch - 1) + [0.0] * (11 - epoch)
        np.testing.assert_allclose(batch.x.pipeline[k], features.pipeline[run], atol=1e-6)
        assert batch.log_seconds[k] == pytest.approx(math.log(runs.seconds[run, epoch - 1]))


def test_a_batch_has_no_point_twice_and_all_of_a_small_dataset():
    small = recorded("small", 0, n=4, epochs=3)
    batch = EncodedRuns.of(small, SPEC).draw(np.random.default_rng(0), 64)
    np.testing.assert_allclose(np.sort(batch.scores), np.sort(small.scores[np.isfinite(small.scores)]))


def test_meta_training_is_a_function_of_the_seed():
    one, again = (meta_train_paper(RUNS, SPEC, seed=0, steps=5, validation=["B"]) for _ in range(2))
    assert one.keys() == again.keys() == PaperNetworks(SPEC).state_dict().keys()
    for name in one:
        np.testing.assert_array_equal(one[name], again[name])
    other = meta_train_paper(RUNS, SPEC, seed=1, steps=5, validation=["B"])
    assert any(not np.array_equal(one[name], other[name]) for name in one)


def test_the_global_generator_is_left_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    meta_train_paper(RUNS, SPEC, seed=0, steps=2)
    torch.testing.assert_close(torch.rand(2), expected)


def test_validation_leaves_whole_datasets_out():
    """What is learned from A and C does not depend on B; without choosing by B, nothing of it is seen."""
    alone = meta_train_paper([RUNS[0], RUNS[2]], SPEC, seed=0, steps=1)
    beside = meta_train_paper(RUNS[:3], SPEC, seed=0, steps=1, validation=["B"])
    inside = meta_train_paper(RUNS[:3], SPEC, seed=0, steps=1)
    for name in alone:
        np.testing.assert_array_equal(alone[name], beside[name])
    assert any(not np.array_equal(alone[name], inside[name]) for name in alone)


def test_the_weights_kept_are_those_that_predict_the_validation_datasets_best(monkeypatch):
    monkeypatch.setattr("qtt.metatraining.paper.LEARNING_RATE", 0.3)  # so large that it does not converge
    told = []
    kept = meta_train_paper(
        RUNS, SPEC, seed=0, steps=12, validation=["B"], progress=lambda step, loss: told.append((step, loss))
    )
    assert [step for step, _ in told] == list(range(1, 13))
    best = min(range(12), key=lambda k: told[k][1])
    assert best < 11
    networks = PaperNetworks(SPEC)
    networks.load_state_dict({name: torch.as_tensor(value) for name, value in kept.items()})
    batch = EncodedRuns.of(RUNS[1], SPEC).draw(np.random.default_rng([0, 1]), 128)
    with torch.no_grad():
        assert float(networks.predictive_loss(batch[:64], batch[64:])) == pytest.approx(told[best][1])


def test_what_was_learned_serves_a_new_dataset(tmp_path, monkeypatch):
    monkeypatch.setattr("qtt.metatraining.paper.LEARNING_RATE", 1e-2)
    tensors = meta_train_paper(RUNS, SPEC, seed=0, steps=300, validation=["D"])
    save_file(tensors, tmp_path / "paper.safetensors")
    (tmp_path / "features.json").write_text(SPEC.to_json())
    task = SearchTask(SPACE.sample(40, 9), METAFEATURES, SPACE.options)
    curves, configs = SyntheticCurves(9), task.candidates.configs
    history = History(Result(i, 1, curves.score(configs[i], 1), curves.seconds(configs[i])) for i in range(5))
    truth = np.array([curves.score(config, 1) for config in configs[5:]])
    seconds = np.array([curves.seconds(config) for config in configs[5:]])
    errors = {}
    for weights in (None, tmp_path):
        performance = PaperPerformance(weights, early_steps=0, steps=0)
        cost = PaperCost(weights, early_steps=0, steps=0)
        for predictor in (performance, cost):
            predictor.setup(task)
            predictor.condition(history)
        predicted = performance.predict(range(5, 40), [1] * 35)
        log_likelihood = -0.5 * ((truth - predicted.mean) / predicted.std) ** 2 - np.log(predicted.std)
        cost_error = np.abs(np.log(cost.predict(range(5, 40)) / seconds)).mean()
        errors[weights] = (-log_likelihood.mean(), cost_error)
    assert errors[tmp_path][0] < errors[None][0]
    assert errors[tmp_path][1] < 0.5 * errors[None][1]


def test_unknown_seconds_teach_nothing_about_costs():
    runs = RUNS[0]
    silent = Runs(
        "silent",
        METAFEATURES,
        runs.candidates,
        runs.scores,
        np.full_like(runs.seconds, math.nan),
        runs.lengths,
        runs.failed,
    )
    tensors = meta_train_paper([silent], SPEC, seed=0, steps=2)
    assert all(np.isfinite(tensor).all() for tensor in tensors.values())
    torch.manual_seed(0)
    drawn = PaperNetworks(SPEC).state_dict()
    for name, tensor in tensors.items():
        if name.startswith("cost."):
            np.testing.assert_array_equal(tensor, drawn[name])


def test_requests_that_cannot_be_met():
    with pytest.raises(ConfigError, match="Unknown validation dataset 'E'"):
        meta_train_paper(RUNS, SPEC, seed=0, steps=1, validation=["E"])
    with pytest.raises(ConfigError, match="not left out"):
        meta_train_paper(RUNS, SPEC, seed=0, steps=1, validation=list("ABCD"))
    with pytest.raises(ConfigError, match="D has fewer than two scores"):
        meta_train_paper([*RUNS[:3], recorded("D", 0, n=1)], SPEC, seed=0, steps=1)
