"""A search over a space with linear probes begins with them."""

from typing import Any

import numpy as np
import pytest

from qtt.artifacts.pretrained import quick_tune
from qtt.hub.model_hub import ModelHub
from qtt.optimizers.quick import QuickTune
from qtt.space.config_manager import ConfigManager
from qtt.space.horizon import RECIPES, begins_with_probe, probe_of
from qtt.space.search_space import build_space
from qtt.types import MetaFeatures, ModelCard, Result

HUB = ModelHub(
    "h",
    tuple(ModelCard(name, name, "f", macs, 64, macs=macs) for name, macs in (("big", 9.0), ("small", 1.0))),
)


def make(**settings: Any) -> QuickTune:
    optimizer = quick_tune(ConfigManager(build_space("photos", HUB), HUB), **settings)
    optimizer.setup(16, MetaFeatures(400, 5, 128, 3))
    return optimizer


def test_they_come_before_the_other_candidates_and_first() -> None:
    optimizer = make()
    assert len(optimizer.candidates) == 18 + 2 * len(RECIPES)
    assert [optimizer.candidates.configs[i] for i in (0, 1)] == [probe_of("small"), probe_of("big")]
    asked = []
    for score in (0.6, 0.8, 0.7):
        trial = optimizer.ask()
        assert trial is not None
        asked.append(trial)
        optimizer.tell(Result(trial.config_id, trial.fidelity, score, 1.0))
    assert [trial.config_id for trial in asked[:2]] == [0, 1]
    assert asked[2].config["model"] == "big"  # the better probe
    assert asked[2].config["head_init"] == "probe"


def test_one_that_is_too_long_for_what_is_left_is_left_out() -> None:
    optimizer = make()
    optimizer.seconds_left = 60.0
    optimizer.tell(Result(0, 1, 0.6, 20.0))
    optimizer.seconds_left = 40.0
    trial = optimizer.ask()
    assert trial is not None
    assert trial.config_id > 1


@pytest.mark.parametrize(("left", "probe"), [(200.0, True), (120.0, False)])
def test_the_first_few_probes_may_take_more_of_the_budget_than_later_ones(left: float, probe: bool) -> None:
    """Five probes of ten seconds each, with `left` seconds to go, and a sixth one."""
    models = tuple(ModelCard(f"m{i}", f"m{i}", "f", 1.0, 64, macs=1.0 + 0.01 * i) for i in range(6))
    hub = ModelHub("h", models)
    optimizer = quick_tune(ConfigManager(build_space("photos", hub), hub))
    optimizer.setup(16, MetaFeatures(400, 5, 128, 3))
    for i in range(5):
        optimizer.seconds_left = left + 10.0 * (5 - i)
        trial = optimizer.ask()
        assert trial is not None
        assert trial.config_id == i
        optimizer.tell(Result(i, 1, 0.6, 10.0, info={"pace": 10.0}))
        optimizer._pending.clear()
    optimizer.seconds_left = left
    trial = optimizer.ask()
    assert trial is not None
    assert (trial.config_id == 5) is probe


def test_where_no_finetuning_can_end_probes_need_only_fit() -> None:
    optimizer = make()
    optimizer.seconds_left = 60.0
    optimizer.tell(Result(0, 1, 0.6, 2.0, info={"pace": 2.0}))
    optimizer.ask()
    optimizer._pending.clear()
    probe = float(optimizer.cost.predict([1])[0])
    shortest = 3 * float(optimizer.cost.predict(range(2, len(optimizer.candidates))).min())
    optimizer.seconds_left = 1.01 * probe
    assert optimizer.seconds_left < shortest, "the case to test"
    trial = optimizer.ask()
    assert trial is not None
    assert trial.config_id == 1


def test_a_probe_ends_with_its_epoch() -> None:
    optimizer = make()
    optimizer.tell([Result(0, 1, 0.6, 1.0), Result(1, 1, 0.8, 1.0)])
    assert not {0, 1} & set(optimizer.live())


def test_a_pipeline_ends_with_its_own_schedule() -> None:
    optimizer = make()
    optimizer.tell([Result(0, 1, 0.6, 1.0), Result(1, 1, 0.8, 1.0)])
    config_id = next(i for i, c in enumerate(optimizer.candidates.configs) if c.get("schedule_epochs") == 3)
    optimizer.tell([Result(config_id, epoch, 0.8 + epoch / 100, 1.0) for epoch in (1, 2, 3)])
    assert config_id not in optimizer.live()


def test_an_incumbent_that_is_a_probe_has_no_neighbours() -> None:
    optimizer = make(proposals=2)
    first = len(optimizer.candidates)
    optimizer.tell(Result(9, 1, 0.5, 1.0))
    grown = len(optimizer.candidates)
    for i in range(2, 9):
        optimizer.tell(Result(i, 1, 0.4, 1.0))
    optimizer.tell(Result(0, 1, 0.9, 1.0))
    assert len(optimizer.candidates) == grown == first


def test_what_was_told_decides_alone() -> None:
    results = [Result(0, 1, 0.6, 3.0), Result(1, 1, 0.8, 9.0), Result(5, 1, 0.82, 20.0)]
    first, second = make(), make()
    first.seconds_left = second.seconds_left = 200.0
    first.tell(results)
    for result in results:
        second.ask()
        second.tell(result)
    second._pending.clear()
    assert first.ask() == second.ask()


def test_the_recipes_of_all_models_come_after_the_probes() -> None:
    optimizer = make()
    recipes = optimizer.candidates.configs[2 : 2 + 2 * len(RECIPES)]
    assert all(begins_with_probe(config) for config in recipes)
    for recipe, small, big in zip(RECIPES, recipes[::2], recipes[1::2], strict=True):
        assert (small["model"], big["model"]) == ("small", "big")
        assert recipe.items() <= small.items()
        assert recipe.items() <= big.items()


def test_with_few_tries_left_costs_count_less() -> None:
    optimizer = make()
    seconds = np.array([1.0, 2.0, 3.0])
    assert optimizer._weight_of_costs(seconds) == 1.0  # time has no bound
    weights = []
    for left in (1e6, 100.0, 10.0, 0.0, -1.0):
        optimizer.seconds_left = left
        weights.append(optimizer._weight_of_costs(seconds))
    assert weights[0] == pytest.approx(1.0, abs=1e-4)
    assert weights == sorted(weights, reverse=True)
    assert weights[-2:] == [0.0, 0.0]


def test_a_space_without_probes_weighs_costs_in_full() -> None:
    optimizer = quick_tune(ConfigManager(build_space("quickstart", HUB), HUB))
    optimizer.setup(16, MetaFeatures(400, 5, 128, 3))
    optimizer.seconds_left = 1.0
    assert optimizer._weight_of_costs(np.ones(3)) == 1.0


def test_a_first_epoch_below_the_probe_does_not_end_a_pipeline() -> None:
    optimizer = make()
    optimizer.seconds_left = 100.0
    optimizer.tell([Result(0, 1, 0.6, 1.0), Result(1, 1, 0.8, 1.0)])
    begun = optimizer.ask()
    assert begun is not None
    seconds = float(optimizer.cost.predict([begun.config_id])[0])
    optimizer.tell(Result(begun.config_id, 1, 0.72, seconds))
    optimizer.seconds_left = 100.0 - seconds
    again = optimizer.ask()
    assert again is not None
    assert (again.config_id, again.fidelity) == (begun.config_id, 2)


def test_a_tie_with_the_incumbent_has_no_neighbours() -> None:
    optimizer = make(proposals=2)
    for i in range(2, 10):
        optimizer.tell(Result(i, 1, 0.5 + i / 100, 1.0))
    grown = len(optimizer.candidates)
    optimizer.tell(Result(9, 2, 0.59, 1.0))
    assert optimizer.history.incumbent is not None
    assert optimizer.history.incumbent.fidelity == 2
    assert len(optimizer.candidates) == grown
    optimizer.tell(Result(9, 3, 0.6, 1.0))
    assert len(optimizer.candidates) > grown
