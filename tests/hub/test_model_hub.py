import json
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import yaml
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode

from qtt.errors import ModelHubError
from qtt.hub.model_hub import SHIPPED_WEIGHTS, ModelHub, load_hub, locate_weights, shipped_hubs
from qtt.hub.timm_facts import measure, pretraining_of, timm_card
from qtt.hub.weight_files import file_card, folder_cards, tensor_shapes
from qtt.types import ModelCard

# Quick-Tune-Tool, Table 4: name, parameters in millions, top-1
TABLE4 = {
    "beit_large_patch16_512": (305.67, 90.691),
    "volo_d5_512": (296.09, 90.610),
    "volo_d5_448": (295.91, 90.584),
    "volo_d4_448": (193.41, 90.507),
    "swinv2_base_window12to24_192to384_22kft1k": (87.92, 90.401),
    "beit_base_patch16_384": (86.74, 90.371),
    "volo_d3_448": (86.63, 90.168),
    "tf_efficientnet_b7_ns": (66.35, 90.093),
    "convnext_small_384_in22ft1k": (50.22, 89.803),
    "tf_efficientnet_b6_ns": (43.04, 89.784),
    "volo_d1_384": (26.78, 89.698),
    "xcit_small_12_p8_384_dist": (26.21, 89.515),
    "deit3_small_patch16_384_in21ft1k": (22.21, 89.367),
    "tf_efficientnet_b4_ns": (19.34, 89.303),
    "xcit_tiny_24_p8_384_dist": (12.11, 88.778),
    "xcit_tiny_12_p8_384_dist": (6.71, 88.101),
    "edgenext_small": (5.59, 87.504),
    "xcit_nano_12_p8_384_dist": (3.05, 85.025),
    "mobilevitv2_075": (2.87, 82.806),
    "edgenext_x_small": (2.34, 81.897),
    "mobilevit_xs": (2.32, 81.574),
    "edgenext_xx_small": (1.33, 78.698),
    "mobilevit_xxs": (1.27, 76.602),
    "dla46x_c": (1.07, 73.632),
}
GMACS = {
    "beit_base_patch16_384": 55.54,
    "volo_d1_384": 22.75,
    "tf_efficientnet_b4_ns": 4.49,
    "dla46x_c": 0.54,
}
"""timm's published figures at the same input size; they count element-wise operations too."""


def card(name: str = "a", **changes: object) -> ModelCard:
    return replace(ModelCard(name, "resnet18", "resnet", 11.2, 224), **changes)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A folder with a file of timm's test_vit at 96 px, 7 classes, and a sidecar; and one of test_resnet."""
    vit = timm.create_model("test_vit", num_classes=7, img_size=96)
    save_file(vit.state_dict(), tmp_path / "test_vit.mine.safetensors")
    sidecar = {
        "timm_name": "test_vit",
        "num_classes": 7,
        "create_kwargs": {"img_size": 96},
        "input_size": [3, 96, 96],
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
        "interpolation": "bilinear",
    }
    (tmp_path / "test_vit.mine.json").write_text(json.dumps(sidecar))
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "test_resnet.safetensors")
    return tmp_path


def test_table4_holds_the_paper_s_models() -> None:
    hub = ModelHub.load("table4")
    assert {c.name: (c.params, c.top1) for c in hub} == TABLE4
    for name, gmacs in GMACS.items():
        assert hub[name].macs == pytest.approx(gmacs, rel=0.03)


@pytest.mark.parametrize("name", TABLE4)
def test_table4_agrees_with_timm(name: str) -> None:
    shipped = ModelHub.load("table4")[name]
    assert shipped.timm_name in timm.list_pretrained(), "today's name, not a deprecated alias"
    found = timm_card(name)
    for fact in ("timm_name", "family", "input_size", "fixed_input_size", "mean", "std", "interpolation"):
        assert getattr(shipped, fact) == getattr(found, fact), fact
    assert shipped.num_classes == found.num_classes
    assert shipped.macs == pytest.approx(found.macs, abs=6e-4, rel=0)
    head = shipped.params - found.params  # the table counts the classifier
    assert 0 < head < 3


def test_hub_finds_cards_by_name_and_alias() -> None:
    hub = ModelHub("h", (card("a", aliases=("old",)), card("b")))
    assert hub["old"] is hub["a"] is hub.cards[0]
    assert "old" in hub and "b" in hub and "c" not in hub
    assert len(hub) == 2 and hub.names == ("a", "b") and list(hub) == list(hub.cards)
    assert hub.subset(["b"]).names == ("b",)


def test_hub_refuses_duplicates_and_nothing() -> None:
    with pytest.raises(ModelHubError, match="several models named a"):
        ModelHub("h", (card("a"), card("a")))
    with pytest.raises(ModelHubError, match="no models"):
        ModelHub("h", ())


def test_unknown_model_names_close_matches() -> None:
    with pytest.raises(ModelHubError, match="'edgenext_small'"):
        ModelHub.load("table4")["edgenext_smal"]


def test_unknown_model_that_timm_has_says_how_to_get_it() -> None:
    with pytest.raises(ModelHubError, match=r"timm has 'resnet50'.*models=\[resnet50\]"):
        ModelHub.load("table4")["resnet50"]


def test_hub_survives_a_dict_and_a_yaml_file(tmp_path: Path) -> None:
    hub = ModelHub("mine", (card("a", create_kwargs=(("img_size", 64),), mean=(0.5, 0.5, 0.5)), card("b")))
    assert ModelHub.from_dict(json.loads(json.dumps(hub.to_dict()))) == hub
    file = tmp_path / "other.yaml"
    file.write_text(yaml.safe_dump(hub.to_dict()))
    assert ModelHub.load(file) == hub
    file.write_text(yaml.safe_dump({"cards": hub.to_dict()["cards"]}))
    assert ModelHub.load(file).name == "other"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cards: [{name: a, paramz: 3}]", "paramz"),
        ("cards: [{name: a}]", "timm_name"),
        ("cards: 3", "cannot be read"),
        ("name: x", "cards"),
        ("[1, 2]", "must hold"),
        ("a: [", "not YAML"),
    ],
)
def test_broken_yaml_hub_is_explained(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "h.yaml"
    file.write_text(text)
    with pytest.raises(ModelHubError, match=message):
        load_hub(str(file))


def test_unknown_hub_names_the_shipped_ones() -> None:
    assert "table4" in shipped_hubs()
    with pytest.raises(ModelHubError, match="'table4'"):
        load_hub("tabel4")


def test_tiny_hub_is_complete_and_at_hand() -> None:
    hub = load_hub("tiny")
    assert len(hub) >= 5
    assert len({c.family for c in hub}) >= 4
    for c in hub:
        assert c.params < 1.3
        assert c.macs and c.input_size <= 96
        assert locate_weights(c) == SHIPPED_WEIGHTS / "tiny" / f"{c.name}.safetensors"


def test_tiny_hub_needs_neither_torch_nor_timm() -> None:
    code = (
        "import sys; from qtt.hub.model_hub import load_hub; load_hub('tiny'); "
        "sys.exit(bool({'torch', 'timm'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_folder_makes_a_card_of_each_file(weights: Path) -> None:
    hub = load_hub("folder", weights_dir=weights)
    assert hub.names == ("test_resnet", "test_vit.mine")
    vit = hub["test_vit.mine"]
    assert (vit.timm_name, vit.num_classes, vit.input_size) == ("test_vit", 7, 96)
    assert (vit.mean, vit.std, vit.interpolation) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bilinear")
    assert vit.create_kwargs == (("img_size", 96),)
    assert (vit.family, vit.fixed_input_size, vit.pretraining) == ("vision_transformer", True, "mine")
    resnet = hub["test_resnet"]
    assert (resnet.num_classes, resnet.input_size, resnet.weights) == (1000, 160, "test_resnet.safetensors")
    assert load_hub(str(weights)).cards == hub.cards
    assert load_hub("folder", models=["test_resnet"], weights_dir=weights).cards == (resnet,)


def test_params_leave_the_classifier_out(weights: Path) -> None:
    for c in load_hub("folder", weights_dir=weights):
        model = timm.create_model(c.timm_name, num_classes=0, **dict(c.create_kwargs))
        assert c.params == pytest.approx(sum(p.numel() for p in model.parameters()) / 1e6)


def test_complete_sidecar_is_taken_as_it_is(weights: Path) -> None:
    file = weights / "test_vit.mine.safetensors"
    sidecar = json.loads(file.with_suffix(".json").read_text())
    sidecar |= {
        "family": "mine",
        "fixed_input_size": False,
        "params": 20_000,
        "macs": 5_000_000,
        "pretraining": "fractals",
    }
    file.with_suffix(".json").write_text(json.dumps(sidecar))
    found = file_card(file)
    assert (found.family, found.fixed_input_size, found.params, found.macs) == ("mine", False, 0.02, 0.005)
    assert (found.pretraining, found.num_classes) == ("fractals", 7)


def test_create_call_of_a_sidecar_is_read_without_running_it(weights: Path) -> None:
    file = weights / "test_vit.mine.safetensors"
    sidecar = json.loads(file.with_suffix(".json").read_text())
    del sidecar["create_kwargs"]
    sidecar["create"] = "timm.create_model('test_vit', num_classes=7, img_size=96)"
    file.with_suffix(".json").write_text(json.dumps(sidecar))
    assert file_card(file).create_kwargs == (("img_size", 96),)
    sidecar["create"] = "timm.create_model('test_vit', img_size=open('x'))"
    file.with_suffix(".json").write_text(json.dumps(sidecar))
    with pytest.raises(ModelHubError, match=r"test_vit\.mine\.safetensors"):
        file_card(file)


def test_backbone_without_classifier_has_no_classes(tmp_path: Path) -> None:
    state = timm.create_model("test_resnet").state_dict()
    file = tmp_path / "test_resnet.safetensors"
    save_file({name: value for name, value in state.items() if not name.startswith("fc.")}, file)
    assert file_card(file).num_classes == 0


def test_broken_files_and_folders_are_named(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(ModelHubError, match="no weights folder"):
        folder_cards(weights / "missing")
    with pytest.raises(ModelHubError, match="holds no weights"):
        folder_cards(tmp_path_factory.mktemp("empty"))
    with pytest.raises(ModelHubError, match="needs weights_dir"):
        load_hub("folder")
    whole = (weights / "test_resnet.safetensors").read_bytes()
    for content in (whole[:-10], whole[:40], b"", struct.pack("<Q", 4) + b"[1]\n"):
        (weights / "test_resnet.safetensors").write_bytes(content)
        with pytest.raises(ModelHubError, match=r"test_resnet\.safetensors"):
            tensor_shapes(weights / "test_resnet.safetensors")
    (weights / "test_vit.mine.json").write_text("{")
    with pytest.raises(ModelHubError, match=r"test_vit\.mine\.json"):
        file_card(weights / "test_vit.mine.safetensors")


def test_timm_hub_takes_any_names_and_prefers_files(weights: Path) -> None:
    hub = load_hub("timm", models=["test_vit.mine", "test_convnext", "resnet18"], weights_dir=weights)
    assert hub["test_vit.mine"].weights == "test_vit.mine.safetensors"
    assert hub["test_convnext"].timm_name == "test_convnext.r160_in1k"
    assert hub["resnet18"].params == pytest.approx(11.177, abs=1e-3)
    with pytest.raises(ModelHubError, match="'resnet18'"):
        load_hub("timm", models=["resnet81"])
    with pytest.raises(ModelHubError, match="resnet18"):
        load_hub("timm", models=["resnet18.nope"])
    with pytest.raises(ModelHubError, match="needs a list"):
        load_hub("timm")


def test_deprecated_names_lead_to_todays() -> None:
    assert timm_card("tf_efficientnet_b4_ns").timm_name == "tf_efficientnet_b4.ns_jft_in1k"


def test_measured_macs_equal_those_of_a_real_forward_pass() -> None:
    import torch

    found = timm_card("test_efficientnet")
    model = timm.create_model("test_efficientnet", num_classes=0).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, found.input_size, found.input_size))
    assert measure(found) == (found.params, found.macs)
    assert found.macs == counter.get_total_flops() / 2e9


def test_models_with_parameters_as_inputs_are_measured() -> None:
    assert measure(timm_card("cait_xxs24_224"))[1] == pytest.approx(2.53, rel=0.02)  # timm's published figure


def test_measuring_leaves_the_global_generator_alone() -> None:
    import torch

    before = torch.get_rng_state()
    timm_card("test_vit")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("tag", "data"),
    [
        ("ns_jft_in1k", "jft300m-ns"),
        ("fb_in22k_ft_in1k_384", "in21k"),
        ("fb_dist_in1k", "in1k-dist"),
        ("ra_in1k", "in1k"),
        ("something", "something"),
        ("", "unknown"),
    ],
)
def test_tags_name_their_pretraining_data(tag: str, data: str) -> None:
    assert pretraining_of(tag) == data


def test_weights_are_located_in_order(weights: Path) -> None:
    tagged = card("x", timm_name="test_resnet")
    assert locate_weights(tagged) is None
    assert locate_weights(tagged, weights) == weights / "test_resnet.safetensors"
    assert locate_weights(card("x", weights="test_vit.mine.safetensors"), weights) is not None
    assert locate_weights(card("x", weights="nope.safetensors"), weights) is None
    with pytest.raises(ModelHubError, match="no weights folder"):
        locate_weights(tagged, weights / "missing")


@pytest.mark.shared
def test_shared_weights_make_cards_with_their_preprocessing(shared_data: Path) -> None:
    hub = load_hub("folder", weights_dir=shared_data / "weights")
    assert len(hub) == 7
    same = (("pad_type", "same"),)
    bird = hub["mobilenetv2_100.inat_bird"]  # its sidecar gives the call of create_model as text
    assert (bird.num_classes, bird.create_kwargs, bird.mean) == (965, same, (0.5, 0.5, 0.5))
    assert bird.params == pytest.approx(2.223872)
    assert hub["mobilenetv2_100"].macs == pytest.approx(0.30, rel=0.02)
    assert hub["mobilenetv2_100.onnx_backbone"].create_kwargs == ()
