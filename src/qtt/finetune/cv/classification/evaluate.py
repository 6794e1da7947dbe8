"""Figures of a search's incumbent on images that the search has not seen."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from qtt.data.image_folder import scan_image_folder
from qtt.errors import ConfigError
from qtt.files import read_json
from qtt.finetune.cv.classification.data import BatchDataset, EvalOrder, Split, cache_limit, open_split
from qtt.finetune.cv.classification.epoch import choose_device
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.finetune.cv.classification.sizes import input_size, size_arguments
from qtt.types import ModelCard, TaskInfo

BATCH = 64


def evaluate_incumbent(run_dir: Path | str) -> dict[str, float]:
    """Top-1 accuracy of a run folder's incumbent on the dataset's test split; empty where there is none.

    Raises:
        ConfigError: the folder holds no incumbent with weights.
        DatasetError: the dataset is gone or has changed.
    """
    run_dir = Path(run_dir)
    weights = run_dir / "incumbent" / "weights.safetensors"
    if not weights.exists():
        raise ConfigError(f"{run_dir} holds no weights of an incumbent ({weights.relative_to(run_dir)}).")
    facts = read_json(run_dir / "incumbent" / "incumbent.json")
    task = _task(read_json(run_dir / "task.json"))
    settings = FinetuneSettings.from_mapping(task.settings)
    folder = scan_image_folder(task.path, task.val_fraction, task.seed)
    if not folder.test:
        return {}
    card = ModelCard.from_dict(facts["model"])
    size = input_size(card, settings, task.image_size)
    split = open_split(folder, folder.test, settings, size, card.interpolation, cache_limit(settings))
    network = _network(card, weights, len(facts["class_names"]), size)
    return {"test accuracy": accuracy(network, split, card, choose_device(settings.device))}


@torch.inference_mode()
def accuracy(network: torch.nn.Module, split: Split, card: ModelCard, device: str) -> float:
    """Share of a split's images that a network classifies as they are labelled."""
    network = network.to(device).eval()
    mean = 255 * torch.tensor(card.mean, device=device).view(-1, 1, 1)
    std = 255 * torch.tensor(card.std, device=device).view(-1, 1, 1)
    dataset = BatchDataset(split, None)
    hits = 0
    for request in EvalOrder(len(split), BATCH):
        images, labels = dataset[request]
        logits = network((images.to(device).float() - mean) / std)
        hits += int((logits.argmax(1).cpu() == labels).sum())
    return hits / len(split)


def _network(card: ModelCard, weights: Path, num_classes: int, size: int) -> torch.nn.Module:
    from qtt.weights import create_model

    network = create_model(card, num_classes, pretrained=False, **size_arguments(card, size))
    network.load_state_dict(load_file(weights))
    return network


def _task(data: dict[str, Any]) -> TaskInfo:
    blank = {"models": (), "work_dir": None, "weights_dir": None}
    return TaskInfo.from_dict(data | blank)
