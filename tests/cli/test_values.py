"""Every key of the configuration knows what it takes."""

import pytest
from omegaconf import DictConfig, OmegaConf

from qtt.cli.configuration import composed, shipped_options
from qtt.cli.values import DURATION, KINDS, settled
from qtt.errors import ConfigError

UNTYPED = {
    *("metric", "isolation", "name", "variant", "function", "task", "hub", "mode", "project", "models"),
    *(
        "licences",
        "narrow",
        "source",
        "licence",
        "tables",
        "policies",
        "table",
        "images",
        "datasets",
        "device",
    ),
    *("quiet", "seconds"),
}
"""Last parts of keys that hold texts, lists, mappings or references, explained where they are used."""


def _leaves(node: DictConfig, prefix: str = "") -> set[str]:
    found = set()
    for key in node:
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_missing():
            found |= _leaves(child, f"{prefix}{key}.")
        elif not str(key).startswith("_"):
            found.add(f"{prefix}{key}")
    return found


GROUPS = {
    "run": {*shipped_options()} - {"artifact", "predictor"},
    "collect": {"model_hub", "search_space", "objective", "trainer"},
    "benchmark": set(),
    "metatrain": {"artifact", "search_space"},
}


@pytest.mark.parametrize("command", sorted(KINDS))
def test_every_key_of_every_option_has_a_kind_and_a_value_of_it(command: str) -> None:
    keys: set[str] = set()
    options = [(group, name) for group in GROUPS[command] for name in shipped_options()[group]]
    for choice in ([], *([f"{'+' * (group == 'experiment')}{group}={name}"] for group, name in options)):
        config, _ = composed(command, choice)
        keys |= _leaves(config)
        assert settled(command, config) == config, "defaults are written as they are meant"
    typed = {key for key in keys if not UNTYPED & set(key.split("."))}  # nor is what is below them
    assert not typed - set(KINDS[command])
    assert set(KINDS[command]) <= keys, "and no kind is of a key that there is not"


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(ConfigError) as refusal:
        composed("run", ["budget.seconds=soon", "seed=-1", "num_candidates=abc", "budget.evaluations=1.5"])
    assert str(refusal.value).splitlines() == [
        "seed=-1: expected a whole number, at least 0 and at most 4294967295.",
        f"budget.seconds=soon: expected seconds, above 0 ({DURATION.written}), or null: no limit.",
        "budget.evaluations=1.5: expected a whole number, at least 1, or null: no limit.",
        "num_candidates=abc: expected a whole number, at least 1.",
    ]


def test_units_are_resolved_wherever_they_are_written() -> None:
    config, _ = composed(
        "run", ["budget.seconds=1h", "disk_quota_gb=500MB", "val_fraction=20%", "model_hub=auto"]
    )
    assert config.budget.seconds == 3600
    assert config.disk_quota_gb == 0.5
    assert config.val_fraction == 0.2
    assert config.model_hub.seconds == 3600, "what refers to it follows"
    written = OmegaConf.create({"budget": {"seconds": "10min"}, "runs_dir": "runs"})
    assert settled("run", written) == {"budget": {"seconds": 600}, "runs_dir": "runs"}


def test_what_other_packages_bring_is_theirs() -> None:
    theirs = OmegaConf.create({"optimizer": {"_target_": "mine.Optimizer", "patience": 2.5}})
    assert settled("run", theirs) == theirs
    ours = OmegaConf.create({"optimizer": {"_target_": "qtt.optimizers.quick.QuickTune", "patience": 2.5}})
    with pytest.raises(ConfigError, match=r"optimizer.patience=2.5: expected a whole number"):
        settled("run", ours)


def test_a_reference_and_a_missing_value_are_left_alone() -> None:
    config = OmegaConf.create({"seed": "${oc.env:NOWHERE}", "runs_dir": "???", "dataset": None})
    assert OmegaConf.to_container(settled("run", config), resolve=False) == OmegaConf.to_container(config)
