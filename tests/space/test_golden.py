"""What the shipped spaces sample, propose and adapt, as hashes: journals of older versions rely on it."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from qtt.artifacts.files import read_artifact
from qtt.hub.model_hub import load_hub
from qtt.space.config_manager import ConfigManager
from qtt.space.search_space import build_space


def digest(configs: Iterable[Mapping[str, Any]]) -> str:
    return hashlib.sha256(json.dumps([dict(config) for config in configs]).encode()).hexdigest()[:16]


@pytest.mark.parametrize(
    ("hub", "variant", "sampled", "proposed"),
    [
        ("tiny", "full", "c25c5af1a5a4d586", "427f98f96ad3efe5"),
        ("tiny", "tool_paper", "74597e13a2814647", "05661a4a88b436d1"),
        ("tiny", "quickstart", "43826e000d2ace54", "6123d608dbf71897"),
        ("table4", "full", "54bb0cf4b6969e46", "3e16adcfe6acfab7"),
        ("table4", "tool_paper", "a9be9fdfa05f233a", "2178dd5bc848a627"),
        ("table4", "quickstart", "4760bf7ecaa84a6e", "e3832f29a3e30c11"),
    ],
)
def test_candidates_and_proposals_stay_what_they_were(
    hub: str, variant: str, sampled: str, proposed: str
) -> None:
    models = load_hub(hub)
    manager = ConfigManager(build_space(variant, models), models)
    candidates = manager.sample(128, 3)
    assert digest(candidates.configs) == sampled
    assert digest(manager.neighbours(candidates.configs[0], 20, 5)) == proposed


def test_the_shipped_space_and_portfolio_stay_what_they_were() -> None:
    artifact = read_artifact("mtlbm/micro")
    manager = artifact.config_manager()
    written, shipped = (json.loads(text) for text in (manager.to_json(), artifact.space))
    assert written["space"] == shipped["space"]
    assert [card["name"] for card in written["hub"]["cards"]] == [c["name"] for c in shipped["hub"]["cards"]]
    assert digest(manager.sample(64, 1).configs) == "eaa6cc4fc7566513"
    assert artifact.portfolio is not None
    assert digest(artifact.portfolio.pipelines(manager, 32)) == "5d9297315f7713a0"
    tiny = load_hub("tiny")
    small = ConfigManager(build_space("quickstart", tiny), tiny)
    assert digest(artifact.portfolio.pipelines(small, 32)) == "90325f471e51c745"
