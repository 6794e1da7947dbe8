"""Pipelines near a given one, and pipelines of other spaces and hubs carried over."""

import ConfigSpace as Cs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtt.errors import ConfigError
from qtt.hub.model_hub import ModelHub, load_hub
from qtt.space.config_manager import ConfigManager
from qtt.space.hyperparameters import CONDITIONS, FULL
from qtt.space.search_space import VARIANTS, build_space
from qtt.types import ModelCard

HUB = load_hub("table4")
MANAGERS = {variant: ConfigManager(build_space(variant, HUB), HUB) for variant in VARIANTS}
variants = st.sampled_from(sorted(MANAGERS))
seeds = st.integers(0, 2**31)
CHILDREN = {child: parent for child, (parent, _) in CONDITIONS.items()}


@given(variants, seeds)
@settings(max_examples=30)
def test_neighbours_are_valid_new_distinct_and_the_same_for_the_same_seed(variant: str, seed: int) -> None:
    manager = MANAGERS[variant]
    config = manager.sample(1, seed).configs[0]
    near = manager.neighbours(config, 6, seed)
    assert len(near) == 6
    assert near == manager.neighbours(config, 6, seed)
    assert config not in near
    for position, neighbour in enumerate(near):
        assert manager.validate(neighbour) == neighbour
        assert neighbour not in near[:position]


@given(variants, seeds)
@settings(max_examples=30)
def test_one_to_three_choices_move_to_an_option_beside(variant: str, seed: int) -> None:
    manager = MANAGERS[variant]
    config = manager.sample(1, seed).configs[0]
    for neighbour in manager.neighbours(config, 6, seed):
        changed = {name for name in {*config, *neighbour} if config.get(name) != neighbour.get(name)}
        moved = {name for name in changed if name in config and name in neighbour}
        for name in changed - moved:
            assert config[CHILDREN[name]] != neighbour[CHILDREN[name]], "it comes or goes with its parent"
        assert 1 <= len(moved) <= 3
        for name in moved:
            if isinstance(manager.space[name], Cs.OrdinalHyperparameter):
                options = manager.options[name]
                assert abs(options.index(config[name]) - options.index(neighbour[name])) == 1


def test_seeds_differ_and_every_hyperparameter_moves_sooner_or_later() -> None:
    manager = MANAGERS["full"]
    config = manager.sample(1, 0).configs[0]
    assert manager.neighbours(config, 5, 1) != manager.neighbours(config, 5, 2)
    many = manager.neighbours(config, 300, 0)
    moved = {name for near in many for name in config if near.get(name) != config[name]}
    assert moved == set(config)


def test_a_model_changes_to_one_close_by_its_card() -> None:
    manager = MANAGERS["full"]
    config = {**manager.sample(1, 0).configs[0], "model": "mobilevit_xs"}
    models = [near["model"] for near in manager.neighbours(config, 200, 0)]
    others = set(models) - {"mobilevit_xs"}
    assert 20 < sum(model != "mobilevit_xs" for model in models) < 90
    assert len(others) == 3
    assert all(manager.hub[model].params < 4 for model in others)


def test_a_small_space_gives_the_neighbours_that_it_has() -> None:
    space = Cs.ConfigurationSpace()
    space.add(Cs.OrdinalHyperparameter("x", [0, 1, 2]), Cs.Constant("k", 5))
    space.add(Cs.CategoricalHyperparameter("y", ["r", "s"]))
    space.add(
        Cs.ForbiddenAndConjunction(
            Cs.ForbiddenEqualsClause(space["x"], 1), Cs.ForbiddenEqualsClause(space["y"], "s")
        )
    )
    manager = ConfigManager(space, HUB)
    near = manager.neighbours({"x": 0, "y": "r", "k": 5}, 10, 0)
    assert sorted((config["x"], config["y"]) for config in near) == [(0, "s"), (1, "r")]
    alone = Cs.ConfigurationSpace()
    alone.add(Cs.Constant("k", 5))
    assert ConfigManager(alone, HUB).neighbours({"k": 5}, 3, 0) == []


def test_neighbours_of_an_impossible_config_are_refused() -> None:
    with pytest.raises(ConfigError, match="lacks"):
        MANAGERS["full"].neighbours({"lr": 0.1}, 1, 0)


@given(seeds, st.sampled_from(["quickstart", "tool_paper"]))
@settings(max_examples=30)
def test_a_pipeline_of_another_space_becomes_a_valid_one(seed: int, variant: str) -> None:
    config = MANAGERS["full"].sample(1, seed).configs[0]
    adapted = MANAGERS[variant].adapt(config, HUB[config["model"]])
    assert adapted is not None
    assert MANAGERS[variant].validate(adapted) == adapted
    assert adapted["model"] == config["model"]
    for name, value in adapted.items():
        assert value == config.get(name, ...) or config.get(name, ...) not in MANAGERS[variant].options[name]


@given(variants, seeds)
@settings(max_examples=20)
def test_a_pipeline_of_the_same_space_stays_as_it_is(variant: str, seed: int) -> None:
    config = MANAGERS[variant].sample(1, seed).configs[0]
    assert MANAGERS[variant].adapt(config) == config
    as_json = {name: list(value) if isinstance(value, tuple) else value for name, value in config.items()}
    assert MANAGERS[variant].adapt(as_json) == config


def test_missing_and_impossible_options_become_close_or_neutral_ones() -> None:
    hub = ModelHub("h", (ModelCard("m", "resnet18", "resnet", 11.0, 224),))
    narrow = {"lr": [1e-3, 1e-2], "clip_grad": [1.0, 10.0], "opt": ["adam", "adamw"]}
    manager = ConfigManager(build_space("full", hub, narrow), hub)
    foreign = {"model": "m", "lr": 0.1, "opt": "momentum", "momentum": 0.9, "sched": "plateau", "new": 1}
    adapted = manager.adapt({**foreign, "clip_grad": 3.0})
    assert adapted is not None
    assert (adapted["lr"], adapted["clip_grad"], adapted["opt"]) == (1e-2, 1.0, "adam")
    assert "momentum" not in adapted and "new" not in adapted
    assert adapted["opt_betas"] == (0.9, 0.999)
    assert adapted["patience_epochs"] == 5
    assert adapted["batch_size"] == 32
    assert not adapted["linear_probing"] and adapted["mixup"] == 0.0 and adapted["layer_decay"] is None


def test_a_foreign_model_becomes_the_one_nearest_by_its_card() -> None:
    manager = MANAGERS["full"]
    config = {**manager.sample(1, 0).configs[0], "model": "somebody's"}
    for name in ("mobilevit_xs", "volo_d5_512", "deit3_small_patch16_384_in21ft1k"):
        adapted = manager.adapt(config, HUB[name])
        assert adapted is not None and adapted["model"] == name
    assert manager.adapt(config) is None, "nothing is known of that model"


def test_an_alias_is_the_model_itself() -> None:
    hub = ModelHub(
        "h", (ModelCard("a", "t", "f", 1.0, 32, aliases=("old",)), ModelCard("b", "t", "f", 9.0, 32))
    )
    manager = ConfigManager(build_space("quickstart", hub), hub)
    config = {**manager.sample(1, 0).configs[0], "model": "old"}
    adapted = manager.adapt(config, hub["b"])
    assert adapted is not None and adapted["model"] == "a"


def test_a_forbidden_combination_has_no_counterpart() -> None:
    space = Cs.ConfigurationSpace()
    space.add(Cs.OrdinalHyperparameter("lr", [0.1, 0.2]), Cs.CategoricalHyperparameter("opt", ["a", "b"]))
    space.add(
        Cs.ForbiddenAndConjunction(
            Cs.ForbiddenEqualsClause(space["lr"], 0.2), Cs.ForbiddenEqualsClause(space["opt"], "b")
        )
    )
    manager = ConfigManager(space, HUB)
    assert manager.adapt({"lr": 5.0, "opt": "b"}) is None
    assert manager.adapt({"lr": 5.0, "opt": "a"}) == {"lr": 0.2, "opt": "a"}


def test_the_options_of_the_papers_all_have_a_default() -> None:
    adapted = MANAGERS["full"].adapt({"model": "mobilevit_xs"})
    assert adapted is not None
    assert set(FULL) - set(adapted) == set(CHILDREN)
