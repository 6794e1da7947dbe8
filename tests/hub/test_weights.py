from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from qtt.errors import ModelHubError
from qtt.hub import weights
from qtt.hub.model_hub import ModelHub, load_hub
from qtt.hub.timm_facts import timm_card
from qtt.hub.weight_files import file_card
from qtt.hub.weights import create_model, mismatches, read_state
from qtt.types import ModelCard

ARCHITECTURES = ["test_vit", "test_convnext", "test_resnet", "test_efficientnet", "test_byobnet"]


def save(model: nn.Module, file: Path) -> ModelCard:
    save_file(model.state_dict(), file)
    return replace(file_card(file), weights=file.name)


def features(model: nn.Module, size: int) -> torch.Tensor:
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model.eval().forward_features(images)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_backbone_is_the_file_s_and_the_head_is_new(name: str, tmp_path: Path) -> None:
    source = timm.create_model(name, num_classes=11)
    card = save(source, tmp_path / f"{name}.safetensors")
    model = create_model(card, 3, weights_dir=tmp_path)
    assert torch.equal(features(model, card.input_size), features(source, card.input_size))
    images = torch.zeros(2, 3, card.input_size, card.input_size)
    assert model(images).shape == (2, 3)
    assert model.num_classes == 3


def test_the_caller_s_seed_decides_the_head(tmp_path: Path) -> None:
    card = save(timm.create_model("test_resnet"), tmp_path / "test_resnet.safetensors")

    def head(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return create_model(card, 4, weights_dir=tmp_path).get_classifier().weight

    assert torch.equal(head(0), head(0))
    assert not torch.equal(head(0), head(1))


def test_half_precision_files_become_float32(tmp_path: Path) -> None:
    source = timm.create_model("test_convnext")
    card = save(source.half(), tmp_path / "test_convnext.safetensors")
    model = create_model(card, 2, weights_dir=tmp_path)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert torch.equal(model.state_dict()["stem.0.weight"], source.state_dict()["stem.0.weight"].float())


def test_backbone_file_without_classifier_loads(tmp_path: Path) -> None:
    source = timm.create_model("test_resnet")
    file = tmp_path / "test_resnet.safetensors"
    save_file({k: v for k, v in source.state_dict().items() if not k.startswith("fc.")}, file)
    model = create_model(replace(file_card(file), weights=file.name), 5, weights_dir=tmp_path)
    assert torch.equal(features(model, 160), features(source, 160))


def test_without_pretraining_nothing_is_read() -> None:
    card = ModelCard("x", "test_vit", "vision_transformer", 0.3, 96, create_kwargs=(("img_size", 96),))
    model = create_model(card, 6, pretrained=False, drop_rate=0.25)
    assert model(torch.zeros(1, 3, 96, 96)).shape == (1, 6)
    assert model.head_drop.p == 0.25


def test_another_image_size_resamples_positions(tmp_path: Path) -> None:
    card = save(timm.create_model("test_vit"), tmp_path / "test_vit.safetensors")
    model = create_model(card, 3, weights_dir=tmp_path, img_size=96)
    assert model(torch.zeros(1, 3, 96, 96)).shape == (1, 3)
    own = load_file(tmp_path / "test_vit.safetensors")
    assert torch.equal(model.state_dict()["blocks.0.attn.qkv.weight"], own["blocks.0.attn.qkv.weight"])


def test_misfits_are_named(tmp_path: Path) -> None:
    file = tmp_path / "test_resnet.safetensors"
    card = save(timm.create_model("test_resnet"), file)
    state = load_file(file)
    removed = next(iter(state))
    changed = {k: v for k, v in state.items() if k != removed} | {
        "fc.bias": torch.zeros(3),
        "extra": torch.zeros(1),
    }
    save_file(changed, file)
    with pytest.raises(ModelHubError) as caught:
        create_model(replace(card, num_classes=1000), 3, weights_dir=tmp_path)
    message = str(caught.value)
    assert str(file) in message
    assert f"{removed} is missing" in message
    assert "fc.bias has shape (3,), not (1000,)" in message
    assert "extra is unknown" in message


def test_other_architecture_s_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "test_resnet.safetensors"
    card = save(timm.create_model("test_resnet"), file)
    save_file(timm.create_model("test_vit").state_dict(), file)
    with pytest.raises(ModelHubError, match=r"do not fit model 'test_resnet'.*and .* more"):
        create_model(card, 3, weights_dir=tmp_path)


def test_torn_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "test_vit.safetensors"
    card = save(timm.create_model("test_vit"), file)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelHubError, match=r"test_vit\.safetensors cannot be read"):
        create_model(card, 3, weights_dir=tmp_path)


def test_impossible_arguments_name_the_model(tmp_path: Path) -> None:
    with pytest.raises(ModelHubError, match=r"cannot build model 'x'.*'no_such_argument': 1"):
        create_model(
            ModelCard("x", "test_resnet", "resnet", 0.5, 160), 3, pretrained=False, no_such_argument=1
        )
    with pytest.raises(ModelHubError, match="cannot build"):
        create_model(ModelCard("x", "no_such_model", "resnet", 0.5, 160), 3, pretrained=False)


def test_no_weights_anywhere_names_the_three_ways() -> None:
    with pytest.raises(ModelHubError) as caught:
        create_model(ModelHub.load("table4")["dla46x_c"], 3)
    message = str(caught.value)
    for way in ("(1) packages", "dla46x_c.in1k.safetensors", "Hugging Face", "python -m qtt.fetch"):
        assert way in message


def test_a_file_of_its_own_is_never_replaced_by_a_download(tmp_path: Path) -> None:
    card = replace(timm_card("test_vit"), weights="mine.safetensors")
    with pytest.raises(ModelHubError, match=r"mine\.safetensors is neither in the package nor in"):
        create_model(card, 3, weights_dir=tmp_path)


def test_hugging_face_cache_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = timm.create_model("test_resnet")
    save_file(source.state_dict(), tmp_path / "model.safetensors")
    asked = []

    def cached(repository: str, name: str) -> str:
        asked.append((repository, name))
        return str(tmp_path / name)

    monkeypatch.setattr(weights, "try_to_load_from_cache", cached)
    model = create_model(timm_card("test_resnet"), 3)
    assert asked == [("timm/test_resnet.r160_in1k", "model.safetensors")]
    assert torch.equal(features(model, 160), features(source, 160))


def test_files_are_read_once_and_again_when_they_change(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    save_file({"x": torch.zeros(2)}, file)
    first = read_state(file)
    assert read_state(file) is first
    save_file({"x": torch.ones(3)}, file)
    assert torch.equal(read_state(file)["x"], torch.ones(3))


def test_training_does_not_reach_the_kept_tensors(tmp_path: Path) -> None:
    card = save(timm.create_model("test_resnet"), tmp_path / "test_resnet.safetensors")
    model = create_model(card, 2, weights_dir=tmp_path)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    kept = read_state(tmp_path / "test_resnet.safetensors")
    for name, tensor in load_file(tmp_path / "test_resnet.safetensors").items():
        assert torch.equal(kept[name], tensor)


def test_mismatches_of_equal_states_are_none() -> None:
    model = nn.Linear(2, 3)
    assert mismatches(model, model.state_dict()) == []


@pytest.mark.parametrize("name", ModelHub.load("table4").names)
def test_every_model_of_table4_builds_with_dropout(name: str) -> None:
    with torch.device("meta"):
        model = create_model(ModelHub.load("table4")[name], 9, pretrained=False, drop_rate=0.1)
    assert model.num_classes == 9


def test_every_tiny_model_loads_and_answers() -> None:
    for card in load_hub("tiny"):
        model = create_model(card, 10).eval()
        with torch.no_grad():
            logits = model(torch.randn(2, 3, card.input_size, card.input_size))
        assert logits.shape == (2, 10) and torch.isfinite(logits).all()


@pytest.mark.shared
def test_shared_weights_load(shared_data: Path) -> None:
    folder = shared_data / "weights"
    for card in load_hub("folder", weights_dir=folder):
        model = create_model(card, 10, weights_dir=folder)
        assert model.num_classes == 10


IMAGENET = {
    "tench": 0,
    "English_springer": 217,
    "cassette_player": 482,
    "chain_saw": 491,
    "church": 497,
    "French_horn": 566,
    "garbage_truck": 569,
    "gas_pump": 571,
    "golf_ball": 574,
    "parachute": 701,
}
"""Positions of Imagenette's classes among ImageNet's 1000."""


@pytest.mark.shared
def test_shared_weights_recognise_photos_with_the_card_s_preprocessing(shared_data: Path) -> None:
    """The publisher of the files measured .716 on other photos of these classes."""
    import numpy as np
    from PIL import Image

    folder = shared_data / "weights"
    card = load_hub("folder", models=["mobilenetv2_100"], weights_dir=folder)["mobilenetv2_100"]
    model = timm.create_model(card.timm_name, num_classes=1000, **dict(card.create_kwargs)).eval()
    model.load_state_dict(dict(read_state(folder / "mobilenetv2_100.safetensors")))
    right = []
    for name, position in IMAGENET.items():
        files = sorted((shared_data / "images" / "imagenette_160" / "val" / name).iterdir())[:4]
        images = [np.asarray(Image.open(file).convert("RGB").resize((224, 224))) for file in files]
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255
        mean, std = (torch.tensor(values)[:, None, None] for values in (card.mean, card.std))
        with torch.no_grad():
            right += (model((batch - mean) / std).argmax(1) == position).tolist()
    assert np.mean(right) > 0.6
