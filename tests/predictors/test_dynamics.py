import math

import numpy as np
import pytest

from qtt.predictors.base import SearchTask
from qtt.predictors.dynamics import UNKNOWN_TASK, Encoded, frozen_share
from qtt.predictors.features import FeatureSpec
from qtt.testing.synthetic import CARDS, METAFEATURES, SyntheticSpace
from qtt.types import Candidates, ModelCard

SPACE = SyntheticSpace()
SPEC = FeatureSpec.from_options(SPACE.options, CARDS, conditional=["momentum"])


def encode(*configs, metafeatures=METAFEATURES, cards=CARDS, spec=SPEC):
    return Encoded.of(spec, SearchTask(Candidates(configs, cards), metafeatures))


def test_progress_is_the_effective_rate_times_the_steps():
    sgd = {"model": "small", "opt": "sgd", "lr": 1e-2, "batch_size": 50}
    heavy = {**sgd, "opt": "momentum", "momentum": 0.9}
    ignored = {**sgd, "opt": "adamw", "momentum": 0.9}
    progress = encode(sgd, heavy, ignored).progress
    np.testing.assert_allclose(progress, np.log([1e-2 * 20, 1e-1 * 20, 1e-2 * 20]))


@pytest.mark.parametrize("warmup", [0, 1, 5, 10])
def test_the_schedule_sums_a_linear_warm_up(warmup):
    encoded = encode({"model": "small", "lr": 1e-3, "batch_size": 100, "warmup_epochs": warmup})
    start, end = np.array([0.0, 0.0, 2.0, 5.0, 20.0]), np.array([1.0, 4.0, 3.0, 12.0, 50.0])

    def summed(until):
        middle = (np.arange(200_000) + 0.5) / 200_000 * until
        return (np.minimum(1.0, middle / warmup) if warmup else np.ones_like(middle)).mean() * until

    before, after = (np.array([summed(epoch) if epoch else 0.0 for epoch in part]) for part in (start, end))
    log_after, progress, over, added = encoded.schedule(np.zeros(5, dtype=int), start, end).T
    np.testing.assert_allclose(log_after, np.log(after), atol=1e-4)
    np.testing.assert_allclose(progress, np.log(1e-3 * 10) + np.log(after), atol=1e-4)
    np.testing.assert_allclose(over, np.minimum(1.0, end / warmup) if warmup else 1.0)
    np.testing.assert_allclose(added, np.log((after + 0.3) / (before + 0.3)), atol=1e-4)


def test_linear_probing_freezes_everything():
    configs = [{"linear_probing": True}, {"pct_to_freeze": 1}, {"pct_to_freeze": 0.4}, {}]
    np.testing.assert_array_equal(frozen_share(configs), [1.0, 1.0, 0.4, 0.0])


def test_what_is_none_or_absent_has_its_default():
    base = {"model": "small"}
    none = {**base, "lr": None, "batch_size": None, "layer_decay": None, "weight_decay": None, "amp": None}
    given = {**base, "lr": 1e-3, "batch_size": 32, "layer_decay": 1.0, "weight_decay": 0.0, "amp": False}
    plain = FeatureSpec.from_options({}, CARDS)
    encoded = encode(base, none, given, spec=plain)
    for row in encoded.static[1:]:
        np.testing.assert_array_equal(row, encoded.static[0])
    np.testing.assert_array_equal(encoded.compute[1], encoded.compute[0])


def test_models_are_described_in_logarithms_and_unknown_numbers_are_missing():
    bare = ModelCard("bare", "bare", "bare", params=math.e, input_size=64)
    encoded = encode({"model": "large"}, {"model": "bare"}, cards=(*CARDS, bare))
    wide = SPEC.width("pipeline") + SPEC.width("model")
    models = encoded.static[:, wide + 3 : wide + 7]
    np.testing.assert_allclose(models[0], [math.log(9.0), math.log(2.5), math.log(96), 80.0])
    np.testing.assert_allclose(models[1], [1.0, math.nan, math.log(64), math.nan])


def test_a_dataset_is_described_by_its_images_and_classes():
    config = {"model": "small"}
    encoded, unknown = encode(config), encode(config, metafeatures=None)
    wide = SPEC.width("pipeline") + SPEC.width("model")
    np.testing.assert_allclose(encoded.static[0, wide : wide + 3], np.log([1000, 10, 100]))
    np.testing.assert_array_equal(
        unknown.static[0, wide:], encode(config, metafeatures=UNKNOWN_TASK).static[0, wide:]
    )


def test_a_candidate_is_encoded_by_itself():
    configs = SPACE.sample(10, 0).configs
    together, alone = encode(*configs), encode(configs[7])
    assert len(together) == 10
    for name in ("static", "warmup", "progress", "compute"):
        np.testing.assert_array_equal(getattr(together, name)[7], getattr(alone, name)[0])
    assert np.isfinite(together.static).all()
    assert np.isfinite(together.compute).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("model", "large"), ("lr", 1e-5), ("batch_size", 8), ("opt", "adamw"), ("pct_to_freeze", 0.8)),
        *(("mixup_prob", 1.0), ("layer_decay", 0.65), ("sp_reg", 0.1), ("delta_reg", 0.1), ("bss_reg", 0.1)),
        *(("cotuning_reg", 4), ("weight_decay", 0.1), ("warmup_epochs", 10), ("linear_probing", True)),
    ],
)
def test_every_hyperparameter_with_dynamics_moves_them(name, value):
    base = {"model": "small", "lr": 1e-3, "batch_size": 32, "opt": "sgd", "mixup": 0.4}
    usual, other = encode(base).static, encode({**base, name: value}).static
    wide = SPEC.width("pipeline") + SPEC.width("model")
    assert (usual[:, wide:] != other[:, wide:]).any()
