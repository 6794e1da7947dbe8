"""What every pipeline needs, tried before the first one: device, images, weights, a pass through a network.

All of it is what pipelines do anyway: modules that are loaded, images that are listed and decoded, and
weights that are fetched are there when the first one comes.
"""

import logging
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from qtt.errors import EnvironmentFault, QTTError
from qtt.evaluation.faults import is_of_the_world
from qtt.evaluation.step import describe
from qtt.finetune.cv.classification.cache import ImageCache
from qtt.finetune.cv.classification.data import DataStore, cache_folder
from qtt.finetune.cv.classification.forward import input_scaling
from qtt.finetune.cv.classification.loading import Split
from qtt.finetune.cv.classification.memory import is_out_of_memory, release
from qtt.finetune.cv.classification.model import build_network, in_fast_layout
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.finetune.cv.classification.sizes import input_size
from qtt.support import resources
from qtt.support.machine import choose_device
from qtt.tasks.preflight import Said
from qtt.types import Candidates, TaskInfo, Trial

log = logging.getLogger(__name__)

TRIES = 3
"""Models that get a chance: one may fail for reasons of its own, which are its pipelines' failures."""

BATCH = 8
"""Images in the pass; memory for more is each pipeline's own concern."""


def rehearse(candidates: Candidates, task: TaskInfo, store: DataStore) -> Iterator[Said]:
    """See `qtt.tasks.preflight.Rehearsal`; datasets stay open in `store`."""
    settings = FinetuneSettings.from_mapping(task.settings)
    settings = replace(settings, device=choose_device(settings.device))
    yield Said(f"device {settings.device}", fact=True)
    named = {config.get("model") for config in candidates.configs}
    cards = [card for card in task.models if card.name in named]
    if settings.pretrained and cards:
        from qtt.hub.obtaining import obtain  # which asks packages that training may do without

        yield from map(Said, obtain(cards, task.weights_dir))
        yield Said(f"weights of {len(cards)} model{'s' * (len(cards) > 1)}", fact=True)
    yield Said("Listing images")
    folder = store.folder(task)
    task = replace(task, class_names=folder.class_names)
    store.check(task)
    yield Said(f"{sum(len(folder.split(name)) for name in ('train', 'val', 'test')):,} images", fact=True)
    yield from _pass(smallest(candidates), settings, task, store)


def smallest(candidates: Candidates) -> list[Trial]:
    """The first pipeline of each of the smallest models."""
    trials: dict[str, Trial] = {}
    for config_id, config in enumerate(candidates.configs):
        trials.setdefault(str(config.get("model")), Trial(config_id, config, 1))
    cards = sorted(candidates.models, key=lambda card: card.params)
    return [trials[card.name] for card in cards if card.name in trials][:TRIES]


def _pass(
    trials: list[Trial], settings: FinetuneSettings, task: TaskInfo, store: DataStore
) -> Iterator[Said]:
    """Try pipelines until one takes a batch of images.

    Raises:
        EnvironmentFault: none does, and not for reasons that lie in them.
    """
    errors: list[Exception] = []
    for trial in trials:
        yield Said(f"Trying {trial.config.get('model')} on {settings.device}")
        try:
            train = try_pipeline(trial, settings, task, store)
        except Exception as error:
            if is_of_the_world(error):
                raise
            errors.append(error)
            log.info("%s cannot be tried: %s", trial.config.get("model"), describe(error))
        else:
            if settings.cache_gb and train.images.in_memory:
                place = cache_folder(settings)
                yield Said(f"decoded images in memory ({place} cannot take them)", fact=True)
            return
        finally:
            release()
    unexplained = [error for error in errors if not isinstance(error, QTTError)]
    if unexplained and len(unexplained) == len(errors):
        raise _fault([str(trial.config["model"]) for trial in trials], unexplained[0], settings.device)


def try_pipeline(trial: Trial, settings: FinetuneSettings, task: TaskInfo, store: DataStore) -> Split:
    """Send some images through a pipeline's network as it is before training; gives the training images.

    Raises:
        DatasetError, ModelHubError, ConfigError, RuntimeError, …: it does not work.
    """
    recipe = Recipe.from_config(trial.config)
    card = task.card(recipe.model)
    size = input_size(card, settings, task.image_size)
    train, val = store.splits(task, settings, size, card.interpolation)
    for split in (train, val):
        _check_room(split.images, settings)
    network = build_network(recipe, settings, task, trial.config_id)
    network = in_fast_layout(network).to(settings.device).eval()
    images = train.images.batch(np.arange(min(len(train), recipe.batch_size, BATCH)))
    mean, scale = (tensor.to(settings.device) for tensor in input_scaling(card.mean, card.std))
    with torch.inference_mode():
        told = network((images.to(settings.device).float() - mean) * scale)
    told.cpu()  # whatever a device has to say against it, it says by then
    return train


def _check_room(images: ImageCache, settings: FinetuneSettings) -> None:
    """See whether decoded images will find room where they are kept; beyond a full disk that is memory.

    Raises:
        EnvironmentFault: neither has room.
    """
    needed, place = images.to_come, cache_folder(settings)
    _, memory = resources.memory()
    disk = 0 if images.in_memory or place is None else resources.free_disk(place)
    if memory is not None and needed > max(disk, memory):
        raise EnvironmentFault(
            f"Decoded images take up to {needed / 1e9:.1f} GB, and there are {memory / 1e9:.1f} GB of memory "
            f"and {disk / 1e9:.1f} GB of disk for them. Make room, name a folder on another disk "
            "(objective.settings.cache_dir=DIR), or bound them: objective.settings.cache_mb=MB; images "
            "beyond it are decoded in every epoch."
        )


def _fault(models: list[str], error: Exception, device: str) -> EnvironmentFault:
    said = describe(error)
    if is_out_of_memory(error):
        return EnvironmentFault(
            f"There is not even memory for {models[0]}, the smallest model, on the device {device} ({said}). "
            "Others may hold it (on a GPU nvidia-smi tells who): wait for them, choose another one by "
            "CUDA_VISIBLE_DEVICES, or train on the CPU (trainer=cpu)."
        )
    fault = EnvironmentFault(
        f"No model takes images here, tried with {', '.join(models)} on the device {device}: {said}. `python "
        "-m qtt.doctor` looks at packages and devices."
    )
    fault.__cause__ = error
    return fault
