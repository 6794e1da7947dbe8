from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from images import write_image_folder
from models import build, make_card
from qtt.data.image_folder import scan_image_folder
from qtt.errors import ConfigError
from qtt.finetune.cv.classification import evaluate_incumbent
from qtt.finetune.cv.classification.decoding import decode
from qtt.runs.kept_models import KeptModel
from qtt.support.files import write_json
from qtt.types import ModelCard, TaskInfo


def _run_folder(path: Path, task: TaskInfo, network: torch.nn.Module, card: ModelCard | None = None) -> Path:
    """What QuickTuner leaves of an incumbent."""
    card = card or make_card("test_resnet")
    KeptModel(path / "incumbent", 0, 3, 0.5, {"model": card.name}, card, task.class_names).write()
    passing = ("models", "work_dir", "weights_dir", "best_score")
    write_json(path / "task.json", {k: v for k, v in task.to_dict().items() if k not in passing})
    save_file(network.state_dict(), path / "incumbent" / "weights.safetensors")
    return path


def test_accuracy_on_the_test_split(tmp_path: Path, make_task: Callable[..., TaskInfo]) -> None:
    root = write_image_folder(tmp_path / "set", {"train": 2, "val": 1, "test": 30})
    network = build("test_resnet").eval()
    test = scan_image_folder(root).test
    card = make_card("test_resnet")
    with torch.no_grad():
        pixels = np.stack([decode(path, 32, "bicubic") for path, _ in test]) / 255
        inputs = (torch.tensor(pixels) - torch.tensor(card.mean)) / torch.tensor(card.std)
        logits = network(inputs.permute(0, 3, 1, 2).float())
        network.fc.bias -= logits.mean(0)  # else an untrained network says the same of every image
        logits = logits - logits.mean(0)
    hits = (logits.argmax(1).numpy() == [label for _, label in test]).mean()
    assert 0 < hits < 1
    folder = _run_folder(tmp_path / "run", make_task(path=root), network)
    figures = evaluate_incumbent(folder)
    assert figures["test accuracy"] == pytest.approx(hits, abs=1.01 / len(test))
    assert figures["test majority baseline"] == pytest.approx(1 / 3)
    right = figures["test accuracy"]
    assert figures["test standard error"] == pytest.approx(np.sqrt(right * (1 - right) / len(test)), rel=0.02)


def test_a_winner_by_a_share_of_the_validation_images_is_scored_on_all(
    tmp_path: Path, make_task: Callable[..., TaskInfo]
) -> None:
    root = write_image_folder(tmp_path / "set", {"train": 2, "val": 7, "test": 2})
    network = build("test_resnet")
    whole = evaluate_incumbent(_run_folder(tmp_path / "whole", make_task(path=root), network))
    shared = make_task(path=root, settings={"val_images": 6})
    figures = evaluate_incumbent(_run_folder(tmp_path / "share", shared, network))
    (name,) = figures.keys() - whole.keys()
    assert name == "accuracy on all 21 validation images"
    assert figures[name] * 21 == pytest.approx(round(figures[name] * 21))


def test_a_model_that_was_bounded_is_evaluated_at_the_size_of_its_training(
    tmp_path: Path, make_task: Callable[..., TaskInfo]
) -> None:
    root = write_image_folder(tmp_path / "set", {"train": 2, "val": 1, "test": 2})
    card = replace(make_card("test_vit"), input_size=160, fixed_input_size=True, create_kwargs=())
    network = build("test_vit")  # for 32 pixels
    task = make_task(path=root, settings={"max_image_size": 32, "cache_dir": str(tmp_path / "images")})
    assert "test accuracy" in evaluate_incumbent(_run_folder(tmp_path / "run", task, network, card))
    (file,) = (tmp_path / "images").iterdir()
    assert file.stat().st_size == 4096 + 6 * 3 * 32 * 32


def test_the_datasets_size_is_that_of_training(tmp_path: Path, make_task: Callable[..., TaskInfo]) -> None:
    root = write_image_folder(tmp_path / "set", {"train": 2, "val": 1, "test": 2})
    card = replace(make_card("test_resnet"), input_size=160)
    settings = {"cache_dir": str(tmp_path / "images")}
    task = replace(make_task(path=root, settings=settings), image_size=70)
    evaluate_incumbent(_run_folder(tmp_path / "run", task, build("test_resnet"), card))
    (file,) = (tmp_path / "images").iterdir()
    assert file.stat().st_size == 4096 + 6 * 3 * 96 * 96


def test_nothing_to_say_without_a_test_split(tmp_path: Path, make_task: Callable[..., TaskInfo]) -> None:
    root = write_image_folder(tmp_path / "set", {"train": 2, "val": 1})
    folder = _run_folder(tmp_path / "run", replace(make_task(), path=root), build("test_resnet"))
    assert evaluate_incumbent(folder) == {}


def test_a_folder_without_incumbent(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no weights of an incumbent \(incumbent/weights\.safetensors\)"):
        evaluate_incumbent(tmp_path)
