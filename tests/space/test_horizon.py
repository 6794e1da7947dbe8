"""Where pipelines end."""

import pytest

from qtt.hub.model_hub import ModelHub
from qtt.space.config_manager import ConfigManager
from qtt.space.horizon import RECIPES, begins_with_probe, is_probe, last_epoch, probe_of
from qtt.space.search_space import build_space
from qtt.types import ModelCard

HUB = ModelHub(
    "h", tuple(ModelCard(name, name, "f", macs, 64, macs=macs) for name, macs in (("a", 3.0), ("b", 1.0)))
)


@pytest.mark.parametrize(
    ("config", "bound", "end"),
    [
        ({}, 50, 50),
        ({"schedule_epochs": 5}, 50, 5),
        ({"schedule_epochs": 50}, 20, 20),
        ({"schedule_epochs": None}, 20, 20),
        ({"schedule_epochs": "long"}, 20, 20),  # of somebody's own space
        (probe_of("a"), 50, 1),
        ({"head_init": "probe", "schedule_epochs": 10}, 50, 10),
    ],
)
def test_pipelines_end_with_their_schedule_or_the_search(
    config: dict[str, object], bound: int, end: int
) -> None:
    assert last_epoch(config, bound) == end


def test_probes_and_what_begins_with_one_are_told_apart() -> None:
    assert is_probe(probe_of("a")) and not begins_with_probe(probe_of("a"))
    started = {"head_init": "probe", "linear_probing": False}
    assert begins_with_probe(started) and not is_probe(started)
    assert not is_probe({"linear_probing": True}) and not begins_with_probe({"linear_probing": True})


def test_a_space_with_such_heads_has_probes_the_cheapest_first_then_the_best() -> None:
    photos = ConfigManager(build_space("photos", HUB), HUB)
    assert photos.probes() == [probe_of("b"), probe_of("a")]
    facts = (
        *(("a", 3.0, 70.0, 1000), ("b", 1.0, None, 9), ("c", 2.0, None, 9)),
        *(("d", 4.0, 80.0, 9), ("e", 5.0, None, 1000)),
    )
    cards = [
        ModelCard(name, name, "f", macs, 64, macs=macs, top1=top1, num_classes=classes)
        for name, macs, top1, classes in facts
    ]
    hub = ModelHub("h", tuple(cards))
    assert ConfigManager(build_space("photos", hub), hub).probes() == [probe_of(name) for name in "bdaec"]
    one = ConfigManager(build_space("photos", ["a"]), HUB)
    assert one.probes() == [probe_of("a")]


@pytest.mark.parametrize("variant", ["full", "quickstart", "tool_paper"])
def test_the_papers_spaces_have_none(variant: str) -> None:
    assert ConfigManager(build_space(variant, HUB), HUB).probes() == []


def test_recipes_are_what_a_space_makes_of_them() -> None:
    photos = ConfigManager(build_space("photos", HUB), HUB)
    assert len(photos.recipes()) == 2 * len(RECIPES)
    narrow = ConfigManager(build_space("photos", HUB, {"schedule_epochs": [5], "hflip": [0.0]}), HUB)
    recipes = narrow.recipes()
    assert {config["schedule_epochs"] for config in recipes} == {5}
    assert len(recipes) == len({str(config) for config in recipes})
    for config in recipes:
        assert narrow.validate(config) == config


@pytest.mark.parametrize("variant", ["full", "quickstart"])
def test_spaces_without_probes_have_no_recipes(variant: str) -> None:
    assert ConfigManager(build_space(variant, HUB), HUB).recipes() == []
