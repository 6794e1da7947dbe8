"""Iterated function systems: sampling them, and drawing their attractors by a batched chaos game.

A system is a set of affine maps x -> A_k x + b_k of the plane, chosen with probability p_k at each step
(Barnsley 1988). Images of such systems, labelled by the system, are the pretraining data of
Kataoka et al., "Pre-training without Natural Images" (ACCV 2020, section 3).

Notation: C systems, K maps a system (unused maps have probability 0), B systems drawn at once, P points.
  angles  (C, K, 2)  radians      A_k = R(angles[..., 0]) diag(scales) R(angles[..., 1])
  scales  (C, K, 2)  singular values of A_k, signed; contraction means |scale| < 1
  shifts  (C, K, 2)  b_k
  weights (C, K)     p_k, a row sums to 1
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
LARGEST_SCALE = 0.95
MAX_MAPS = 6
COVERAGE_GRID = 32


@dataclass(frozen=True)
class Systems:
    """A batch of iterated function systems; shapes as above. Raises ValueError where one expands."""

    angles: Array
    scales: Array
    shifts: Array
    weights: Array

    def __post_init__(self) -> None:
        if not self.scales.shape == self.angles.shape == self.shifts.shape == (*self.weights.shape, 2):
            raise ValueError(f"angles, scales and shifts must be (C, K, 2) for weights {self.weights.shape}.")
        largest = float(np.abs(self.scales).max(initial=0.0))
        if largest > LARGEST_SCALE:
            raise ValueError(f"A map scales by {largest:.3f}; contraction needs at most {LARGEST_SCALE}.")

    def __len__(self) -> int:
        return len(self.weights)

    def take(self, index: NDArray[np.int64]) -> "Systems":
        """The systems at `index` (B,), with repetition."""
        return Systems(self.angles[index], self.scales[index], self.shifts[index], self.weights[index])

    def jittered(self, rng: np.random.Generator, strength: float) -> "Systems":
        """Neighbours of the systems: the within-class variation of Kataoka et al., here by relative noise."""
        shape = self.scales.shape
        scales = self.scales * np.exp(strength * rng.standard_normal(shape))
        return Systems(
            (self.angles + strength * rng.standard_normal(shape)).astype(np.float32),
            np.clip(scales, -LARGEST_SCALE, LARGEST_SCALE).astype(np.float32),
            (self.shifts + strength * rng.standard_normal(shape)).astype(np.float32),
            self.weights,
        )


def rotations(angles: Array) -> Array:
    """(...,) radians -> (..., 2, 2) rotation matrices."""
    cos, sin = np.cos(angles), np.sin(angles)
    return np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)


def matrices(systems: Systems) -> Array:
    """The linear parts A_k, (C, K, 2, 2)."""
    left, right = rotations(systems.angles[..., 0]), rotations(systems.angles[..., 1])
    return (left * systems.scales[..., None, :]) @ right


def propose(rng: np.random.Generator, count: int) -> Systems:
    """`count` random contractive systems of 2 to 6 maps, not yet checked for degenerate attractors.

    Singular values are drawn so that sum_k (s_k1 + 2 s_k2) lies near (5 + K)/2 ... (6 + K)/2, the range in
    which attractors have good geometry (Anderson and Farrell, "Improving Fractal Pre-training", WACV 2022).
    """
    used = rng.integers(2, MAX_MAPS + 1, size=count)
    active = np.arange(MAX_MAPS) < used[:, None]
    pair = np.sort(rng.uniform(0.15, 1.0, size=(count, MAX_MAPS, 2)), axis=-1)[..., ::-1]
    total = ((pair[..., 0] + 2 * pair[..., 1]) * active).sum(-1)
    target = (5 + used + rng.uniform(size=count)) / 2
    pair = np.minimum(pair * (target / total)[:, None, None], 0.9)
    signs = rng.choice([-1.0, 1.0], size=pair.shape)
    weights = (pair.prod(-1) + 0.02) * active
    return Systems(
        rng.uniform(-np.pi, np.pi, size=pair.shape).astype(np.float32),
        (pair * signs).astype(np.float32),
        rng.uniform(-1, 1, size=pair.shape).astype(np.float32),
        (weights / weights.sum(-1, keepdims=True)).astype(np.float32),
    )


def chaos_game(
    rng: np.random.Generator, systems: Systems, particles: int = 384, steps: int = 20, burn_in: int = 14
) -> tuple[Array, Array]:
    """Points on the attractors by running many particles a few steps each.

    Returns points (B, P, 2) with P = particles * steps, and colour (B, P) in 0...1: the address of the last
    maps taken, so that parts of a fractal can be told apart.
    """
    batch = len(systems)
    linear, shifts = matrices(systems).reshape(-1, 2, 2), systems.shifts.reshape(-1, 2)
    edges = systems.weights.cumsum(-1)[:, None, :-1]
    offset = (np.arange(batch) * MAX_MAPS)[:, None]
    point = np.zeros((batch, particles, 2), np.float32)
    colour = np.full((batch, particles), 0.5, np.float32)
    points, colours = [], []
    for step in range(burn_in + steps):
        choice = (rng.random((batch, particles, 1), np.float32) > edges).sum(-1)
        index = choice + offset
        a, b = linear[index], shifts[index]
        x, y = point[..., 0], point[..., 1]
        point = np.stack([a[..., 0, 0] * x + a[..., 0, 1] * y, a[..., 1, 0] * x + a[..., 1, 1] * y], -1) + b
        colour = 0.5 * colour + 0.5 * choice.astype(np.float32) / (MAX_MAPS - 1)
        if step >= burn_in:
            points.append(point)
            colours.append(colour)
    return np.concatenate(points, 1), np.concatenate(colours, 1)


def normalised(points: Array) -> Array:
    """Points (B, P, 2) moved and scaled so that their middle 98 % fill [-1, 1] in the longer direction."""
    sample = points[:, :: max(1, points.shape[1] // 1024)]
    low, high = np.percentile(sample, [1, 99], axis=1)
    half = np.maximum((high - low).max(-1, keepdims=True) / 2, 1e-3)
    result: Array = ((points - ((high + low) / 2)[:, None]) / half[:, None]).astype(np.float32)
    return result


def histogram(points: Array, size: int, values: Array | None = None) -> Array:
    """Points (B, P, 2) in [-1, 1] counted on (B, size, size) pixels, or `values` (B, P) summed there."""
    batch = len(points)
    cell = np.floor((points + 1) * (size / 2)).astype(np.int64)
    inside = ((cell >= 0) & (cell < size)).all(-1)
    flat = (np.arange(batch)[:, None] * size + cell[..., 1]) * size + cell[..., 0]
    weights = None if values is None else values[inside]
    total = np.bincount(flat[inside], weights=weights, minlength=batch * size * size)
    return total.reshape(batch, size, size).astype(np.float32)


def coverage(points: Array) -> Array:
    """(B, P, 2) -> (B,) share of a 32 x 32 grid over the attractor's bounding square that it touches."""
    touched: Array = (histogram(normalised(points), COVERAGE_GRID) > 0).mean((1, 2), dtype=np.float32)
    return touched


def sample_systems(rng: np.random.Generator, count: int, low: float = 0.12, high: float = 0.75) -> Systems:
    """`count` systems whose attractors are neither close to points (coverage < low) nor blobs (> high)."""
    kept: list[Systems] = []
    missing = count
    while missing > 0:
        proposal = propose(rng, 2 * count)
        share = coverage(chaos_game(rng, proposal, particles=128, steps=16)[0])
        good = np.flatnonzero((share >= low) & (share <= high))[:missing]
        kept.append(proposal.take(good))
        missing -= len(good)
    return Systems(
        np.concatenate([part.angles for part in kept]),
        np.concatenate([part.scales for part in kept]),
        np.concatenate([part.shifts for part in kept]),
        np.concatenate([part.weights for part in kept]),
    )
