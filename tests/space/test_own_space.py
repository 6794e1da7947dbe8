"""Search spaces of one's own: from files and functions, and all that a config manager does with them."""

import json
from pathlib import Path

import ConfigSpace as Cs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from own_spaces import everything, space_of_models, spaces
from qtt.errors import ConfigError
from qtt.hub.model_hub import ModelHub
from qtt.space.config_manager import ConfigManager
from qtt.space.domains import Range
from qtt.space.own_space import call_space, own_space, read_space
from qtt.space.search_space import build_space
from qtt.testing.synthetic import CARDS
from qtt.types import Candidates, Trial

HUB = ModelHub("synthetic", CARDS)
slow = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
seeds = st.integers(0, 2**31)


def check(manager: ConfigManager, seed: int) -> None:
    """Every promise that does not depend on what the space holds."""
    candidates = manager.sample(6, seed)
    assert candidates == manager.sample(6, seed)
    assert 1 <= len(candidates) <= 6
    texts = [json.dumps(config) for config in candidates.configs]
    assert len(set(texts)) == len(texts)
    again = ConfigManager.from_json(manager.to_json())
    assert (again.domains, again.to_json()) == (manager.domains, manager.to_json())
    assert again.sample(6, seed) == candidates
    assert Candidates.from_dict(json.loads(json.dumps(candidates.to_dict()))) == candidates
    for config, text in zip(candidates.configs, texts, strict=True):
        assert manager.validate(config) == config
        assert manager.validate(json.loads(text)) == config
        assert manager.adapt(json.loads(text)) == config
        near = manager.neighbours(config, 4, seed)
        assert near == again.neighbours(config, 4, seed)
        for neighbour in near:
            assert manager.validate(json.loads(json.dumps(neighbour))) == neighbour != config
    assert list(manager.table(candidates).columns) == list(manager.options)
    foreign = manager.adapt({"lr": 3.0, "x0": 1e12, "step": "many"})
    assert foreign is None or manager.validate(foreign) == foreign


@given(spaces(), seeds)
@slow
def test_any_space_keeps_every_promise(space: Cs.ConfigurationSpace, seed: int) -> None:
    check(ConfigManager(space), seed)


@given(seeds)
@slow
def test_a_space_of_everything_keeps_every_promise(seed: int) -> None:
    check(ConfigManager(everything()), seed)


def test_every_kind_of_condition_and_clause_holds_in_many_samples() -> None:
    manager = ConfigManager(everything())
    configs = manager.sample(400, 0).configs
    assert len(configs) == 400
    near = [n for config in configs[:40] for n in manager.neighbours(config, 5, 1)]
    for c in (*configs, *near):
        assert ("mix" in c) == (c["kernel"] == (1, 2))
        assert ("seats" in c) == (c["size"] != "small")
        assert ("depth" in c) == (c["layers"] > 6 or c["step"] < 1e-3)
        assert ("tilt" in c) == (c.get("seats", 9) < 9)
        assert not (c["layers"] <= 2 and c["size"] == "large")
        assert c["layers"] <= c["width"]
        assert c["version"] == 3
    assert {c["kernel"] for c in configs} == {"rbf", None, True, (1, 2), (3, (4, 5))}
    steps = np.log10([c["step"] for c in configs])
    assert np.abs(np.histogram(steps, 4, (-5, -1))[0] - 100).max() < 50, "drawn evenly on the log scale"


def test_neighbours_lie_on_both_sides_and_not_far() -> None:
    manager = ConfigManager(Cs.ConfigurationSpace({"x": Cs.Float("x", (1e-4, 1.0), log=True)}))
    near = np.log10([n["x"] for n in manager.neighbours({"x": 0.01}, 200, 0)])
    assert (near < -2).mean() == pytest.approx(0.5, abs=0.1)
    assert near.std() == pytest.approx(0.4, rel=0.2), "a tenth of four decades"


def test_few_combinations_beside_a_range_that_is_never_active() -> None:
    space = Cs.ConfigurationSpace({"a": [1, 2], "b": [1, 2], "x": (0.0, 1.0)})
    space.add(
        Cs.AndConjunction(
            Cs.EqualsCondition(space["x"], space["a"], 1), Cs.NotEqualsCondition(space["x"], space["a"], 1)
        )
    )
    found = ConfigManager(space).sample(10, 0).configs
    assert sorted((c["a"], c["b"]) for c in found) == [(1, 1), (1, 2), (2, 1), (2, 2)]


def test_integers_are_enumerated_where_they_are_few() -> None:
    manager = ConfigManager(Cs.ConfigurationSpace({"n": (1, 9), "k": ["a", "b"]}))
    assert len(manager.sample(100, 0)) == 18
    assert len({c["n"] for c in manager.sample(100, 0).configs}) == 9
    assert len(ConfigManager(Cs.ConfigurationSpace({"n": (1, 10**9)})).sample(100, 0)) == 100


def test_constants_in_a_large_space_are_drawn() -> None:
    space = Cs.ConfigurationSpace({"x": list(range(90)), "y": list(range(90)), "k": "fixed"})
    assert {c["k"] for c in ConfigManager(space).sample(20, 0).configs} == {"fixed"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step": 1.0}, r"step = 1.0 is impossible: it is a number from 1e-05 to 0.1"),
        ({"step": "1e-3"}, "step = '1e-3' is impossible"),
        ({"layers": 2.5}, "an integer from 1 to 12"),
        ({"step": ...}, "lacks 'step'; a number from"),
        ({"kernel": "rfb"}, "Did you mean 'rbf'"),
        ({"size": "large", "layers": 1, "seats": 3, "tilt": 0.0}, "forbids"),
    ],
)
def test_impossible_values_are_explained(changes: dict[str, object], message: str) -> None:
    valid = {
        "step": 0.01,
        "share": 0.0,
        "layers": 5,
        "width": 64,
        "size": "small",
        "kernel": "rbf",
        "version": 3,
    }
    manager = ConfigManager(everything())
    manager.validate(valid)
    changed = {name: value for name, value in (valid | changes).items() if value is not ...}
    with pytest.raises(ConfigError, match=message):
        manager.validate(changed)


def test_models_need_a_hub_that_has_them() -> None:
    space = space_of_models(("small", "large"))
    with pytest.raises(ConfigError, match=r"'model'.*there is no hub\. Name one"):
        ConfigManager(space)
    manager = ConfigManager(space, HUB)
    assert isinstance(manager.options["lr"], Range)
    assert [card.name for card in manager.sample(20, 0).models] == ["small", "large"]
    with pytest.raises(ConfigError, match="'huge'"):
        ConfigManager(space_of_models(("huge",)), HUB)
    with pytest.raises(ConfigError, match="choice among the models"):
        ConfigManager(Cs.ConfigurationSpace({"model": (1, 3)}), HUB)


def test_a_trial_reaches_another_process_as_it_was() -> None:
    config = {"kernel": (3, (4, 5)), "step": 0.1 + 0.2}
    assert Trial.from_dict(json.loads(json.dumps(Trial(0, config, 1).to_dict()))).config == config


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_files_of_configspace_are_read(tmp_path: Path, suffix: str) -> None:
    space, path = everything(), tmp_path / f"space.{suffix}"
    getattr(space, f"to_{suffix}")(path)
    assert ConfigManager(read_space(path)).sample(9, 1) == ConfigManager(space).sample(9, 1)


def test_tuples_survive_yaml(tmp_path: Path) -> None:
    space = build_space("quickstart", HUB)
    space.to_yaml(tmp_path / "space.yml")
    found = ConfigManager(read_space(tmp_path / "space.yml"), HUB)
    assert found.options["opt_betas"] == ((0.9, 0.999), (0.9, 0.99))


def test_a_file_runs_nothing(tmp_path: Path) -> None:
    trap = tmp_path / "space.yaml"
    trap.write_text(f"hyperparameters: !!python/object/apply:os.mkdir [{tmp_path / 'made'}]\n")
    with pytest.raises(ConfigError, match="holds no search space"):
        read_space(trap)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("text", ["", "lr: 3", "[]", "hyperparameters: [{type: what}]", "{", "\x00"])
def test_other_files_are_refused_with_how_to_write_one(tmp_path: Path, text: str) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"space\.yaml holds no search space.*space\.to_yaml"):
        own_space(path=path)
    with pytest.raises(ConfigError, match="There is no search space"):
        own_space(path=tmp_path / "nowhere.json")


def test_functions_are_called_with_the_models_where_they_take_them() -> None:
    assert "layers" in call_space("own_spaces.make_space", ["small"])
    assert tuple(call_space("own_spaces.space_of_models", ["small"])["model"].choices) == ("small",)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("own_spaces.no_space", "returned a dict; it must return a"),
        ("own_spaces.nothing", "cannot be imported"),
        ("nowhere.make_space", "cannot be imported: No module named 'nowhere'"),
        ("json", "is a module, and no function"),
    ],
)
def test_other_functions_are_refused(function: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        own_space(function=function)
    for sources in ({}, {"path": "space.yaml", "function": function}):
        with pytest.raises(ConfigError, match="either"):
            own_space(**sources)
