"""Splitting a share of images off for validation: seeded, by class, and whole groups where there are any.

Notation: n images, G groups, C classes.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Sample = tuple[Path, int]
"""An image and the index of its class."""


def split_off(
    samples: Sequence[Sample], fraction: float, seed: int, groups: Sequence[str] | None = None
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Split every class at random into (rest, share); both keep the order of `samples`.

    A class of n ≥ 2 images gives between 1 and n − 1 of them, as near to n · fraction as possible (halves
    round up); a class of one image stays whole in the rest.

    groups: of every image, (n,); images of a group stay together, and shares come as near as groups allow. A
        class that lies in two groups or more is on both sides wherever that can be had.
    """
    labels = np.array([label for _, label in samples], dtype=np.int64)
    if groups is None:
        chosen = _by_class(labels, fraction, seed)
    else:
        chosen = _by_group(labels, np.unique(np.asarray(groups), return_inverse=True)[1], fraction, seed)
    rest = tuple(sample for sample, out in zip(samples, chosen, strict=True) if not out)
    return rest, tuple(sample for sample, out in zip(samples, chosen, strict=True) if out)


def _share(count: int, fraction: float) -> int:
    """How many of a class's images validate."""
    return min(max(math.floor(count * fraction + 0.5), 1), count - 1)


def _by_class(labels: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.bool_]:
    chosen = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) >= 2:
            rng = np.random.default_rng((seed, int(label)))
            chosen[rng.permutation(members)[: _share(len(members), fraction)]] = True
    return chosen


def _by_group(
    labels: NDArray[np.int64], groups: NDArray[np.int64], fraction: float, seed: int
) -> NDArray[np.bool_]:
    """Greedy: first a group for every class that validation lacks, the rarest first, then those that help.

    No group is taken that would leave the rest without a class.
    """
    classes, labels = np.unique(labels, return_inverse=True)
    counts = np.zeros((groups.max() + 1, len(classes)), dtype=np.int64)
    np.add.at(counts, (groups, labels), 1)
    total = counts.sum(0)
    wanted = np.array([_share(n, fraction) if n > 1 else 0 for n in total])
    places = (counts > 0).sum(0)
    taken = np.zeros(len(counts), dtype=bool)
    share = np.zeros(len(classes), dtype=np.int64)
    order = np.random.default_rng(seed).permutation(len(counts))

    def off(now: NDArray[np.int64]) -> float:
        return float((np.abs(now - wanted) / total).sum())

    def allowed(group: np.int64) -> bool:
        return not taken[group] and bool(((share + counts[group] < total) | (counts[group] == 0)).all())

    for label in np.argsort(places, kind="stable"):
        if places[label] > 1 and not share[label]:
            fitting = [group for group in order if counts[group, label] and allowed(group)]
            if fitting:
                best = min(fitting, key=lambda group: off(share + counts[group]))
                taken[best] = True
                share += counts[best]
    for group in order:
        if allowed(group) and off(share + counts[group]) < off(share):
            taken[group] = True
            share += counts[group]
    return taken[groups]
