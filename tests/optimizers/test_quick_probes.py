"""A search over a space with linear probes begins with them."""

from typing import Any

from qtt.artifacts.pretrained import quick_tune
from qtt.hub.model_hub import ModelHub
from qtt.optimizers.quick import QuickTune
from qtt.space.config_manager import ConfigManager
from qtt.space.horizon import probe_of
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
    assert len(optimizer.candidates) == 18
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
    for i in range(2, 10):
        optimizer.tell(Result(i, 1, 0.5, 1.0))
    optimizer.tell(Result(0, 1, 0.9, 1.0))
    assert len(optimizer.candidates) == 18


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
