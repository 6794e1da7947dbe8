"""The hubs that the script writes are those that are shipped."""

import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml

from meta_dataset import model_facts
from qtt.hub.model_hub import SHIPPED_HUBS, ModelHub
from qtt.hub.timm_facts import timm_card

SOME = {
    "supervised": ("resnet50.a1_in1k", "mobilenetv4_conv_small.e2400_r224_in1k"),
    "self-supervised": ("vit_small_patch14_reg4_dinov2.lvd142m",),
}


def _shipped(name: str) -> ModelHub:
    text = (SHIPPED_HUBS / f"{name}.yaml").read_text(encoding="utf-8")
    return ModelHub.from_dict(yaml.safe_load(text))


@pytest.mark.shared
def test_the_shipped_hubs_are_what_it_writes(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_facts, "MODERN", SOME)
    results = str(shared_data / "timm_results")
    monkeypatch.setattr(sys, "argv", ["", "--timm-results", results, "--out", str(tmp_path)])
    assert model_facts.main() == 0
    made = ModelHub.load(str(tmp_path / "modern.yaml"))
    assert made.cards == tuple(_shipped("modern")[name] for name in made.names)
    assert ModelHub.load(str(tmp_path / "lite.yaml")) == _shipped("lite")
    assert "  # self-supervised\n  - name: vit_small_patch14" in (tmp_path / "modern.yaml").read_text()


def test_the_list_and_the_shipped_hub_are_the_same() -> None:
    listed = [name for names in model_facts.MODERN.values() for name in names]
    assert [card.timm_name for card in _shipped("modern")] == listed
    assert list(_shipped("modern").names) == [model_facts.short_name(name) for name in listed]


def test_accuracies_are_those_at_the_card_s_input_size() -> None:
    card = replace(timm_card("test_vit"), input_size=160)
    rows = [("test_vit.r160_in1k", 128, 40.0), ("test_vit.r160_in1k", 160, 42.5), ("other", 160, 90.0)]
    table = pd.DataFrame(rows, columns=["model", "img_size", "top1"])
    assert model_facts._with_accuracy(card, table).top1 == 42.5
    assert model_facts._with_accuracy(replace(card, input_size=64), table).top1 is None
