"""Images per second of every augmentation: Pillow on each image, and whole batches on a device.

python experiments/finetune_speed/augmentation.py [--device cuda] [--rounds N] [--sides PX …] [--csv FILE]

Both sides in one process, in turns, on soft colours with noise; one thread, on the CPU its processor time,
which other programs disturb little. `plan` is what a core does for a batch that a device augments: gather the
images from memory and draw what happens to them. Medians over the rounds; ± is half the interquartile range.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from rich.console import Console

from qtt.evaluation.memory import keep_memory
from qtt.finetune.cv.classification.batch_augment import BatchTransform, PlannedImages
from qtt.finetune.cv.classification.cache import channels_first
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.finetune.cv.classification.transforms import TrainTransform
from qtt.support.machine import choose_device, on_gpu

BATCH = 64
MEAN = (0.485, 0.456, 0.406)
CASES: dict[str, dict[str, Any]] = {
    "crops": {},
    "trivial": {"data_augmentation": "trivial_augment"},
    "rand 2 of 9": {"data_augmentation": "random_augment", "ra_num_ops": 2, "ra_magnitude": 9},
    "rand 3 of 17": {"data_augmentation": "random_augment", "ra_num_ops": 3, "ra_magnitude": 17},
    "auto v0": {"data_augmentation": "auto_augment", "auto_augment": "v0"},
    "auto original": {"data_augmentation": "auto_augment", "auto_augment": "original"},
}
"""Crops of at least 70 % of the image are part of all of them."""


def main() -> None:
    """Measure every case at every size and print one row for each."""
    parser = argparse.ArgumentParser(description="Images per second of augmentations.")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of either side")
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 224], help="of the images in pixels")
    parser.add_argument("--csv", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    device = torch.device(choose_device(arguments.device))
    rows = [
        {"px": side, "augmentation": name} | measure(options, side, device, arguments.rounds)
        for side in arguments.sides
        for name, options in CASES.items()
    ]
    Console(soft_wrap=True).print(pd.DataFrame(rows).to_string(index=False, float_format="%.2f"))
    if arguments.csv:
        pd.DataFrame(rows).to_csv(arguments.csv, index=False, float_format="%.4f")


def measure(options: dict[str, Any], side: int, device: torch.device, rounds: int) -> dict[str, float]:
    """Images per second of either side, their ratio, and what a plan costs."""
    settings, recipe = FinetuneSettings(), Recipe("none", **options)
    one_by_one = TrainTransform(recipe, settings, MEAN, side)
    at_once = BatchTransform(recipe, settings, MEAN, side)
    store = photos(4 * BATCH, side)
    rng = np.random.default_rng(0)
    measured = []
    for seed in range(rounds + 1):
        indices = rng.permutation(len(store))[:BATCH]
        batch = channels_first(store[indices])
        there = at_once(batch, seed).to(device)
        measured.append(
            {
                "Pillow": BATCH / seconds(partial(one_by_one, batch.clone(), seed)),
                "batches": BATCH / seconds(there.augmented, device),
                "plan": BATCH / seconds(partial(planned, store, indices, at_once, seed)),
            }
        )
    table = pd.DataFrame(measured[1:])
    table["batches / Pillow"] = table["batches"] / table["Pillow"]
    spread = (table["batches / Pillow"].quantile(0.75) - table["batches / Pillow"].quantile(0.25)) / 2
    return {**table.median().to_dict(), "±": float(spread)}


def planned(store: Any, indices: Any, transform: BatchTransform, seed: int) -> PlannedImages:
    """A batch of decoded images, taken as the cache takes it, and its plan."""
    return transform(channels_first(np.take(store, indices, axis=0)), seed)


def seconds(work: Callable[[], Any], device: torch.device | None = None) -> float:
    """Processor time on the CPU, and time until it is done on a GPU."""
    gpu = device is not None and on_gpu(device.type)
    clock = time.perf_counter if gpu else time.process_time
    if gpu:
        torch.cuda.synchronize()
    start = clock()
    work()
    if gpu:
        torch.cuda.synchronize()
    return clock() - start


def photos(count: int, side: int) -> Any:
    """Soft colours and noise, (count, side, side, 3) uint8."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    soft = np.stack([np.asarray(Image.fromarray(image).resize((side, side))) for image in coarse])
    return np.clip(soft.astype(np.int16) + rng.integers(-20, 21, soft.shape), 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
