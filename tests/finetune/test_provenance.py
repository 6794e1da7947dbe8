import json
from dataclasses import replace
from pathlib import Path

from models import make_card
from qtt.finetune.cv.classification.provenance import UNKNOWN_LICENCE, weights_source
from qtt.hub.model_hub import load_hub


def test_random_weights_have_no_source() -> None:
    card = make_card("test_vit")
    assert weights_source(card, False, None) == ["Trained from random weights, without pretraining."]


def test_weights_of_timm_have_the_licence_that_timm_states() -> None:
    card = replace(make_card("test_vit"), timm_name="mobilevit_xs.cvnets_in1k", pretraining="in1k")
    lines = weights_source(card, True, None)
    assert lines == [
        "Pretraining: in1k.",
        "Weights: those that timm names `mobilevit_xs.cvnets_in1k`.",
        "Licence, as timm states it: cvnets-license.",
    ]


def test_a_file_of_its_own_has_the_licence_of_its_sidecar_and_not_timms(tmp_path: Path) -> None:
    card = replace(make_card("test_vit"), timm_name="mobilevit_xs", weights="mobilevit_xs.mine.safetensors")
    (tmp_path / "mobilevit_xs.mine.safetensors").touch()
    lines = weights_source(card, True, tmp_path)
    assert lines[0] == "Pretraining: unknown."
    assert lines[-1] == UNKNOWN_LICENCE
    assert lines == weights_source(card, True, tmp_path / "gone")
    sidecar = {"licence": "CC0", "source": "my camera"}
    (tmp_path / "mobilevit_xs.mine.json").write_text(json.dumps(sidecar))
    lines = weights_source(card, True, tmp_path)
    assert "Source, as its sidecar states it: my camera." in lines
    assert lines[-1] == "Licence, as its sidecar states it: CC0."


def test_shipped_weights_say_where_they_are_from() -> None:
    lines = weights_source(load_hub("tiny").cards[0], True, None)
    assert any("of the qtt package" in line for line in lines)
    assert lines[-1] == "Licence, as its sidecar states it: Apache-2.0."
