"""Acquisition functions of Quick-Tune: multi-fidelity expected improvement per second.

Notation: n candidates, T = largest fidelity, Δt = epochs of one step.
  mean, std  (n,)   predicted score at the fidelity t + Δt that each candidate would reach next, std > 0
  best       (n,)   best score seen so far at that fidelity, or below it
  cost       (n,)   predicted seconds of that step, > 0
  xi         ()     exploration offset ξ ≥ 0, in units of the score
All of them float64 arrays; all functions are pure.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, expit, log_ndtr, logit, ndtr

from qtt.errors import PredictionError
from qtt.runs.history import History
from qtt.types import Prediction

Array = NDArray[np.float64]

_LOG_SQRT_2PI = 0.5 * np.log(2.0 * np.pi)
_SQRT_HALF_PI = np.sqrt(0.5 * np.pi)
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
SPAN = np.sqrt(40.0)
"""Standard deviations beyond which a normal density is e⁻²⁰ of its largest value."""

_TINY = 1e-12
"""Gains below it are ties: what is left of them is the cost."""


def log_h(z: Array) -> Array:
    """log(φ(z) + z Φ(z)) for any z, without underflow.

    For z < -1 the two terms nearly cancel; there φ is taken out, h(z) = φ(z) (1 - |z| Φ(z)/φ(z)), with
    Φ(z)/φ(z) = √(π/2) erfcx(|z|/√2). Far out, 1 - |z| Φ(z)/φ(z) → z⁻² (Ament et al. 2023, section 4.1).
    """
    z = np.asarray(z, dtype=np.float64)
    upper = np.maximum(z, -1.0)
    direct = np.log(np.exp(-0.5 * upper**2 - _LOG_SQRT_2PI) + upper * np.exp(log_ndtr(upper)))
    distance = np.clip(-z, 1.0, 1e4)
    tail = np.log1p(-distance * _SQRT_HALF_PI * erfcx(distance / np.sqrt(2.0)))
    far = -2.0 * np.log(np.maximum(-z, 1.0))
    remainder = np.where(z > -1e4, tail, far)
    return np.asarray(np.where(z > -1.0, direct, -0.5 * z**2 - _LOG_SQRT_2PI + remainder))


def log_expected_improvement(mean: Array, std: Array, best: Array, xi: float = 0.0) -> Array:
    """Log E[max(0, y - best - ξ)] for y ~ N(mean, std²), stable far below `best`; (n,).

    EI = (μ - best - ξ) Φ(z) + σ φ(z) with z = (μ - best - ξ)/σ: ξ in both places.

    Raises:
        PredictionError: a mean is not finite, or a std not positive.
    """
    mean, std = np.asarray(mean, dtype=np.float64), np.asarray(std, dtype=np.float64)
    _check(mean, std)
    return log_h((mean - best - xi) / std) + np.log(std)


def improvement(prediction: Prediction, best: float | Array) -> tuple[Array, Array]:
    """Log expected improvement over `best` and its probability, on the scale of scores; both (n,).

    Logit-normal predictions are integrated over the scores above `best` alone.

    Raises:
        PredictionError: a mean is not finite, or a std not positive.
    """
    mean, std = prediction.mean, prediction.std
    if prediction.link == "identity":
        return log_expected_improvement(mean, std, np.broadcast_to(best, mean.shape)), ndtr(
            (mean - best) / std
        )
    _check(mean, std)
    inside = np.clip(np.broadcast_to(best, mean.shape), 1e-6, 1.0 - 1e-6)
    z = (logit(inside) - mean) / std
    return np.log(_logit_normal_gain(mean, std, inside, z) + _TINY), ndtr(-z)


def _logit_normal_gain(mean: Array, std: Array, best: Array, z: Array) -> Array:
    """E[max(0, y - best)] for logit y ~ N(mean, std²), and best z of them above the mean; (n,).

    Gauss-Legendre quadrature with 16 nodes, from z to where the density is e⁻²⁰ of its largest value there.
    """
    low = np.maximum(z, -SPAN)
    high = np.where(low > 0, np.sqrt(low**2 + SPAN**2), SPAN)
    half = 0.5 * (high - low)[:, None]
    nodes = low[:, None] + half * (1.0 + _NODES)
    gain = expit(mean[:, None] + std[:, None] * nodes) - best[:, None]
    density = np.exp(-0.5 * nodes**2 - _LOG_SQRT_2PI)
    return np.asarray((half * gain * density) @ _WEIGHTS)


def expected_epochs(epochs: Array, probability: Array, patience: float) -> Array:
    """Epochs that a pipeline is expected to get when it is given up after `patience` of them; (n,).

    Looking far ahead is cheap where one can stop: only with the probability that the pipeline will improve on
    the incumbent are all of its epochs trained.
    """
    surely = np.minimum(epochs, patience)
    return np.asarray(surely + probability * (epochs - surely))


def log_improvement_per_second(log_ei: Array, cost: Array, exponent: float = 1.0) -> Array:
    """Eq. (1) of Quick-Tune in log space, so the argmax is unchanged; (n,).

    exponent: α of EI / cost^α. Below 1 costs count for less, as where little can follow what is chosen now
        (cost cooling; Lee et al. 2020, "Cost-aware Bayesian Optimization").

    Raises:
        PredictionError: a cost is not a positive number of seconds.
    """
    cost = np.asarray(cost, dtype=np.float64)
    if not (np.isfinite(cost).all() and (cost > 0).all()):
        raise PredictionError(f"Costs must be positive seconds; the smallest is {np.min(cost):.3g}.")
    return log_ei - exponent * np.log(cost)


def multi_fidelity_best(history: History, fidelities: Iterable[int]) -> Array:
    """The score to beat at each fidelity (Quick-Tune, section on multi-fidelity EI); (n,).

    The best score seen at exactly that fidelity; when there is none, the best of the lower ones; when
    there is none either, the best of all.

    Raises:
        PredictionError: nothing was seen yet.
    """
    by_fidelity: dict[int, float] = {}
    for config_id in history.observed:
        for seen in history.curve(config_id):
            by_fidelity[seen.fidelity] = max(seen.score, by_fidelity.get(seen.fidelity, -np.inf))
    if not by_fidelity:
        raise PredictionError("There is no score to improve on yet; start with an initial pipeline.")

    def best_at(fidelity: int) -> float:
        if fidelity in by_fidelity:
            return by_fidelity[fidelity]
        lower = [score for seen, score in by_fidelity.items() if seen < fidelity]
        return max(lower or by_fidelity.values())

    asked = list(fidelities)
    table = {fidelity: best_at(fidelity) for fidelity in set(asked)}
    return np.array([table[fidelity] for fidelity in asked], dtype=np.float64)


def _check(mean: Array, std: Array) -> None:
    if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
        raise PredictionError("Predicted scores must be finite, with positive standard deviations.")
