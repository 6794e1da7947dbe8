"""Texture classes: random fields with a class's spectrum, sums of gratings, and a pointwise nonlinearity.

Notation: C classes, J components a class, B images, S pixels a side; frequencies in cycles per image side.
  field(x) = mix * lattice(x) + (1 - mix) * noise(x), both of unit variance
  lattice(x) = sum_j amplitude_j cos(2 pi f_j . x + phase_j)
  noise: white noise filtered by |f|^(-slope) plus one oriented band a component
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
COMPONENTS = 3
NONLINEARITIES = 6


@dataclass(frozen=True)
class Textures:
    """Parameters of C texture classes: per component (C, J), per class (C,)."""

    frequency: Array
    angle: Array
    amplitude: Array
    bandwidth: Array
    slope: Array
    mix: Array
    nonlinearity: NDArray[np.int64]
    gain: Array

    def __len__(self) -> int:
        return len(self.slope)


def sample_textures(rng: np.random.Generator, count: int) -> Textures:
    """`count` random texture classes, from clouds over scratches and speckle to stripes and lattices."""
    shape = (count, COMPONENTS)
    mix = np.where(rng.random(count) < 0.45, rng.uniform(0.6, 1.0, count), rng.uniform(0.0, 0.15, count))
    return Textures(
        frequency=np.exp(rng.uniform(np.log(2.0), np.log(20.0), shape)).astype(np.float32),
        angle=rng.uniform(0, np.pi, shape).astype(np.float32),
        amplitude=(rng.uniform(0.1, 1.0, shape) ** 2).astype(np.float32),
        bandwidth=rng.uniform(0.05, 0.5, shape).astype(np.float32),
        slope=rng.uniform(0.6, 2.2, count).astype(np.float32),
        mix=mix.astype(np.float32),
        nonlinearity=np.arange(count) % NONLINEARITIES,
        gain=rng.uniform(0.7, 2.5, count).astype(np.float32),
    )


def render(rng: np.random.Generator, textures: Textures, label: NDArray[np.int64], size: int) -> Array:
    """Textures of classes `label` (B,), each with its own phase, turn and scale: (B, S, S) in 0...1."""
    batch = len(label)
    turn = 0.25 * rng.standard_normal((batch, 1))
    stretch = np.exp(0.2 * rng.standard_normal((batch, 1)))
    frequency = (textures.frequency[label] * stretch).astype(np.float32)
    angle = (textures.angle[label] + turn).astype(np.float32)
    amplitude = textures.amplitude[label]
    mix = textures.mix[label][:, None, None]
    field = mix * _unit(_lattice(rng, frequency, angle, amplitude, size)) + (1 - mix) * _unit(
        _noise(rng, frequency, angle, amplitude, textures.bandwidth[label], textures.slope[label], size)
    )
    shaped = shape_values(_unit(field) * textures.gain[label][:, None, None], textures.nonlinearity[label])
    return to_unit_interval(shaped)


def shape_values(field: Array, kind: NDArray[np.int64]) -> Array:
    """Field (B, S, S) through the nonlinearity of each image's kind (B,), 0 to 5."""
    result = field.copy()
    functions: tuple[Callable[[Array], Array], ...] = (np.tanh, np.abs, _ripples, _patches, _ridges, np.exp)
    for index, function in enumerate(functions):
        chosen = kind == index
        result[chosen] = function(field[chosen])
    return result


def to_unit_interval(field: Array) -> Array:
    """Every image of (B, S, S) scaled so that its 2nd and 98th percentiles are 0 and 1, and clipped."""
    low, high = np.percentile(field.reshape(len(field), -1)[:, ::3], [2, 98], axis=1)[..., None, None]
    result: Array = np.clip((field - low) / np.maximum(high - low, 1e-6), 0, 1).astype(np.float32)
    return result


def _ripples(field: Array) -> Array:
    result: Array = np.sin(3 * field)
    return result


def _patches(field: Array) -> Array:
    result: Array = np.tanh(6 * (field - 0.4)) + 0.2 * field
    return result


def _ridges(field: Array) -> Array:
    result: Array = np.exp(-6 * field**2)
    return result


def _unit(field: Array) -> Array:
    centred = field - field.mean((1, 2), keepdims=True)
    result: Array = centred / (centred.std((1, 2), keepdims=True) + 1e-6)
    return result


def _lattice(rng: np.random.Generator, frequency: Array, angle: Array, amplitude: Array, size: int) -> Array:
    axis = np.arange(size, dtype=np.float32) / size
    phase = rng.uniform(0, 2 * np.pi, frequency.shape).astype(np.float32)
    across = 2 * np.pi * (frequency * np.cos(angle))[..., None, None] * axis[None, None, None, :]
    down = 2 * np.pi * (frequency * np.sin(angle))[..., None, None] * axis[None, None, :, None]
    waves = amplitude[..., None, None] * np.cos(across + down + phase[..., None, None])
    result: Array = waves.sum(1)
    return result


def _noise(
    rng: np.random.Generator,
    frequency: Array,
    angle: Array,
    amplitude: Array,
    bandwidth: Array,
    slope: Array,
    size: int,
) -> Array:
    fy = np.fft.fftfreq(size, 1 / size)[:, None].astype(np.float32)
    fx = np.fft.rfftfreq(size, 1 / size)[None, :].astype(np.float32)
    radius = np.maximum(np.hypot(fx, fy), 0.5)
    gain = radius[None] ** (-slope[:, None, None])
    for j in range(frequency.shape[1]):
        f, w = frequency[:, j, None, None], bandwidth[:, j, None, None]
        along = fx * np.cos(angle[:, j, None, None]) + fy * np.sin(angle[:, j, None, None])
        beside = fy * np.cos(angle[:, j, None, None]) - fx * np.sin(angle[:, j, None, None])
        distance = ((np.abs(along) - f) / (w * f + 0.7)) ** 2 + (beside / (2 * w * f + 0.7)) ** 2
        gain = gain + amplitude[:, j, None, None] * np.exp(-0.5 * distance) / (w * f + 0.7)
    white = np.fft.rfft2(rng.standard_normal((len(slope), size, size), np.float32))
    result: Array = np.fft.irfft2(white * gain, s=(size, size)).astype(np.float32)
    return result
