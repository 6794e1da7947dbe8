from collections.abc import Callable
from typing import Any

import pytest

from qtt.errors import ConfigError
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.script import check_candidates
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.space.hyperparameters import CONDITIONS
from qtt.types import Candidates, TaskInfo

FULL = {
    "model": "m",
    "pct_to_freeze": 0.2,
    "linear_probing": False,
    "layer_decay": 0.65,
    "stoch_norm": True,
    "sp_reg": 0.01,
    "delta_reg": 0.1,
    "bss_reg": 1e-3,
    "cotuning_reg": 2.0,
    "mixup": 0.2,
    "mixup_prob": 0.5,
    "cutmix": 1,
    "drop": 0.1,
    "smoothing": 0.05,
    "clip_grad": 10,
    "data_augmentation": "random_augment",
    "ra_num_ops": 3,
    "ra_magnitude": 17,
    "opt": "adamp",
    "lr": 1e-4,
    "weight_decay": 0.1,
    "batch_size": 8,
    "amp": True,
    "opt_betas": (0.0, 0.99),
    "sched": "step",
    "warmup_epochs": 5,
    "warmup_lr": 1e-6,
    "decay_rate": 0.5,
    "decay_epochs": 20,
}


def test_takes_every_value_of_a_config() -> None:
    recipe = Recipe.from_config(FULL)
    for name, value in FULL.items():
        assert getattr(recipe, name) == value


def test_json_lists_are_betas_too() -> None:
    assert Recipe.from_config({"model": "m", "opt_betas": [0.9, 0.99]}).opt_betas == (0.9, 0.99)


def test_linear_probing_is_freezing_everything() -> None:
    assert (
        Recipe.from_config({"model": "m", "linear_probing": True, "pct_to_freeze": 0.4}).frozen_fraction == 1
    )
    assert Recipe.from_config({"model": "m", "pct_to_freeze": 0.4}).frozen_fraction == 0.4


def test_unknown_names_come_with_close_matches() -> None:
    with pytest.raises(ConfigError, match=r"hyperparameter 'batchsize'. Did you mean 'batch_size'"):
        Recipe.from_config({"model": "m", "batchsize": 8})
    with pytest.raises(ConfigError, match="names no model"):
        Recipe.from_config({"lr": 0.1})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("clip_grad", 0),  # would zero every gradient
        ("layer_decay", 0),  # would freeze all but the head
        ("pct_to_freeze", 1.2),
        ("linear_probing", 1),
        ("stoch_norm", 1),
        ("sp_reg", -0.1),
        ("delta_reg", float("inf")),
        ("bss_reg", None),
        ("cotuning_reg", True),
        ("mixup", -1),
        ("mixup_prob", 2),
        ("cutmix", float("nan")),
        ("drop", 1),
        ("smoothing", 1),
        ("data_augmentation", "none"),
        ("opt", "lion"),
        ("lr", 0),
        ("lr", "0.1"),
        ("weight_decay", -0.1),
        ("batch_size", 0),
        ("batch_size", 8.0),
        ("amp", "yes"),
        ("opt_betas", (0.9, 1.0)),
        ("opt_betas", 0.9),
        ("sched", "linear"),
        ("warmup_epochs", -1),
        ("warmup_lr", -1e-6),
    ],
)
def test_refuses_impossible_values(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{name}=.* is impossible"):
        Recipe.from_config({"model": "m", name: value})


@pytest.mark.parametrize("name", CONDITIONS)
def test_refuses_values_that_nothing_would_read(name: str) -> None:
    values = {"auto_augment": "v0", "opt_betas": (0.9, 0.999), "momentum": 0.9, "decay_rate": 0.1}
    config = {"model": "m", "opt": "sgd", "sched": None, name: values.get(name, 2)}
    with pytest.raises(ConfigError, match=f"{name}=.* has no effect with"):
        Recipe.from_config(config)


def test_candidates_are_checked_before_a_search(make_task: Callable[..., TaskInfo]) -> None:
    configs: tuple[dict[str, Any], ...] = ({"model": "m"}, {"model": "m", "clip_grad": 0})
    candidates = Candidates(configs)
    with pytest.raises(ConfigError, match=r"1 of 2 pipelines cannot be .* #1: clip_grad=0 .* Narrow"):
        check_candidates(candidates, make_task())


def test_settings_are_checked() -> None:
    assert FinetuneSettings.from_mapping({}) == FinetuneSettings()
    assert FinetuneSettings.from_mapping({"image_size": 64, "hflip": 0.5}).image_size == 64
    with pytest.raises(ConfigError, match=r"'image_sise'\. Did you mean 'image_size'"):
        FinetuneSettings.from_mapping({"image_sise": 64})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("image_size", 4),
        ("image_size", 64.0),
        ("pretrained", 1),
        ("device", "gpu"),
        ("num_workers", -1),
        ("cache_mb", True),
        ("crop_area", 0),
        ("hflip", 1.1),
    ],
)
def test_refuses_impossible_settings(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"settings.{name}=.* is impossible"):
        FinetuneSettings.from_mapping({name: value})
