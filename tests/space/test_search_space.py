from collections import Counter
from typing import Any

import numpy as np
import pytest
from ConfigSpace import ConfigurationSpace

from qtt.errors import ConfigError
from qtt.hub.model_hub import ModelHub
from qtt.space.config_manager import ConfigManager
from qtt.space.hyperparameters import CONDITIONS, FULL, OWN
from qtt.space.search_space import VARIANTS, build_space, match_option
from qtt.types import ModelCard

HUB = ModelHub("h", tuple(ModelCard(name, name, "f", 1.0, 64) for name in ("a", "b")))

# Quick-Tune, appendix "search space": number of options of every hyperparameter
PAPER = """
pct_to_freeze 6, layer_decay 3, linear_probing 2, stoch_norm 2,
sp_reg 5, delta_reg 5, bss_reg 5, cotuning_reg 5,
mixup 7, mixup_prob 5, cutmix 7, drop 5, smoothing 3, clip_grad 3,
data_augmentation 4, auto_augment 3, ra_num_ops 2, ra_magnitude 2,
opt 5, lr 8, weight_decay 6, batch_size 9, amp 2, opt_betas 4, momentum 5,
sched 5, warmup_epochs 3, warmup_lr 3, decay_rate 2, decay_epochs 2, patience_epochs 3
"""
COUNTS = {name: int(count) for name, count in (item.split() for item in PAPER.split(","))}


def options(space: ConfigurationSpace) -> dict[str, tuple[Any, ...]]:
    return ConfigManager(space, HUB).options


def test_full_space_is_the_papers() -> None:
    found = options(build_space("full", HUB))
    assert found.pop("model") == ("a", "b")
    assert {name: len(values) for name, values in found.items()} == COUNTS
    assert found["batch_size"] == tuple(2**k for k in range(1, 10))
    assert found["lr"] == (1e-5, 5e-5, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 1e-1)
    assert set(found["opt_betas"]) == {(0.9, 0.999), (0.0, 0.99), (0.9, 0.99), (0.0, 0.999)}
    assert found["clip_grad"] == (None, 1.0, 10.0), "0 would zero every gradient"
    assert found["layer_decay"] == (None, 0.65, 0.75), "0 would freeze all but the head"


def test_size_of_the_full_space_by_hand() -> None:
    """Pipelines counted branch by branch, against all that a tiny copy of the conditions enumerates."""
    narrow = {name: [values[0]] for name, values in FULL.items() if name not in {*CONDITIONS, "opt"}}
    narrow |= {"data_augmentation": list(FULL["data_augmentation"]), "sched": ["none", "step", "plateau"]}
    manager = ConfigManager(build_space("full", ["a"], narrow), HUB)
    augmentation = 1 + 1 + 2 * 2 + 3  # none, trivial, random (ops × magnitude), auto
    optimizers = 1 + 5 + 3 * 4  # sgd, momentum, three with betas
    schedules = 1 + 2 * 2 + 3  # none, step (rate × epochs), plateau
    assert len(manager.sample(10_000, 0)) == augmentation * optimizers * schedules


@pytest.mark.parametrize("variant", sorted(VARIANTS.keys() - {"photos"}))
def test_variants_are_subsets_of_the_full_space(variant: str) -> None:
    for name, values in options(build_space(variant, HUB)).items():
        assert name == "model" or [value for value in FULL[name] if value in values] == list(values)


def test_photos_are_options_that_recipes_take() -> None:
    found = options(build_space("photos", HUB))
    assert found.keys() - FULL.keys() == {"model", "head_init", "freeze_norms", "schedule_epochs", "hflip"}
    for name in found.keys() - {"model"}:
        assert all(OWN[name].takes(value) for value in found[name])


def test_tool_paper_is_its_table_3() -> None:
    found = options(build_space("tool_paper", HUB))
    assert len(found) == 14 and "auto_augment" in found and "weight_decay" not in found


def test_conditions_hold_in_samples() -> None:
    for config in ConfigManager(build_space("full", HUB), HUB).sample(300, 0).configs:
        assert ("momentum" in config) == (config["opt"] == "momentum")
        assert ("opt_betas" in config) == (config["opt"] in ("adam", "adamw", "adamp"))
        assert ("auto_augment" in config) == (config["data_augmentation"] == "auto_augment")
        for name in ("ra_num_ops", "ra_magnitude"):
            assert (name in config) == (config["data_augmentation"] == "random_augment")
        for name in ("decay_rate", "decay_epochs"):
            assert (name in config) == (config["sched"] in ("step", "multistep"))
        assert ("patience_epochs" in config) == (config["sched"] == "plateau")


def test_options_are_drawn_evenly() -> None:
    configs = ConfigManager(build_space("full", HUB), HUB).sample(2000, 0).configs
    counts = Counter(config["lr"] for config in configs)
    expected = 2000 / 8
    assert sum((n - expected) ** 2 / expected for n in counts.values()) < 24.3  # χ², 7 degrees, 0.1 %
    assert len(counts) == 8


def test_narrowing_keeps_options_as_yaml_writes_them() -> None:
    narrow = {"lr": [0.01, 1e-3], "sched": ["none"], "opt_betas": [[0.9, 0.99]], "clip_grad": [1, None]}
    found = options(build_space("full", HUB, narrow))
    assert found["lr"] == (1e-3, 1e-2)
    assert found["sched"] == (None,)
    assert found["opt_betas"] == ((0.9, 0.99),)
    assert found["clip_grad"] == (None, 1.0)


def test_narrowing_a_parent_drops_children_that_cannot_be_active() -> None:
    found = options(build_space("full", HUB, {"opt": ["sgd", "adam"], "momentum": [0.9]}))
    assert "momentum" not in found and "opt_betas" in found
    found = options(build_space("full", HUB, {"data_augmentation": [None], "sched": ["cosine"]}))
    assert not {"auto_augment", "ra_num_ops", "ra_magnitude", "decay_rate", "patience_epochs"} & set(found)


def test_narrowing_models() -> None:
    assert options(build_space("quickstart", HUB, {"model": ["b"]}))["model"] == ("b",)
    with pytest.raises(ConfigError, match="option of model 'c'"):
        build_space("quickstart", HUB, {"model": ["c"]})


@pytest.mark.parametrize(
    ("narrow", "message"),
    [
        ({"lrr": [1]}, "Did you mean 'lr'"),
        ({"lr": [0.3]}, "Options: 1e-05"),
        ({"lr": []}, "keeps no option"),
        ({"lr": 0.1}, "must be a list"),
        ({"opt": "sgd"}, "must be a list"),
        ({"data_augmentation": ["trivial"]}, "'trivial_augment'"),
        ({"amp": [0]}, "option of amp"),
        ({"warmup_epochs": [False]}, "option of warmup_epochs"),
    ],
)
def test_narrowing_errors_help(narrow: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_space("full", HUB, narrow)


def test_unknown_variant_and_empty_hub() -> None:
    with pytest.raises(ConfigError, match="'quickstart'"):
        build_space("quikstart", HUB)
    with pytest.raises(ConfigError, match="at least one model"):
        build_space("full", [])


def test_matching_knows_lists_numbers_and_none() -> None:
    assert match_option([0.9, 0.99], ((0.9, 0.99),)) == (0.9, 0.99)
    assert match_option("None", (None, 1.0)) is None
    assert match_option(np.float64(1), (None, 1.0)) == 1.0
    with pytest.raises(LookupError):
        match_option("none", (1.0, 2.0))
    with pytest.raises(LookupError):
        match_option(True, (0.0, 1.0))
