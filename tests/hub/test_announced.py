"""Hubs of installed packages: functions, paths and objects, by name wherever a hub is named."""

from pathlib import Path

import pytest
import yaml

from plugins import announce
from qtt import get_pretrained_optimizer
from qtt.errors import ConfigError, ModelHubError
from qtt.hub.announced import announced_hub, announced_hubs
from qtt.hub.model_hub import ModelHub, load_hub

SOURCE = """
from pathlib import Path
from qtt.hub.model_hub import ModelHub
def made(size=2): return ModelHub("x", ModelHub.load("tiny").cards[:size])
def file(): return Path(__file__).with_name("cards.yaml")
path = str(Path(__file__).with_name("cards.yaml"))
hub = made(1)
nothing = 3
def lost(): return "nowhere.yaml"
"""


@pytest.fixture(autouse=True)
def _package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    module = f"orchard_{abs(hash(request.node.nodeid))}"
    names = ("made", "file", "path", "hub", "nothing", "lost")
    points = {**{name: f"{module}:{name}" for name in names}, "tiny": f"{module}:nothing"}
    announce(tmp_path, "orchard", {"qtt.hubs": points}, SOURCE)
    cards = [card.to_dict() for card in ModelHub.load("tiny").cards[:3]]
    (tmp_path / "cards.yaml").write_text(yaml.safe_dump({"name": "cards", "cards": cards}))
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.parametrize(("name", "size"), [("made", 2), ("file", 3), ("path", 3), ("hub", 1)])
def test_a_hub_can_be_a_function_a_path_or_an_object(name: str, size: int) -> None:
    hub = ModelHub.load(name)
    assert (hub.name, hub.cards) == (name, ModelHub.load("tiny").cards[:size])


def test_it_can_be_narrowed_and_its_function_told_more() -> None:
    names = ModelHub.load("tiny").names
    assert load_hub("file", models=[names[1]]).names == (names[1],)
    assert len(announced_hub("made", size=4)) == 4
    assert announced_hub("made", [names[2]], size=3).names == (names[2],)


def test_an_optimizer_takes_it_by_name() -> None:
    optimizer = get_pretrained_optimizer("cold", model_hub="made")
    optimizer.setup(6)
    assert {card.name for card in optimizer.candidates.models} == set(ModelHub.load("tiny").names[:2])


def test_shipped_hubs_come_first_and_unknown_ones_have_close_matches() -> None:
    assert "tiny" in announced_hubs()
    assert len(ModelHub.load("tiny")) > 3
    with pytest.raises(ModelHubError, match=r"Unknown hub 'mades'. Did you mean 'made'"):
        ModelHub.load("mades")
    with pytest.raises(ConfigError, match="Did you mean 'made'"):
        announced_hub("mades")


def test_what_is_no_hub_is_refused() -> None:
    with pytest.raises(ModelHubError, match=r"'nothing' \(.*:nothing\) gives a int"):
        ModelHub.load("nothing")
    with pytest.raises(ModelHubError, match=r"nowhere.yaml is no hub"):
        ModelHub.load("lost")
