"""Cards of strangers: hub files, sidecars and run folders lead timm to no file of their choice."""

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from qtt.errors import ConfigError, QTTError
from qtt.hub.model_hub import SHIPPED_WEIGHTS, load_hub
from qtt.hub.weight_files import file_card
from qtt.runs.kept_models import KeptModel
from qtt.types import ModelCard

CARD = ModelCard("a", "test_resnet.r160_in1k", "resnet", 0.5, 160)


class Opens:
    """Unpickled, it leaves a file behind."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A pickle that leaves the file `ran` beside it when it is read."""
    (tmp_path / "trap.pth").write_bytes(pickle.dumps(Opens(tmp_path / "ran")))
    return tmp_path / "trap.pth"


@pytest.mark.parametrize(
    "name",
    [
        "hf-hub:someone/model",
        "hf_hub:someone/model",
        "local-dir:/srv/model",
        "/srv/model",
        "../model",
        "timm/resnet18",
        "resnet18\n",
        ".resnet18",
        7,
    ],
)
def test_names_lead_nowhere_else(name: Any) -> None:
    with pytest.raises(ConfigError, match="no plain name of a timm model"):
        replace(CARD, timm_name=name)


@pytest.mark.parametrize(
    "weights",
    [
        "/srv/a.safetensors",
        "../a.safetensors",
        "b/../../a.safetensors",
        "a.pth",
        "C:\\a.safetensors",
        "~/../a.safetensors",
        "b//a.safetensors",
        ".safetensors",
        "",
        3,
    ],
)
def test_weights_lie_in_their_folder(weights: Any) -> None:
    with pytest.raises(ConfigError, match="within the weights folder"):
        replace(CARD, weights=weights)


def test_usual_cards_are_usual() -> None:
    assert replace(CARD, weights="tiny/my model (2).safetensors", timm_name="resnet18.a1_in1k")
    kwargs = (("act_layer", "gelu"), ("depths", (3, 3)), ("img_size", 64), ("pad_type", "same"))
    assert replace(CARD, create_kwargs=kwargs).create_kwargs == kwargs


@pytest.mark.parametrize(
    "name",
    ["checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir", "pretrained", "block"],
)
def test_timm_is_given_nothing_but_the_shape(name: str) -> None:
    with pytest.raises(ConfigError, match=f"argument of create_kwargs '{name}'"):
        replace(CARD, create_kwargs=((name, "x"),))


@pytest.mark.parametrize("value", ["a/b", {"a": 1}, [[[[1]]]], 10**400, float("inf"), object(), "x" * 200])
def test_arguments_are_plain(value: Any) -> None:
    with pytest.raises(ConfigError, match="Expected a number, a word"):
        replace(CARD, create_kwargs=(("img_size", value),))


def test_a_typo_is_told() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'img_size'"):
        replace(CARD, create_kwargs=(("imgsize", 64),))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("params", float("nan")),
        ("params", "1"),
        ("input_size", 10**7),
        ("input_size", 64.5),
        ("top1", -1.0),
        ("num_classes", True),
        ("mean", (0.5, float("inf"), 0.5)),
        ("std", (0.5, 0.0, 0.5)),
    ],
)
def test_figures_are_figures(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"Model card 'a' has {name}="):
        replace(CARD, **{name: value})


def test_neither_hub_nor_sidecar_nor_run_opens_a_pickle(tmp_path: Path, trap: Path) -> None:
    """As under versions of timm that unpickled what `checkpoint_path` names."""
    kwargs = {"checkpoint_path": str(trap)}
    cards = [CARD.to_dict() | {"create_kwargs": kwargs}]
    (tmp_path / "hub.yaml").write_text(yaml.safe_dump({"cards": cards}))
    shipped = sorted((SHIPPED_WEIGHTS / "tiny").glob("test_resnet*"))
    for file in shipped:
        shutil.copy(file, tmp_path)
    (sidecar,) = (tmp_path / file.name for file in shipped if file.suffix == ".json")
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"create_kwargs": kwargs}))
    facts = {
        "config_id": 0,
        "fidelity": 1,
        "score": 0.5,
        "config": {},
        "card": cards[0],
        "class_names": ["a"],
    }
    (tmp_path / "model.json").write_text(json.dumps(facts))
    for reads in (
        lambda: load_hub(str(tmp_path / "hub.yaml")),
        lambda: file_card(sidecar.with_suffix(".safetensors")),
        lambda: KeptModel.read(tmp_path),
    ):
        with pytest.raises(QTTError, match="checkpoint_path"):
            reads()
    assert not (tmp_path / "ran").exists()
