"""The comparison of finetuning with linear probing: its parts on small data, and its published table."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from safetensors.torch import save_file

from images import write_image_folder
from models import build, make_card
from qtt.data.image_folder import scan_image_folder
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.space.hyperparameters import FULL
from qtt.types import TaskInfo

SCRIPTS = Path(__file__).parents[2] / "experiments" / "finetune_vs_probe"
Load = Callable[[str], ModuleType]


def test_pipelines_are_of_the_search_space(load: Load) -> None:
    for pipeline in load("by_hand").PIPELINES.values():
        Recipe.from_config(pipeline | {"model": "m"})
        assert all(value in FULL[name] for name, value in pipeline.items())


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet"])
def test_the_classifier_of_the_features_gives_the_networks_answer(load: Load, name: str) -> None:
    run, network, card = load("run"), build(name), make_card(name)
    pixels = torch.randint(0, 256, (70, 3, 32, 32), dtype=torch.uint8)
    features = run.outputs(run.extractor(network), pixels, card)
    with torch.no_grad():
        x = (pixels.permute(0, 2, 3, 1) / 255 - torch.tensor(card.mean)) / torch.tensor(card.std)
        expected = network(x.permute(0, 3, 1, 2))
        found = network.get_classifier()(torch.from_numpy(features))
    assert torch.allclose(found, expected, atol=1e-4)


def test_the_probe_standardises_and_prefers_strong_regularisation_among_equals(load: Load) -> None:
    rng = np.random.default_rng(0)
    labels = {part: np.arange(20) % 2 for part in ("train", "val", "test")}
    features = {part: rng.normal(size=(20, 5)) + 6 * y[:, None] for part, y in labels.items()}
    scaled = {part: x * [1e-4, 1, 1e4, 1, 1] + 7 for part, x in features.items()}
    labels["test"] = labels["test"].copy()
    labels["test"][:3] ^= 1
    strength, val, test = load("run").probe(features, labels)
    assert (strength, val, test) == (1e-5, 1.0, 0.85)
    assert load("run").probe(scaled, labels) == (strength, val, test)


def test_the_network_is_that_of_the_best_epoch(load: Load, tmp_path: Path) -> None:
    run = load("run")
    root = write_image_folder(tmp_path / "set")
    folder, card = scan_image_folder(root), make_card("test_resnet")
    settings = {"pretrained": False, "device": "cpu"}
    task = TaskInfo(root, folder.class_names, work_dir=tmp_path / "work", models=(card,), settings=settings)
    config = {"model": card.name, "lr": 1e-2, "batch_size": 8, "sched": None}
    network, epoch, score = run.finetuned(task, config, 6)
    images, labels = run.load_images(folder.val, card, 32)
    assert (run.outputs(network, images, card).argmax(1) == labels).mean() == pytest.approx(score)
    assert f"weights-{epoch:04d}.safetensors" in {
        path.name for path in (tmp_path / "work").rglob("weights-*")
    }


def rows(load: Load, *values: tuple[Any, ...]) -> pd.DataFrame:
    """Runs of (model, method, size, seed, val, test)."""
    run = load("comparison").Run
    return pd.DataFrame(
        [
            run("d", model, method, size, seed, 3, 1, val, test, 1.0)
            for model, method, size, seed, val, test in values
        ]
    )


def test_validation_alone_chooses_between_methods_and_sizes(load: Load) -> None:
    runs = rows(
        load,
        ("m", "probe", 128, 0, 0.7, 0.9),
        ("m", "probe", 224, 0, 0.8, 0.5),
        ("m", "base", 128, 0, 0.8, 0.5),
        ("m", "base", 128, 1, 0.1, 0.7),
        ("m", "other", 128, 0, 0.8, 1.0),
        ("m", "other", 128, 1, 0.9, 0.5),
        ("n", "base", 128, 0, 0.8, 0.5),
    )
    assert load("comparison").summary(runs).splitlines()[2:] == [
        "| d | m | 224 px | 0.500 | base, 128 px | 0.600 ± 0.141 | 2 | +0.100 |"
    ]
    assert (
        load("comparison").every_method(runs).splitlines()[-1]
        == "| other, 128 px, 3 epochs | 0.850 / 0.750 ± 0.354 |  |"
    )


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # features of a random network
def test_runs_in_the_results_are_not_repeated(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = load("run")
    write_image_folder(tmp_path / "images" / "colours")
    weights = tmp_path / "weights" / "test_resnet.safetensors"
    weights.parent.mkdir()
    save_file(timm.create_model("test_resnet", num_classes=5).state_dict(), weights)
    weights.with_suffix(".json").write_text(json.dumps({"num_classes": 5, "input_size": [3, 32, 32]}))
    out = tmp_path / "out" / "results.csv"
    command = (
        f"run.py --shared {tmp_path} --out {out} --datasets colours --models test_resnet --image-size 32"
    )
    command += " --methods probe base --epochs 1 --threads"
    monkeypatch.setattr(sys, "argv", [*command.split(), str(torch.get_num_threads())])
    run.main()
    first = out.read_text()
    table = pd.read_csv(out)
    assert table["method"].tolist() == ["probe", "base"]
    hits = 12 * table[["val_accuracy", "test_accuracy"]]
    assert np.allclose(hits, hits.round(), atol=1e-3), "12 images a split"
    with caplog.at_level("INFO"):
        run.main()
    assert out.read_text() == first
    assert "| colours | test_resnet | 32 px |" in caplog.text


def test_the_readme_shows_the_results(load: Load) -> None:
    comparison = load("comparison")
    runs = comparison.read_runs(SCRIPTS / "results.csv")
    readme = (SCRIPTS / "README.md").read_text(encoding="utf-8")
    assert comparison.summary(runs) in readme
    assert comparison.every_method(runs) in readme
