"""Shape classes and their masks: attractors of iterated function systems, harmonic contours and glyphs.

Contours with sinusoidal radius follow the idea of Takashima et al., "Visual Atoms" (CVPR 2023, section 3).

Notation: B shapes, S pixels a side. A pose maps shape coordinates in [-1, 1]^2 into the image's [-1, 1]^2:
  turn   (B, 2, 2)   rotation, anisotropic scale and slant
  centre (B, 2)
"""

from dataclasses import dataclass
from typing import Any

import fractals
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Array = NDArray[np.floating[Any]]
Labels = NDArray[np.int64]
HARMONICS = 3
KNOTS = 6
STROKE_POINTS = 96
JITTER = 0.04


@dataclass(frozen=True)
class Pose:
    """Where shapes lie in their images; see the module's docstring."""

    turn: Array
    centre: Array

    def place(self, points: Array) -> Array:
        """Shape points (B, P, 2) in image coordinates."""
        return points @ self.turn.swapaxes(-1, -2) + self.centre[:, None]

    def grid(self, size: int) -> Array:
        """Shape coordinates of every pixel of the images, (B, S, S, 2)."""
        axis = (np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1
        pixels = np.stack(np.meshgrid(axis, axis, indexing="xy"), -1)
        inverse: Array = np.linalg.inv(self.turn)
        return (pixels[None] - self.centre[:, None, None]) @ inverse.swapaxes(-1, -2)[:, None]


def sample_pose(rng: np.random.Generator, batch: int, low: float, high: float, spin: float) -> Pose:
    """Random poses of scale `low` to `high` (1 fills the image), turned by about `spin` radians."""
    scale = rng.uniform(low, high, batch)
    aspect = np.exp(0.15 * rng.standard_normal(batch))
    stretch = np.zeros((batch, 2, 2))
    stretch[:, 0, 0], stretch[:, 1, 1] = scale * aspect, scale / aspect
    stretch[:, 0, 1] = 0.15 * scale * rng.standard_normal(batch)
    turn = fractals.rotations((spin * rng.standard_normal(batch)).astype(np.float32)) @ stretch
    reach = np.maximum(1.0 - scale, 0.1)[:, None]
    return Pose(turn.astype(np.float32), (reach * rng.uniform(-1, 1, (batch, 2))).astype(np.float32))


@dataclass(frozen=True)
class Contours:
    """Classes of closed curves r(t) = 1 + sum_k a_k cos(f_k t + phase_k), all (C, HARMONICS)."""

    frequency: Array
    amplitude: Array
    phase: Array

    def __len__(self) -> int:
        return len(self.phase)


@dataclass(frozen=True)
class Glyphs:
    """Pen strokes: smooth paths by the first `used` (C,) of knots (C, KNOTS, 2), with a jump at `lift`."""

    knots: Array
    used: Labels
    lift: Labels

    def __len__(self) -> int:
        return len(self.used)


def sample_contours(rng: np.random.Generator, count: int) -> Contours:
    """`count` random contour classes, from pebbles and polygons to stars and gears."""
    shape = (count, HARMONICS)
    frequency = rng.integers(2, 10, shape).astype(np.float32)
    amplitude = rng.uniform(0.05, 0.5, shape) * rng.choice([0.0, 1.0], shape, p=[0.3, 0.7])
    amplitude[:, 0] = rng.uniform(0.1, 0.45, count)
    total = np.maximum(amplitude.sum(-1, keepdims=True) / 0.7, 1.0)
    return Contours(
        frequency,
        (amplitude / total).astype(np.float32),
        rng.uniform(-np.pi, np.pi, shape).astype(np.float32),
    )


def sample_glyphs(rng: np.random.Generator, count: int) -> Glyphs:
    """`count` random glyph classes of four to six knots; about a third have a pen lift."""
    knots = rng.uniform(-1, 1, (count, KNOTS, 2))
    low, high = knots.min(1, keepdims=True), knots.max(1, keepdims=True)
    knots = 1.8 * (knots - low) / (high - low) - 0.9
    used = rng.integers(4, KNOTS + 1, count)
    lift = np.where(rng.random(count) < 0.35, rng.integers(1, KNOTS - 1, count), -1)
    return Glyphs(knots.astype(np.float32), used, lift)


def fractal_masks(
    rng: np.random.Generator, systems: fractals.Systems, label: Labels, pose: Pose, size: int
) -> tuple[Array, Array]:
    """Opacity and inner colour of attractors, both (B, S, S) in 0...1."""
    chosen = systems.take(label).jittered(rng, JITTER)
    points, colours = fractals.chaos_game(rng, chosen)
    placed = pose.place(fractals.normalised(points))
    density = fractals.histogram(placed, size)
    address = fractals.histogram(placed, size, colours) / np.maximum(density, 1)
    level = density.sum((1, 2), keepdims=True) / np.maximum((density > 0).sum((1, 2), keepdims=True), 1)
    softness = rng.uniform(0.3, 0.8, len(label))[:, None, None]
    opacity = 1 - np.exp(-gaussian_filter(density, (0, 0.55, 0.55)) / np.maximum(softness * level, 0.2))
    return opacity.astype(np.float32), address


def contour_masks(
    rng: np.random.Generator, contours: Contours, label: Labels, pose: Pose, size: int
) -> tuple[Array, Array]:
    """Opacity (filled, outlined or ringed curves) and distance from the rim, both (B, S, S) in 0...1."""
    batch = len(label)
    grid = pose.grid(size)
    radius, theta = np.hypot(grid[..., 0], grid[..., 1]), np.arctan2(grid[..., 1], grid[..., 0])
    amplitude = contours.amplitude[label] * np.exp(3 * JITTER * rng.standard_normal((batch, HARMONICS)))
    phase = contours.phase[label] + 2 * JITTER * rng.standard_normal((batch, HARMONICS))
    frequency = contours.frequency[label]
    rim = np.ones_like(radius)
    for k in range(HARMONICS):
        a, f, p = (value[:, k, None, None].astype(np.float32) for value in (amplitude, frequency, phase))
        rim += a * np.cos(f * theta + p)
    inside = 0.62 * rim - radius
    pixel = 2 / size / np.sqrt(np.abs(np.linalg.det(pose.turn)))[:, None, None]
    filled = _edge(inside, pixel)
    width = pixel * rng.uniform(1.0, 4.0, (batch, 1, 1))
    outline = _edge(width - np.abs(inside), pixel)
    rings = filled * _edge(np.cos(inside * rng.uniform(20, 45, (batch, 1, 1))), 0.3)
    kind = rng.choice(3, (batch, 1, 1), p=[0.5, 0.3, 0.2])
    opacity = np.where(kind == 0, filled, np.where(kind == 1, outline, rings))
    return opacity.astype(np.float32), np.clip(inside / 0.6, 0, 1).astype(np.float32)


def glyph_masks(
    rng: np.random.Generator, glyphs: Glyphs, label: Labels, pose: Pose, size: int
) -> tuple[Array, Array]:
    """Opacity of pen strokes and the place along the stroke, both (B, S, S) in 0...1."""
    batch = len(label)
    knots = glyphs.knots[label] + 1.6 * JITTER * rng.standard_normal((batch, KNOTS, 2)).astype(np.float32)
    path, drawn = stroke_path(knots, glyphs.used[label], glyphs.lift[label])
    placed = np.where(drawn[..., None], pose.place(path), 9.0).astype(np.float32)
    axis = (np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1
    across = (axis[None, :, None] - placed[:, None, :, 0]) ** 2
    down = (axis[None, :, None] - placed[:, None, :, 1]) ** 2
    square = down[:, :, None, :] + across[:, None, :, :]
    nearest = square.argmin(-1)
    distance = np.sqrt(np.take_along_axis(square, nearest[..., None], -1)[..., 0])
    width = (2 / size) * rng.uniform(0.8, 3.2, (batch, 1, 1))
    opacity = _edge(width - distance, 2 / size)
    return opacity.astype(np.float32), (nearest / np.float32(STROKE_POINTS - 1)).astype(np.float32)


def stroke_path(knots: Array, used: Labels, lift: Labels) -> tuple[Array, NDArray[np.bool_]]:
    """Catmull-Rom path through the first `used` (B,) of knots (B, KNOTS, 2).

    Returns points (B, STROKE_POINTS, 2) and whether the pen is down there (B, STROKE_POINTS): it is up on the
    segment that starts at knot `lift` (B,), nowhere for -1.
    """
    rows = np.arange(len(used))[:, None]
    time = np.linspace(0, 1, STROKE_POINTS, dtype=np.float32)[None] * (used - 1)[:, None]
    segment = np.minimum(time.astype(np.int64), (used - 2)[:, None])
    t = (time - segment).astype(np.float32)[..., None]
    last = (used - 1)[:, None]
    before, start = knots[rows, np.maximum(segment - 1, 0)], knots[rows, segment]
    end, after = knots[rows, segment + 1], knots[rows, np.minimum(segment + 2, last)]
    path = 0.5 * (
        2 * start
        + (end - before) * t
        + (2 * before - 5 * start + 4 * end - after) * t**2
        + (3 * start - before - 3 * end + after) * t**3
    )
    return path.astype(np.float32), segment != lift[:, None]


def _edge(signed: Array, softness: Array | float) -> Array:
    """1 where `signed` is well above 0, 0 well below, over a rim of `softness`."""
    result: Array = 0.5 + 0.5 * np.tanh(signed / softness)
    return result
