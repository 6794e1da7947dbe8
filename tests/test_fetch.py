from collections.abc import Mapping
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

from qtt import fetch as command
from qtt.errors import ModelHubError
from qtt.fetch import fetch, main
from qtt.hub import weights
from qtt.hub.model_hub import load_hub
from qtt.hub.weights import create_model
from qtt.types import ModelCard

MODELS = ["test_vit", "test_resnet"]


class FakeHub:
    """Stands for the Hugging Face hub: random weights, or an error for the models that it lacks."""

    def __init__(self, lacks: str = "") -> None:
        self.lacks = lacks
        self.asked: list[str] = []

    def __call__(self, card: ModelCard) -> Mapping[str, Tensor]:
        self.asked.append(card.name)
        if card.name == self.lacks:
            raise ModelHubError("no [network] today")
        return timm.create_model(card.timm_name, num_classes=card.num_classes).state_dict()


def test_fetched_files_are_loaded_from_then_on(tmp_path: Path) -> None:
    cards = load_hub("timm", models=MODELS).cards
    hub = FakeHub()
    done = fetch(cards, tmp_path, hub)
    assert [item.outcome for item in done] == ["fetched", "fetched"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "test_resnet.r160_in1k.safetensors",
        "test_vit.r160_in1k.safetensors",
    ]
    assert all(item.size == Path(item.detail).stat().st_size for item in done)
    assert create_model(cards[0], 3, weights_dir=tmp_path).num_classes == 3
    assert [c.timm_name for c in load_hub("folder", weights_dir=tmp_path)] == [
        "test_resnet.r160_in1k",
        "test_vit.r160_in1k",
    ]
    assert [item.outcome for item in fetch(cards, tmp_path, hub)] == ["present", "present"]
    assert hub.asked == MODELS, "nothing is fetched twice"


def test_one_failure_stops_nobody_else(tmp_path: Path) -> None:
    done = fetch(load_hub("timm", models=MODELS), tmp_path, FakeHub(lacks="test_vit"))
    assert [item.outcome for item in done] == ["failed", "fetched"]
    assert "network" in done[0].detail


def test_shipped_and_foreign_files(tmp_path: Path) -> None:
    foreign = ModelCard("x", "test_vit", "f", 0.3, 160, weights="x.safetensors")
    hub = FakeHub()
    assert [item.outcome for item in fetch(load_hub("tiny"), tmp_path, hub)] == ["present"] * len(
        load_hub("tiny")
    )
    assert [item.outcome for item in fetch([foreign], tmp_path, hub)] == ["failed"]
    assert hub.asked == []


def test_interrupted_writing_leaves_no_file(tmp_path: Path) -> None:
    class Torn(dict[str, Tensor]):
        def items(self):  # type: ignore[no-untyped-def]
            yield "a", torch.zeros(1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(load_hub("timm", models=["test_vit"]), tmp_path, lambda card: Torn())
    assert list(tmp_path.iterdir()) == []


def test_command_shows_a_table_and_returns_its_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "_download", FakeHub())
    arguments = ["timm", "--models", *MODELS, "--weights-dir", str(tmp_path / "new")]
    assert main(arguments) == 0
    shown = capsys.readouterr().out
    assert "[2/2] test_resnet: fetched" in shown and "All weights are at hand" in shown
    assert main(arguments) == 0
    assert "test_resnet: present" in capsys.readouterr().out
    monkeypatch.setattr(command, "_download", FakeHub(lacks="test_vit"))
    assert main([*arguments[:-1], str(tmp_path / "other")]) == 1
    assert "1 of 2 failed. no [network] today" in capsys.readouterr().out


def test_command_without_network_names_the_ways(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["timm", "--models", "test_vit", "--weights-dir", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert "Hugging Face hub" in shown and "test_vit.r160_in1k.safetensors" in shown


def test_command_explains_a_wrong_hub(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tabel4", "--weights-dir", str(tmp_path)]) == 1
    assert "'table4'" in capsys.readouterr().out


def test_unreachable_hub_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("the network was tried")

    card = load_hub("timm", models=["test_vit"]).cards[0]
    monkeypatch.setattr(weights, "getproxies", dict)
    monkeypatch.setattr(weights.timm, "create_model", never)
    with pytest.raises(ModelHubError, match="OSError"):
        weights.from_hugging_face(card)
