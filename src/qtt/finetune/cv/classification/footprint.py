"""What the models of a hub need on this machine: parameters, and milliseconds per image."""

import hashlib
import json
import platform
import statistics
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from qtt.data.user_cache import user_cache
from qtt.errors import ConfigError
from qtt.finetune.cv.classification.model import in_fast_layout
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.finetune.cv.classification.sizes import input_size, size_arguments
from qtt.space.constraints import Footprint
from qtt.support.files import read_json, write_json
from qtt.support.machine import choose_device, on_gpu
from qtt.types import ModelCard, TaskInfo

WARM_UP = 3
LEAST_RUNS, LEAST_SECONDS = 10, 0.3
MOST_SECONDS = 5.0
"""A latency is the median of at least ten runs and 0.3 s, of fewer where ten would take more than 5 s."""


def footprints(cards: Sequence[ModelCard], task: TaskInfo, latency: bool = False) -> dict[str, Footprint]:
    """Footprints by name, for the input sizes and the classes of a task.

    latency: also measure milliseconds for a batch of one image, as single precision in eval mode on the
    device of the task's settings; kept for later calls on this machine in `latency.json` of the cache folder.

    Raises:
        ConfigError: settings that cannot be used.
    """
    settings = FinetuneSettings.from_mapping(task.settings)
    sizes = {card.name: input_size(card, settings, task.image_size) for card in cards}
    if not latency:
        return {
            card.name: Footprint(_params(card, task, sizes[card.name]), sizes[card.name]) for card in cards
        }
    device = choose_device(settings.device)
    known, found = _read(), {}
    for card in cards:
        size = sizes[card.name]
        key = _key(card, task.num_classes, size, device)
        if key not in known:
            known[key] = latency_ms(_build(card, task, size), size, device)
            _keep(known)
        found[card.name] = Footprint(_params(card, task, size), size, known[key], device)
    return found


@torch.inference_mode()
def latency_ms(network: nn.Module, size: int, device: str = "cpu") -> float:
    """Median milliseconds of a forward pass of one image (1, 3, size, size)."""
    network = in_fast_layout(network.eval()).to(device)
    image = torch.zeros(1, 3, size, size, device=device)
    for _ in range(WARM_UP):
        _run(network, image)
    times: list[float] = []
    while len(times) < LEAST_RUNS or sum(times) < LEAST_SECONDS:
        times.append(_run(network, image))
        if sum(times) > MOST_SECONDS:
            break
    return 1e3 * statistics.median(times)


def _run(network: nn.Module, image: torch.Tensor) -> float:
    begin = time.perf_counter()
    network(image)
    if image.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def _params(card: ModelCard, task: TaskInfo, size: int) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in _build(card, task, size).parameters())


def _build(card: ModelCard, task: TaskInfo, size: int) -> nn.Module:
    """The card's architecture with the task's classifier and random weights."""
    arguments: dict[str, Any] = {**dict(card.create_kwargs), **size_arguments(card, size)}
    with torch.random.fork_rng(devices=[]):
        network: nn.Module = timm.create_model(
            card.timm_name, pretrained=False, num_classes=task.num_classes, **arguments
        )
    return network


def _key(card: ModelCard, num_classes: int, size: int, device: str) -> str:
    """Equal for measurements that must be alike on one machine."""
    name = torch.cuda.get_device_name() if on_gpu(device) else f"{platform.node()} {platform.processor()}"
    content = [card.timm_name, card.create_kwargs, num_classes, size, name, torch.__version__]
    content += [timm.__version__, torch.get_num_threads()]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:20]


def _cache() -> Path | None:
    with suppress(ConfigError):  # a cache that cannot be written is no cache
        return user_cache() / "latency.json"
    return None


def _read() -> dict[str, float]:
    path = _cache()
    if path is None or not path.is_file():
        return {}
    try:
        return {str(key): float(value) for key, value in read_json(path).items()}
    except (ValueError, TypeError, AttributeError):
        return {}


def _keep(known: dict[str, float]) -> None:
    path = _cache()
    if path is not None:
        with suppress(OSError):  # a cache that cannot be written is no cache
            write_json(path, known)
