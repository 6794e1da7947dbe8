import json
from typing import Any

import ConfigSpace as Cs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtt.errors import ConfigError
from qtt.hub.model_hub import ModelHub
from qtt.space.config_manager import ConfigManager
from qtt.space.hyperparameters import CONDITIONS
from qtt.space.search_space import VARIANTS, build_space
from qtt.types import ModelCard

HUB = ModelHub(
    "h",
    (
        ModelCard("a", "resnet18", "resnet", 11.2, 224, aliases=("old",)),
        ModelCard("b", "test_vit", "vision_transformer", 0.3, 96, create_kwargs=(("img_size", 96),)),
        ModelCard("c", "test_resnet", "resnet", 0.5, 160),
    ),
)
MANAGERS = {variant: ConfigManager(build_space(variant, HUB), HUB) for variant in VARIANTS}
FULL = MANAGERS["full"]
variants = st.sampled_from(sorted(MANAGERS))
seeds = st.integers(0, 2**31)


@given(variants, seeds)
@settings(max_examples=40)
def test_samples_validate_and_hold_native_values(variant: str, seed: int) -> None:
    manager = MANAGERS[variant]
    candidates = manager.sample(5, seed)
    for config in candidates.configs:
        assert manager.validate(config) == config
        assert list(config) == [name for name in manager.options if name in config]
        for name, value in config.items():
            assert type(value) in {bool, int, float, str, tuple, type(None)}, name
            assert value in manager.options[name]
        for child, (parent, active) in CONDITIONS.items():
            if child in manager.options:
                assert (child in config) == (config[parent] in active)


@given(variants, seeds, st.integers(1, 60))
@settings(max_examples=25)
def test_sampling_is_a_function_of_its_arguments_and_repeats_nothing(variant: str, seed: int, n: int) -> None:
    manager = MANAGERS[variant]
    first = manager.sample(n, seed)
    manager.sample(3, seed + 1)
    assert manager.sample(n, seed) == first
    assert len({json.dumps(config) for config in first.configs}) == n
    assert manager.sample(n, seed + 1) != first


def test_space_and_hub_survive_json() -> None:
    for manager in MANAGERS.values():
        again = ConfigManager.from_json(manager.to_json())
        assert again.hub == manager.hub
        assert again.options == manager.options
        assert again.to_json() == manager.to_json()
        assert again.sample(20, 7) == manager.sample(20, 7)


def test_candidates_carry_the_cards_that_they_name() -> None:
    narrow = build_space("quickstart", HUB, {"model": ["a", "c"]})
    candidates = ConfigManager(narrow, HUB).sample(20, 0)
    assert [card.name for card in candidates.models] == ["a", "c"]
    for config_id, config in enumerate(candidates.configs):
        card = candidates.card(config_id)
        assert card is not None and card.name == config["model"]


def small(**sizes: int) -> ConfigManager:
    space = Cs.ConfigurationSpace()
    for name, size in sizes.items():
        space.add(Cs.OrdinalHyperparameter(name, list(range(size))))
    return ConfigManager(space, HUB)


def test_small_spaces_give_everything_once() -> None:
    manager = small(x=3, y=4)
    configs = manager.sample(128, 0).configs
    assert sorted(configs, key=str) == sorted(({"x": x, "y": y} for x in range(3) for y in range(4)), key=str)
    assert manager.sample(128, 0) != manager.sample(128, 1), "the order is random"
    some = manager.sample(7, 3).configs
    assert len({str(config) for config in some}) == 7


def test_forbidden_combinations_are_neither_drawn_nor_valid() -> None:
    space = Cs.ConfigurationSpace()
    space.add(Cs.CategoricalHyperparameter("x", ["p", "q"]), Cs.CategoricalHyperparameter("y", ["r", "s"]))
    space.add(
        Cs.ForbiddenAndConjunction(
            Cs.ForbiddenEqualsClause(space["x"], "p"), Cs.ForbiddenEqualsClause(space["y"], "s")
        )
    )
    manager = ConfigManager(space, HUB)
    assert len(manager.sample(10, 0)) == 3
    with pytest.raises(ConfigError, match="forbids"):
        manager.validate({"x": "p", "y": "s"})


def test_constants_and_nested_conditions_are_understood() -> None:
    space = Cs.ConfigurationSpace()
    space.add(Cs.Constant("k", 5), Cs.CategoricalHyperparameter("z", [1, 2]))
    space.add(Cs.CategoricalHyperparameter("y", [1, 2]), Cs.CategoricalHyperparameter("a", [1, 2]))
    space.add(Cs.EqualsCondition(space["y"], space["z"], 2), Cs.EqualsCondition(space["a"], space["y"], 2))
    configs = ConfigManager(space, HUB).sample(100, 0).configs
    expected = [
        {"k": 5, "z": 1},
        {"k": 5, "z": 2, "y": 1},
        {"k": 5, "z": 2, "y": 2, "a": 1},
        {"k": 5, "z": 2, "y": 2, "a": 2},
    ]
    assert sorted(map(sorted, (c.items() for c in configs))) == sorted(
        map(sorted, (c.items() for c in expected))
    )


def test_models_outside_the_hub_are_refused() -> None:
    with pytest.raises(ConfigError, match="'edgenext_small'"):
        ConfigManager(build_space("full", ["a", "edgenext_small"]), HUB)


def test_no_candidates_make_no_sense() -> None:
    with pytest.raises(ConfigError, match="n = 0"):
        FULL.sample(0, 0)


def valid(**changes: Any) -> dict[str, Any]:
    """A config of the full space with Adam and no augmentation; a change to `...` removes the key."""
    manager = ConfigManager(
        build_space("full", HUB, {"opt": ["adam"], "data_augmentation": [None], "sched": [None]}), HUB
    )
    config = {**manager.sample(1, 0).configs[0], **changes}
    return {name: value for name, value in config.items() if value is not ...}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optt": "sgd"}, "Unknown hyperparameter 'optt'. Did you mean 'opt'"),
        ({"momentum": 0.9}, "'momentum' has no effect.*opt"),
        ({"opt_betas": ...}, "lacks 'opt_betas'"),
        ({"lr": ...}, "lacks 'lr'"),
        ({"lr": 0.3}, "option of lr '0.3'"),
        ({"clip_grad": 0}, "option of clip_grad '0'"),
        ({"linear_probing": 1}, "option of linear_probing '1'"),
        ({"model": "d"}, "option of model 'd'"),
        ({"sched": "cosin"}, "'cosine'"),
    ],
)
def test_impossible_configs_are_explained(changes: dict[str, Any], message: str) -> None:
    FULL.validate(valid())
    with pytest.raises(ConfigError, match=message):
        FULL.validate(valid(**changes))


def test_validation_gives_the_space_s_own_values() -> None:
    config = FULL.validate(valid(opt_betas=[0.9, 0.99], clip_grad=1, sched="none", model="old"))
    assert config["opt_betas"] == (0.9, 0.99)
    assert isinstance(config["clip_grad"], float)
    assert config["sched"] is None
    assert config["model"] == "a"


def test_table_shows_what_is_inactive_as_none() -> None:
    candidates = FULL.sample(30, 0)
    table = FULL.table(candidates)
    assert list(table.columns) == list(FULL.options) and table.columns[0] == "model"
    assert table.index.name == "config_id" and len(table) == 30
    for config_id, config in enumerate(candidates.configs):
        for name, value in table.loc[config_id].items():
            assert value == config.get(name) and type(value) is type(config.get(name))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 9}', '{"format": 1, "space": {}, "hub": {}}'])
def test_broken_spaces_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        ConfigManager.from_json(text)
