"""One registration of a hyperparameter: options, condition, check and default, of the papers' and others."""

import sys
from pathlib import Path

import pytest

from plugins import announce
from qtt.errors import ConfigError
from qtt.hub.model_hub import ModelHub
from qtt.space import hyperparameters
from qtt.space.config_manager import ConfigManager
from qtt.space.domains import Range
from qtt.space.hyperparameters import (
    BUILT_IN,
    CONDITIONS,
    DEFAULTS,
    FULL,
    Hyperparameter,
    nameless_modules,
    register,
    registered,
    registering_modules,
)
from qtt.space.search_space import VARIANTS, build_space
from qtt.testing.synthetic import CARDS

HUB = ModelHub("synthetic", CARDS)


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hyperparameters, "_registered", {})
    monkeypatch.setattr(hyperparameters, "_loaded", set())


@pytest.mark.parametrize("item", BUILT_IN, ids=lambda item: item.name)
def test_the_papers_options_are_values_that_recipes_take(item: Hyperparameter) -> None:
    assert all(item.takes(option) for option in FULL[item.name])
    assert item.takes(DEFAULTS[item.name])
    assert not item.takes("nonsense") and not item.takes(float("nan"))
    if item.condition:
        parent, active = item.condition
        assert CONDITIONS[item.name] == item.condition
        assert set(active) < set(FULL[parent])


def test_a_registered_one_joins_the_full_space_and_others_by_name() -> None:
    before = {variant: list(build_space(variant, HUB)) for variant in VARIANTS}
    register(Hyperparameter("warm_head", (0, 1, 2), 0))
    register(Hyperparameter("head_lr", Range(1e-4, 1.0, log=True), 0.01, ("warm_head", (1, 2))))
    full = ConfigManager(build_space("full", HUB), HUB)
    assert set(full.options) - set(before["full"]) == {"warm_head", "head_lr"}
    for config in full.sample(60, 0).configs:
        assert ("head_lr" in config) == (config["warm_head"] > 0)
        assert full.validate(config) == config
    assert {config["warm_head"] for config in full.sample(60, 0).configs} == {0, 1, 2}
    assert list(build_space("quickstart", HUB)) == before["quickstart"]
    assert list(build_space("full", HUB, extras=False)) == before["full"]
    narrowed = ConfigManager(build_space("quickstart", HUB, {"warm_head": [0, 2], "head_lr": [0.1]}), HUB)
    assert narrowed.options["warm_head"] == (0, 2) and narrowed.options["head_lr"] == (0.1,)
    assert "head_lr" not in build_space("full", HUB, {"warm_head": [0]}), "it can no longer be active"
    assert ConfigManager.from_json(full.to_json()).sample(9, 1) == full.sample(9, 1)


def test_narrowing_a_registered_one_is_checked_like_any_other() -> None:
    register(Hyperparameter("head_lr", Range(1e-4, 1.0, log=True), 0.01))
    whole = build_space("quickstart", HUB, {"head_lr": Range(1e-4, 1.0, log=True)})
    assert ConfigManager(whole, HUB).options["head_lr"].log
    with pytest.raises(ConfigError, match=r"narrow.head_lr has 3; it may have a number from 0.0001 to 1"):
        build_space("full", HUB, {"head_lr": [3]})
    with pytest.raises(ConfigError, match=r"head_lr keeps no option.* a number from"):
        build_space("full", HUB, {"head_lr": []})
    with pytest.raises(ConfigError, match="Did you mean 'head_lr'"):
        build_space("quickstart", HUB, {"headlr": [0.1]})


def test_what_cannot_be_registered_says_why() -> None:
    with pytest.raises(ConfigError, match="'lr' is a hyperparameter of qtt itself"):
        register(Hyperparameter("lr", (1.0,), 1.0))
    register(Hyperparameter("mine", (0, 1), 0), module="garden")
    register(Hyperparameter("mine", (0, 2), 0), module="garden")  # its module was loaded again
    with pytest.raises(ConfigError, match="by garden and by shed"):
        register(Hyperparameter("mine", (0, 1), 0), module="shed")
    with pytest.raises(ConfigError, match=r"default x=2 is impossible: choose from \(0, 1\)"):
        Hyperparameter("x", (0, 1), 2)
    with pytest.raises(ConfigError, match="default x=True is impossible"):
        Hyperparameter("x", (0, 1), True)
    with pytest.raises(ConfigError, match="a number from 0 to 1"):
        Hyperparameter("x", Range(0.0, 1.0), 2.0)
    with pytest.raises(ConfigError, match="no options"):
        Hyperparameter("x", (), None)
    with pytest.raises(ConfigError, match="named like a variable"):
        Hyperparameter("my reg", (0, 1), 0)
    register(Hyperparameter("ring", (0, 1), 0, ("wring", (1,))))
    register(Hyperparameter("wring", (0, 1), 0, ("ring", (1,))))
    with pytest.raises(ConfigError, match="leads back to itself"):
        build_space("full", HUB)


def test_modules_that_register_are_known_by_name() -> None:
    register(Hyperparameter("a", (0, 1), 0))
    assert registering_modules() == (__name__,)
    register(Hyperparameter("b", (0, 1), 0), module="json")
    register(Hyperparameter("c", (0, 1), 0), module="__main__")
    register(Hyperparameter("d", (0, 1), 0), module="nowhere.at.all")
    assert {"__main__", "nowhere.at.all"} <= set(nameless_modules())
    assert "json" not in nameless_modules()


SOURCE = """
from qtt.space.hyperparameters import Hyperparameter, register
MINE = register(Hyperparameter("from_{name}", (0, 1), 0))
OTHER = 3
"""


def test_entry_points_are_imported_when_they_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = {"qtt.regularizers": {"mine": "hp_garden:MINE"}}
    announce(tmp_path, "garden", points, SOURCE.format(name="garden"))
    monkeypatch.syspath_prepend(str(tmp_path))
    build_space("quickstart", HUB)
    assert "hp_garden" not in sys.modules
    assert "from_garden" in build_space("full", HUB)
    assert registering_modules() == ("hp_garden",)
    assert list(registered()) == ["from_garden"]


def test_an_entry_point_that_is_something_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = {"qtt.regularizers": {"mine": "hp_shed:OTHER"}}
    announce(tmp_path, "shed", points, SOURCE.format(name="shed"))
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=r"mine = hp_shed:OTHER of qtt\.regularizers names a int"):
        build_space("full", HUB)
