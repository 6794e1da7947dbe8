"""The pretraining set on disk: scenes drawn once into uint8 arrays, chunk by chunk, resumable."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scenes
from numpy.typing import NDArray

CHUNK = 500
SIDE = 72


@dataclass(frozen=True)
class ImageSet:
    """Images (N, SIDE, SIDE, 3) uint8 and labels (N, 3) int64, -1 where an image shows none of the kind."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    class_counts: tuple[int, int, int]


def draw_chunk(world: scenes.World, seed: int, chunk: int) -> scenes.Scenes:
    """Scenes of one chunk: a function of the world, the seed and the chunk's number alone."""
    parts = [
        scenes.draw(np.random.default_rng([seed, 1, chunk, part]), world, CHUNK // 2, SIDE)
        for part in range(2)
    ]
    return scenes.Scenes(
        np.concatenate([part.images for part in parts]), np.concatenate([part.labels for part in parts])
    )


def load_or_draw(cache: Path, seed: int, count: int) -> ImageSet:
    """`count` scenes (rounded up to whole chunks) from the folder `cache`, drawn first where it has fewer."""
    folder = cache / f"seed{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    world = scenes.make_world(seed)
    images, labels = [], []
    for chunk in range(-(-count // CHUNK)):
        path = folder / f"{chunk:04d}.npz"
        if not path.exists():
            drawn = draw_chunk(world, seed, chunk)
            partial = path.with_suffix(".partial.npz")
            np.savez(partial, images=drawn.images, labels=drawn.labels)
            partial.replace(path)
        with np.load(path, allow_pickle=False) as stored:
            images.append(stored["images"])
            labels.append(stored["labels"])
    return ImageSet(np.concatenate(images), np.concatenate(labels), world.class_counts)
