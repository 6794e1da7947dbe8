"""Frozen features of pretrained networks, kept beside the decoded images for all searches.

One pass over the training and validation images costs a fraction of an epoch, and is all that a linear probe
needs. They lie in <key>.features; the key is a hash of images, size and weights.
"""

import hashlib
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from qtt.finetune.cv.classification.data import DataStore, cache_folder
from qtt.finetune.cv.classification.forward import input_scaling
from qtt.finetune.cv.classification.image_file import FEATURES, make_room
from qtt.finetune.cv.classification.loading import Split
from qtt.finetune.cv.classification.loss_terms import NotApplicable
from qtt.finetune.cv.classification.memory import is_out_of_memory, release
from qtt.finetune.cv.classification.model import build_plain
from qtt.finetune.cv.classification.probe import Labelled, features_of, linear_classifier
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.finetune.cv.classification.sizes import input_size
from qtt.finetune.cv.classification.strategies.freezing import head_parameters
from qtt.support.files import usual_permissions
from qtt.types import ModelCard, TaskInfo

log = logging.getLogger(__name__)

FORMAT = 1
BATCH, TRIED = 64, 4
"""Images of a pass, and those on which a network is tried first."""

MOST = 20_000
"""Training images that a probe learns from, or those of an epoch; of more a random share is taken."""


@dataclass(frozen=True, eq=False)
class Frozen:
    """Features of the training images, or a share of them, and of all validation images.

    seconds: that the passes took when they were made, from images that lay ready.
    """

    train: Labelled
    val: Labelled
    seconds: float


def frozen_features(card: ModelCard, settings: FinetuneSettings, task: TaskInfo, store: DataStore) -> Frozen:
    """The features that a card's network gives, from their file or computed now.

    Raises:
        NotApplicable: the network's classifier is not one linear layer.
        DatasetError, ModelHubError, RuntimeError: images, weights or memory cannot be had.
    """
    size = input_size(card, settings, task.image_size)
    train, val = store.splits(task, settings, size, card.interpolation)
    network = build_plain(card, settings, task)
    linear_classifier(network)
    rows = _rows(len(train), min(MOST, settings.epoch_images or MOST), task.seed)
    labels = train.labels[torch.from_numpy(rows)]
    file = _file(network, [(train, rows), (val, None)], card, settings)
    found = None if file is None else _read(file)
    if found is None:
        found = _compute(network.to(settings.device), (train, rows), val, card, settings.device)
        if file is not None:
            _write(file, found, settings.cache_gb * 2**30)
    return Frozen(Labelled(found.train, labels), Labelled(found.val, val.labels), found.seconds)


@dataclass(frozen=True, eq=False)
class _Found:
    """What a file holds: features of training (n, d) and validation images (m, d), and their seconds."""

    train: Tensor
    val: Tensor
    seconds: float


def _rows(images: int, most: int, seed: int) -> NDArray[np.int64]:
    """Positions of the training images that a probe learns from, in order."""
    if images <= most:
        return np.arange(images)
    return np.sort(np.random.default_rng(seed).permutation(images)[:most])


def _compute(
    network: nn.Module, train: tuple[Split, NDArray[np.int64]], val: Split, card: ModelCard, device: str
) -> _Found:
    parts = (train, (val, np.arange(len(val))))
    for split, rows in parts:
        split.images.prepare(rows)
    network.eval()
    _check_head(network, val, card, device)
    begin = time.monotonic()
    features = [_pass(network, split, rows, card, device) for split, rows in parts]
    return _Found(features[0], features[1], time.monotonic() - begin)


@torch.inference_mode()
def _check_head(network: nn.Module, split: Split, card: ModelCard, device: str) -> None:
    """See on a few images whether the network is its last layer on its features.

    Raises:
        NotApplicable: it is more than that.
    """
    images = _normalized(split, np.arange(min(len(split), TRIED)), card, device)
    layer = linear_classifier(network)
    features, outputs = features_of(network, images), network(images).float()
    fits = features.shape[-1] == layer.in_features
    if not fits or not torch.allclose(layer(features), outputs, rtol=1e-2, atol=1e-2):
        raise NotApplicable("its outputs are not those of a linear layer on its features")


def _pass(network: nn.Module, split: Split, rows: NDArray[np.int64], card: ModelCard, device: str) -> Tensor:
    """Features of some images on the CPU, in batches that become smaller where memory runs out."""
    parts: list[Tensor] = []
    done, batch = 0, BATCH
    while done < len(rows):
        chosen = rows[done : done + batch]
        try:
            parts.append(features_of(network, _normalized(split, chosen, card, device)).cpu())
        except RuntimeError as error:
            if batch == 1 or not is_out_of_memory(error):
                raise
            batch //= 2
            release()
        else:
            done += len(chosen)
    return torch.cat(parts)


def _normalized(split: Split, rows: NDArray[np.int64], card: ModelCard, device: str) -> Tensor:
    """What the network takes of some images."""
    mean, scale = (tensor.to(device) for tensor in input_scaling(card.mean, card.std))
    return (split.images.batch(rows).to(device).float() - mean) * scale


def _file(
    network: nn.Module,
    splits: Sequence[tuple[Split, NDArray[np.int64] | None]],
    card: ModelCard,
    settings: FinetuneSettings,
) -> Path | None:
    """Where the features are kept, None where nothing is."""
    folder = cache_folder(settings)
    if folder is None:
        return None
    facts = hashlib.sha256(f"{FORMAT} {card.mean} {card.std}".encode())
    for split, rows in splits:
        facts.update(f"{split.images.key} {'' if rows is None else len(rows)}".encode())
    head = head_parameters(network)
    for name, tensor in network.state_dict().items():
        if name not in head:
            facts.update(name.encode())
            facts.update(tensor.contiguous().numpy().tobytes())
    return folder / f"{facts.hexdigest()[:32]}{FEATURES}"


def _read(file: Path) -> _Found | None:
    try:
        with safe_open(file, "pt") as content:
            seconds = float(content.metadata()["seconds"])
            return _Found(content.get_tensor("train"), content.get_tensor("val"), seconds)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None


def _write(file: Path, found: _Found, room: int) -> None:
    """Keep features; a disk that has no room for them is no trouble."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        make_room(file.parent, room - found.train.nbytes - found.val.nbytes, file)
        file.parent.mkdir(parents=True, exist_ok=True)
        with usual_permissions(temporary):
            tensors = {"train": found.train, "val": found.val}
            save_file(tensors, temporary, metadata={"seconds": repr(found.seconds)})
        temporary.replace(file)
    except (OSError, SafetensorError) as error:
        log.info("Features are not kept: %s", error)
    finally:
        temporary.unlink(missing_ok=True)
