"""The hub of models of today: every card is true, every model can be built, licences are kept."""

from dataclasses import replace

import pytest
import timm
import torch

from qtt.errors import ModelHubError
from qtt.hub.model_hub import FREE, ModelHub, load_hub
from qtt.hub.timm_facts import measure
from qtt.types import ModelCard

ALL = load_hub("modern", licences=[*FREE, "cc-by-nc-4.0", "fastvit-license", "dinov3-license"])


@pytest.mark.parametrize("card", ALL.cards, ids=lambda card: card.name)
def test_every_model_builds_as_its_card_says(card: ModelCard) -> None:
    config = timm.get_pretrained_cfg(card.timm_name)
    assert card.timm_name in timm.list_models(f"{card.timm_name.partition('.')[0]}.*", pretrained=True)
    assert config.hf_hub_id == f"timm/{card.timm_name}", "where `auto` looks for earlier downloads"
    assert card.licence == config.license
    assert (card.mean, card.std) == (config.mean, config.std)
    assert card.num_classes == config.num_classes
    with torch.device("meta"):
        model = timm.create_model(card.timm_name, num_classes=7, **dict(card.create_kwargs)).eval()
        assert model(torch.empty(2, 3, card.input_size, card.input_size)).shape == (2, 7)
    backbone = sum(p.numel() for n, p in model.named_parameters() if not n.startswith(_head(model))) / 1e6
    assert card.params == pytest.approx(backbone, abs=0.01 + 0.12 * card.params)
    assert card.macs is not None


def _head(model: torch.nn.Module) -> tuple[str, ...]:
    names = model.default_cfg["classifier"]
    return tuple(names) if isinstance(names, list | tuple) else (names,)


@pytest.mark.parametrize("name", ["mobilenetv4_conv_small", "vit_small_patch14_reg4_dinov2"])
def test_sizes_are_measured(name: str) -> None:
    params, macs = measure(ALL[name])
    assert (ALL[name].params, ALL[name].macs) == (round(params, 2), round(macs or 0, 3))


def test_it_is_broad() -> None:
    hub = load_hub("modern")
    assert 30 <= len(hub) <= 40
    assert 1 < min(card.params for card in hub) < 3
    assert 250 < max(card.params for card in hub) < 320
    assert len({card.family for card in hub}) >= 12
    assert {"in1k", "in21k", "in12k", "in1k-dist", "lvd", "webli", "laion"} <= {c.pretraining for c in hub}


def test_only_free_licences_unless_others_are_named() -> None:
    assert {card.licence for card in load_hub("modern")} <= set(FREE)
    wider = load_hub("modern", licences=["dinov3-license"])
    assert {card.licence for card in wider} == {"dinov3-license"}
    with pytest.raises(ModelHubError, match=r"cc-by-nc-4.0.*model_hub.licences=\[.*,cc-by-nc-4.0\]"):
        load_hub("modern", models=["convnextv2_tiny"])
    with pytest.raises(ModelHubError, match=r"no models under these licences; it has .*apache-2\.0"):
        load_hub("modern", licences=["nonsense"])


def test_gated_weights_must_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from qtt.hub import model_hub

    open_, gated = ALL.cards[0], replace(ALL.cards[1], gated=True)
    monkeypatch.setattr(model_hub, "_named_hub", lambda name: ModelHub(name, (open_, gated)))
    assert load_hub("modern").cards == (open_,)
    assert load_hub("modern", licences=["Apache-2.0"]).cards == (open_, gated)
    with pytest.raises(ModelHubError, match="agreed to on the Hugging Face hub"):
        load_hub("modern", models=[gated.name])


def test_one_s_own_hub_is_not_judged() -> None:
    hub = load_hub("table4")
    assert len(hub) == 24
    assert load_hub("tiny").names == load_hub("tiny", licences=["apache-2.0"]).names


def test_cards_keep_licence_and_gate_through_json_and_old_ones_are_read() -> None:
    card = replace(ALL.cards[0], gated=True)
    assert ModelCard.from_dict(card.to_dict()) == card
    old = {k: v for k, v in card.to_dict().items() if k not in ("licence", "gated")}
    assert ModelCard.from_dict(old) == replace(card, licence=None, gated=False)
