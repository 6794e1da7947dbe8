import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtt.errors import PredictionError
from qtt.predictors.features import TASK_SCALES, FeatureSpec
from qtt.space.hyperparameters import CONDITIONS
from qtt.space.search_space import FULL
from qtt.testing.synthetic import CARDS, METAFEATURES, SyntheticSpace
from qtt.types import Candidates, ModelCard

OPTIONS = {
    "model": ("small", "medium", "large"),
    "lr": (1e-4, 1e-3, 1e-2),
    "drop": (0.0, 0.1, 0.4),
    "weight_decay": (0.0, 1e-4, 1e-2),
    "clip_grad": (None, 1.0, 10.0),
    "amp": (False, True),
    "sched": (None, "cosine"),
    "opt_betas": ((0.9, 0.999), (0.0, 0.99)),
    "momentum": (0.0, 0.9),
}


@pytest.fixture
def spec():
    return FeatureSpec.from_options(OPTIONS, CARDS, conditional=["momentum", "opt_betas"])


def encode(spec, **config):
    features = spec.encode(Candidates(({"model": "small", **config},), CARDS), METAFEATURES)
    columns = [column for column in spec.columns if column.group == "pipeline"]
    return {
        (c.source, c.kind, c.category): value for c, value in zip(columns, features.pipeline[0], strict=True)
    }


def test_logarithmic_options_are_encoded_by_their_logarithm(spec):
    values = [encode(spec, lr=lr)["lr", "log", None] for lr in OPTIONS["lr"]]
    deviation = np.std([-4, -3, -2])
    np.testing.assert_allclose(values, np.array([-1, 0, 1]) / deviation)


def test_zero_has_an_indicator_where_the_scale_is_logarithmic(spec):
    zero, small = encode(spec, weight_decay=0.0), encode(spec, weight_decay=1e-4)
    assert (zero["weight_decay", "zero", None], zero["weight_decay", "log", None]) == (1.0, 0.0)
    assert (small["weight_decay", "zero", None], small["weight_decay", "log", None]) == (0.0, -1.0)


def test_linear_numbers_and_booleans_are_standardised(spec):
    values = np.array([encode(spec, drop=drop)["drop", "number", None] for drop in OPTIONS["drop"]])
    assert values.mean() == pytest.approx(0.0)
    assert values.std() == pytest.approx(1.0)
    assert [encode(spec, amp=amp)["amp", "number", None] for amp in (False, True)] == [-1.0, 1.0]


def test_none_is_an_option_like_any_other(spec):
    none, one = encode(spec, clip_grad=None, sched=None), encode(spec, clip_grad=1.0, sched="cosine")
    assert (none["clip_grad", "active", None], one["clip_grad", "active", None]) == (0.0, 1.0)
    assert (none["sched", "is", None], none["sched", "is", "cosine"]) == (1.0, 0.0)
    assert (one["sched", "is", None], one["sched", "is", "cosine"]) == (0.0, 1.0)


def test_inactive_hyperparameters_are_masked(spec):
    inactive = encode(spec)
    assert all(value == 0.0 for value in inactive.values())
    assert encode(spec, momentum=0.9)["momentum", "active", None] == 1.0


def test_lists_from_json_mean_tuples(spec):
    assert encode(spec, opt_betas=[0.9, 0.999]) == encode(spec, opt_betas=(0.9, 0.999))


def test_models_are_described_by_card_and_name(spec):
    rows = spec.encode(Candidates(tuple({"model": name} for name in OPTIONS["model"]), CARDS), None).model
    params = rows[:, spec.index("model", "params", "log")]
    logs = np.log10([card.params for card in CARDS])
    np.testing.assert_allclose(params, (logs - logs.mean()) / logs.std())
    names = [i for i, c in enumerate([c for c in spec.columns if c.group == "model"]) if c.source == "name"]
    np.testing.assert_array_equal(rows[:, names], np.eye(3))


def test_models_of_other_hubs_are_described_too(spec):
    stranger = ModelCard("new", "new", "new", params=2.0, input_size=64, top1=None)
    row = spec.encode(Candidates(({"model": "new"},), (stranger,)), None).model[0]
    assert np.isfinite(row).all()
    assert row[spec.index("model", "params", "log")] != 0.0
    assert row[spec.index("model", "top1", "number")] == 0.0


def test_task_descriptors_are_logarithmic(spec):
    task = spec.encode(Candidates(({"model": "small"},), CARDS), METAFEATURES).task
    center, scale = TASK_SCALES["train_images"]
    assert task[0] == pytest.approx((math.log10(METAFEATURES.train_images) - math.log10(center)) / scale)
    assert (spec.encode(Candidates(({"model": "small"},), CARDS), None).task == 0).all()


def test_a_descriptor_that_some_models_lack_has_an_indicator():
    cards = (*CARDS, dataclasses.replace(CARDS[0], name="unknown", top1=None))
    spec = FeatureSpec.from_options({"model": tuple(card.name for card in cards)}, cards)
    rows = spec.encode(Candidates(({"model": "small"}, {"model": "unknown"}), cards), None).model
    assert rows[:, spec.index("model", "top1", "active")].tolist() == [1.0, 0.0]


def test_what_cannot_be_encoded_is_named(spec):
    with pytest.raises(PredictionError, match="lr = 'fast' of candidate 0"):
        encode(spec, lr="fast")
    with pytest.raises(PredictionError, match="no card of model 'gone'"):
        spec.encode(Candidates(({"model": "gone"},), CARDS), None)


def test_widths_count_encoded_columns(spec):
    features = spec.encode(SyntheticSpace().sample(3, 0), METAFEATURES)
    assert features.pipeline.shape == (3, spec.width("pipeline"))
    assert features.model.shape == (3, spec.width("model"))
    assert features.task.shape == (spec.width("task"),)
    assert len(spec.columns) == sum(spec.width(group) for group in ("pipeline", "model", "task"))


full_configs = st.fixed_dictionaries(
    {"model": st.sampled_from(("small", "medium", "large"))}
    | {name: st.sampled_from(values) for name, values in FULL.items() if name not in CONDITIONS},
    optional={name: st.sampled_from(FULL[name]) for name in CONDITIONS},
)


@settings(max_examples=50)
@given(st.lists(full_configs, min_size=1, max_size=4))
def test_the_complete_space_is_encoded_injectively_and_survives_json(configs):
    options = {"model": tuple(card.name for card in CARDS), **FULL}
    spec = FeatureSpec.from_options(options, CARDS, conditional=CONDITIONS)
    candidates = Candidates(tuple(configs), CARDS)
    features = spec.encode(candidates, METAFEATURES)
    again = FeatureSpec.from_json(spec.to_json())
    assert again == spec
    np.testing.assert_array_equal(again.encode(candidates, METAFEATURES).pipeline, features.pipeline)
    rows = np.hstack([features.pipeline, features.model])
    assert np.isfinite(rows).all()
    assert np.abs(rows).max() < 5
    for i, one in enumerate(configs):
        for j, other in enumerate(configs):
            assert (one == other) == np.array_equal(rows[i], rows[j])
