"""Kept networks: what is written comes back, and weights and description never contradict each other."""

from dataclasses import replace
from pathlib import Path

import pytest

from qtt.errors import ConfigError
from qtt.hub.model_hub import ModelHub
from qtt.runs.kept_models import FACTS, KeptModel, kept_models
from qtt.support.files import read_json

CARD = ModelHub.load("tiny").cards[0]


def _model(folder: Path, epoch: int = 3, score: float = 0.5, config_id: int = 7) -> KeptModel:
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model": CARD.name, "lr": 0.1}
    return KeptModel(folder, config_id, epoch, score, config, CARD, ("a", "b"))


def _file(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    model = _model(tmp_path / "incumbent")
    model.take(_file(tmp_path / "w", "one"))
    assert KeptModel.read(model.folder) == model
    assert model.weights.read_text() == "one"
    assert sorted(path.name for path in model.folder.iterdir()) == ["model.json", "weights.safetensors"]
    without = replace(_model(tmp_path / "other"), card=None)
    without.write()
    assert KeptModel.read(without.folder) == without


@pytest.mark.parametrize("moved", [False, True])
def test_a_crash_leaves_weights_and_their_own_description(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: bool
) -> None:
    folder = tmp_path / "incumbent"
    old, new = _model(folder, 3, 0.5), _model(folder, 4, 0.6)
    old.take(_file(tmp_path / "w", "old"))
    weights = _file(tmp_path / "w", "new")

    class Crash(BaseException):
        pass

    def crash(*_: object) -> None:
        raise Crash

    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(KeptModel, "write", crash) if moved else patch.setattr(
            Path, "replace", _but(crash, weights)
        )
        new.take(weights)
    assert folder.joinpath("weights.safetensors").read_text() == ("new" if moved else "old")
    assert KeptModel.read(folder) == (new if moved else old)
    assert read_json(folder / FACTS)["fidelity"] == 3
    last = _model(folder, 5, 0.7)
    last.take(_file(tmp_path / "w", "last"))
    assert KeptModel.read(folder) == last


def _but(crash, weights):  # type: ignore[no-untyped-def]
    """`Path.replace` that crashes for the weights alone."""
    usual = Path.replace
    return lambda path, target: crash() if path == weights else usual(path, target)


def test_the_best_on_validation_comes_first_and_none_twice(tmp_path: Path) -> None:
    for name, epoch, score, config_id in (
        ("incumbent", 3, 0.5, 7),
        ("finetuned/0007", 3, 0.5, 7),
        ("finetuned/0009", 5, 0.9, 9),
        ("finetuned/0002", 5, 0.5, 2),
    ):
        _model(tmp_path / name, epoch, score, config_id).take(_file(tmp_path / "w", name))
    _model(tmp_path / "finetuned" / "0001", 1, 0.99, 1).write()  # without weights
    assert [model.name for model in kept_models(tmp_path)] == [
        "finetuned/0009",
        "incumbent",
        "finetuned/0002",
    ]


def test_damaged_descriptions_are_named(tmp_path: Path) -> None:
    _model(tmp_path).take(_file(tmp_path / "w", "x"))
    (tmp_path / FACTS).write_text("{}")
    with pytest.raises(ConfigError, match=r"model\.json cannot be read as the description of a network"):
        KeptModel.read(tmp_path)
