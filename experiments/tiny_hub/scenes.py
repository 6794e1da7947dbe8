"""Labelled scenes: a shape of a class before a textured background of a class, in colours of a palette.

Every image has up to three labels, each -1 where the image shows none of that kind:
  shape    which iterated function system, contour or glyph is in front
  texture  which random field the background (or the shape's filling) follows
  palette  which four colours the background is made of
"""

from dataclasses import dataclass
from typing import Any

import fractals
import numpy as np
import shapes
import textures
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Array = NDArray[np.floating[Any]]
Labels = NDArray[np.int64]
PALETTE_COLOURS = 4
TEXTURE_ONLY, ON_PLAIN, ON_TEXTURE, ON_LEAVES = 0, 1, 2, 3
KIND_SHARES = (0.3, 0.3, 0.25, 0.15)
LEAVES = 24
GREY_SHARE = 0.2
PLATE_SHARE = 0.4


@dataclass(frozen=True)
class World:
    """All classes of a pretraining set. Shape classes are numbered: fractals, then contours, then glyphs."""

    systems: fractals.Systems
    contours: shapes.Contours
    glyphs: shapes.Glyphs
    textures: textures.Textures
    palettes: Array

    @property
    def num_shapes(self) -> int:
        """Shape classes of all three families together."""
        return len(self.systems) + len(self.contours) + len(self.glyphs)

    @property
    def class_counts(self) -> tuple[int, int, int]:
        """Classes of the three labels: shape, texture, palette."""
        return self.num_shapes, len(self.textures), len(self.palettes)


@dataclass(frozen=True)
class Scenes:
    """Images (B, S, S, 3) uint8 and labels (B, 3) int64: shape, texture, palette; -1 where there is none."""

    images: NDArray[np.uint8]
    labels: Labels


def make_world(
    seed: int,
    num_systems: int = 100,
    num_contours: int = 50,
    num_glyphs: int = 50,
    num_textures: int = 60,
    num_palettes: int = 32,
) -> World:
    """The classes that a seed stands for."""
    rng = np.random.default_rng([seed, 0])
    return World(
        fractals.sample_systems(rng, num_systems),
        shapes.sample_contours(rng, num_contours),
        shapes.sample_glyphs(rng, num_glyphs),
        textures.sample_textures(rng, num_textures),
        sample_palettes(rng, num_palettes),
    )


def sample_palettes(rng: np.random.Generator, count: int) -> Array:
    """`count` palettes of four colours, dark to light, with hues near two anchors: (count, 4, 3) in 0...1."""
    anchors = rng.uniform(0, 1, (count, 2, 1)) + 0.06 * rng.standard_normal((count, 2, 2))
    hue = anchors.reshape(count, PALETTE_COLOURS)
    saturation = rng.uniform(0.15, 0.95, (count, 1)) * rng.uniform(0.5, 1.0, (count, PALETTE_COLOURS))
    low, high = rng.uniform(0.0, 0.45, (count, 1)), rng.uniform(0.6, 1.0, (count, 1))
    value = low + (high - low) * np.sort(rng.random((count, PALETTE_COLOURS)), -1)
    return hsv_to_rgb(hue, saturation, value)


def hsv_to_rgb(
    hue: NDArray[np.floating], saturation: NDArray[np.floating], value: NDArray[np.floating]
) -> Array:
    """Hue (cycles), saturation and value (0...1), each (...,) -> (..., 3)."""
    wheel = (hue[..., None] * 6 + np.array([5.0, 3.0, 1.0])) % 6
    ramp = np.clip(np.minimum(wheel, 4 - wheel), 0, 1)
    result: Array = (value[..., None] * (1 - saturation[..., None] * ramp)).astype(np.float32)
    return result


def colourise(field: Array, palette: Array) -> Array:
    """Values (B, S, S) in 0...1 through palettes (B, 4, 3), linearly between neighbours: (B, S, S, 3)."""
    position = np.clip(field, 0, 1) * (PALETTE_COLOURS - 1)
    index = np.minimum(position.astype(np.int64), PALETTE_COLOURS - 2)
    share = (position - index)[..., None]
    rows = np.arange(len(field))[:, None, None]
    result: Array = palette[rows, index] * (1 - share) + palette[rows, index + 1] * share
    return result


def draw(rng: np.random.Generator, world: World, batch: int, size: int) -> Scenes:
    """`batch` random scenes of `size` pixels a side; the same generator state gives the same scenes."""
    kind = rng.choice(4, batch, p=KIND_SHARES)
    texture = rng.integers(len(world.textures), size=batch)
    palette = rng.integers(len(world.palettes), size=batch)
    shape = balanced_shapes(rng, world, batch)
    field = textures.render(rng, world.textures, texture, size)
    ground = np.where((kind == ON_PLAIN)[:, None, None], _plain(rng, batch, size), field)
    leafy = kind == ON_LEAVES
    ground[leafy] = leaves(rng, field[leafy])
    image = colourise(ground, _varied(rng, world.palettes[palette]))
    front = rng.permutation(batch)
    opacity, inner = _masks(rng, world, shape, shapes.sample_pose(rng, batch, 0.6, 1.0, 0.2), size)
    opacity[kind == TEXTURE_ONLY] = 0.0
    filling = _filling(rng, inner, field[front], image, world)
    image = _blend(rng, image, filling, opacity)
    image = _distract(rng, world, image, kind)
    image = _photograph(rng, image)
    grey = rng.random(batch) < GREY_SHARE
    image[grey] = image[grey].mean(-1, keepdims=True)
    plates = rng.random(batch) < PLATE_SHARE
    image[plates] = plate(rng, np.where((kind == TEXTURE_ONLY)[:, None, None], field, opacity)[plates])
    bare = np.isin(kind, (ON_PLAIN, ON_LEAVES)) | (plates & (kind != TEXTURE_ONLY))
    labels = np.stack(
        [
            np.where(kind == TEXTURE_ONLY, -1, shape),
            np.where(bare, -1, texture),
            np.where(grey | plates, -1, palette),
        ],
        1,
    )
    return Scenes(np.round(image * 255).astype(np.uint8), labels)


def plate(rng: np.random.Generator, field: Array) -> Array:
    """Fields (B, S, S) alone, as clean grey prints, half of them inverted: (B, S, S, 3).

    They are easy, and networks learn from them what to look for in the cluttered scenes.
    """
    inverted = rng.random((len(field), 1, 1)) < 0.5
    return np.repeat(np.where(inverted, 1 - field, field)[..., None], 3, -1)


def balanced_shapes(rng: np.random.Generator, world: World, batch: int) -> Labels:
    """Random shape labels (B,), each class equally likely."""
    return rng.integers(world.num_shapes, size=batch)


def leaves(rng: np.random.Generator, field: Array) -> Array:
    """Dead leaves: ellipses of all sizes, some filled from `field` (B, S, S), each over the earlier ones.

    Their overlaps give the occlusions and the scale invariance of natural images (Lee et al. 2001).
    """
    batch, size = field.shape[:2]
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size
    result = np.broadcast_to(rng.random((batch, 1, 1)), field.shape).astype(np.float32)
    for largest in np.geomspace(0.6, 0.08, LEAVES):
        value, x, y, angle = rng.random((4, batch, 1, 1)).astype(np.float32)
        radius = largest * rng.uniform(0.5, 1, (2, batch, 1, 1)).astype(np.float32)
        cos, sin = np.cos(np.pi * angle), np.sin(np.pi * angle)
        across, down = axis[None, None, :] - x, axis[None, :, None] - y
        along, beside = cos * across + sin * down, cos * down - sin * across
        covered = (along / radius[0]) ** 2 + (beside / radius[1]) ** 2 < 1
        textured = rng.random((batch, 1, 1)) < 0.4
        result = np.where(covered, np.where(textured, field, value), result)
    return result


def _plain(rng: np.random.Generator, batch: int, size: int) -> Array:
    """Flat values or linear gradients, (B, S, S) in 0...1."""
    axis = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    angle = rng.uniform(0, 2 * np.pi, (batch, 1, 1))
    slope = rng.uniform(0, 0.8, (batch, 1, 1)) * (rng.random((batch, 1, 1)) < 0.6)
    field = rng.random((batch, 1, 1)) + slope * (
        np.cos(angle) * axis[None, None, :] + np.sin(angle) * axis[None, :, None]
    )
    result: Array = np.clip(field, 0, 1).astype(np.float32)
    return result


def _varied(rng: np.random.Generator, palette: Array) -> Array:
    """Palettes (B, 4, 3) with small shifts of colour, brightness and contrast."""
    shift = 0.04 * rng.standard_normal((len(palette), 1, 3)) + 0.02 * rng.standard_normal(palette.shape)
    result: Array = np.clip(palette + shift, 0, 1).astype(np.float32)
    return result


def _masks(
    rng: np.random.Generator, world: World, shape: Labels, pose: shapes.Pose, size: int
) -> tuple[Array, Array]:
    """Opacity and inner values of shapes of all three families, both (B, S, S)."""
    opacity, inner = (np.zeros((len(shape), size, size), np.float32) for _ in range(2))
    first = 0
    for family, render in (
        (world.systems, shapes.fractal_masks),
        (world.contours, shapes.contour_masks),
        (world.glyphs, shapes.glyph_masks),
    ):
        chosen = np.flatnonzero((shape >= first) & (shape < first + len(family)))
        if len(chosen):
            part = shapes.Pose(pose.turn[chosen], pose.centre[chosen])
            opacity[chosen], inner[chosen] = render(rng, family, shape[chosen] - first, part, size)  # type: ignore[arg-type]
        first += len(family)
    return opacity, inner


def _filling(rng: np.random.Generator, inner: Array, field: Array, image: Array, world: World) -> Array:
    """The shapes' colours (B, S, S, 3): flat, by inner value or textured; brighter or darker than around."""
    batch = len(inner)
    source = rng.choice(3, (batch, 1, 1), p=[0.4, 0.35, 0.25])
    flat = np.broadcast_to(rng.random((batch, 1, 1)), inner.shape)
    palette = _varied(rng, world.palettes[rng.integers(len(world.palettes), size=batch)])
    filling = colourise(np.where(source == 0, flat, np.where(source == 1, inner, field)), palette)
    gap = filling.mean((1, 2, 3)) - image.mean((1, 2, 3))
    push = np.where(np.abs(gap) < 0.35, np.where(gap >= 0, 0.4, -0.4), 0.0)
    result: Array = np.clip(filling + push[:, None, None, None], 0, 1).astype(np.float32)
    return result


def _blend(rng: np.random.Generator, image: Array, filling: Array, opacity: Array) -> Array:
    """Shapes in front of the background: lit from one side, throwing a shadow."""
    batch = len(image)
    relief = gaussian_filter(opacity, (0, 1.2, 1.2))
    angle = rng.uniform(0, 2 * np.pi, (batch, 1, 1))
    down, across = np.gradient(relief, axis=(1, 2))
    light = 1.5 * rng.random((batch, 1, 1)) * (rng.random((batch, 1, 1)) < 0.5)
    shade = 1 + light * (np.cos(angle) * across + np.sin(angle) * down)
    shadow = np.roll(gaussian_filter(opacity, (0, 1.5, 1.5)), (2, 2), axis=(1, 2))
    depth = rng.uniform(0, 0.6, (batch, 1, 1)) * (rng.random((batch, 1, 1)) < 0.35)
    ground = image * (1 - depth * shadow)[..., None]
    result: Array = ground + opacity[..., None] * (filling * shade[..., None] - ground)
    return result


def _distract(rng: np.random.Generator, world: World, image: Array, kind: Labels) -> Array:
    """A small unlabelled shape somewhere, in a quarter of the images that have a shape."""
    batch, size = image.shape[:2]
    chosen = np.flatnonzero((rng.random(batch) < 0.25) & (kind != TEXTURE_ONLY))
    if not len(chosen):
        return image
    pose = shapes.sample_pose(rng, len(chosen), 0.1, 0.25, 1.5)
    opacity, _ = _masks(rng, world, balanced_shapes(rng, world, len(chosen)), pose, size)
    colour = rng.random((len(chosen), 1, 1, 3)).astype(np.float32)
    image[chosen] += opacity[..., None] * (colour - image[chosen])
    return image


def _photograph(rng: np.random.Generator, image: Array) -> Array:
    """Uneven light, exposure, blur and sensor noise; (B, S, S, 3) clipped to 0...1."""
    batch, size = image.shape[:2]
    lamp = 0.7 + 0.6 * _plain(rng, batch, size)
    contrast = np.exp(0.2 * rng.standard_normal((batch, 1, 1, 1)))
    image = (image * lamp[..., None] - 0.5) * contrast + 0.5 + 0.05 * rng.standard_normal((batch, 1, 1, 1))
    blurred = rng.random(batch) < 0.3
    image[blurred] = gaussian_filter(image[blurred], (0, 0.8, 0.8, 0))
    noise = rng.uniform(0, 0.08, (batch, 1, 1, 1)) ** 1.5 * 2
    image = image + noise * rng.standard_normal(image.shape, np.float32)
    result: Array = np.clip(image, 0, 1).astype(np.float32)
    return result
