"""How well a pretrained network suits a classification task, before anything is trained: LogME and LEEP.

LogME   You, Liu, Wang, Long: LogME: Practical Assessment of Pre-trained Models for Transfer Learning,
        ICML 2021
LEEP    Nguyen, Hassner, Seeger, Archambeau: LEEP: A New Measure to Evaluate Transferability of Learned
        Representations, ICML 2020

Notation: n training images, d features, r = min(n, d), k target classes, s source classes.
  F  (n, d)   frozen features                          σ  (r,)  squared singular values of F
  y  (n,)     labels; in LogME 1 for one class, else 0   z  (r,)  Uᵀy, where F = U S Vᵀ
  α, β > 0    precisions of the weights, w ~ N(0, I/α), and of the labels, y ~ N(Fw, I/β)

For both, higher is better.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import svd

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

ROUNDS, TOLERANCE = 1000, 1e-9
"""Most updates of α and β, and the gain of evidence an image at which they end."""
TINY = float(np.finfo(np.float64).tiny)
FLOOR = 1e-12
"""Least error as a share of ‖y‖²: below lies floating point, and labels that F explains have no maximum."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """What the evidence of labels y (n,) needs of F: σ (r,), z (r,), ‖y - UUᵀy‖², n."""

    sigma: Array
    z: Array
    outside: float
    n: int

    def posterior(self, alpha: float, beta: float) -> tuple[float, float, float]:
        """‖Fm - y‖², ‖m‖² and γ of the posterior mean m = β A⁻¹Fᵀy, A = αI + βFᵀF (LogME, section 4.1)."""
        precision = alpha + beta * self.sigma
        error = float(((alpha * self.z / precision) ** 2).sum()) + self.outside
        size = float((self.sigma * (beta * self.z / precision) ** 2).sum())
        return error, size, float((beta * self.sigma / precision).sum())

    def log_evidence(self, alpha: float, beta: float) -> float:
        """Of y, given F, α and β (LogME, Eq. 2); the d - r directions that F lacks cancel in it."""
        error, size, _ = self.posterior(alpha, beta)
        log_determinant = float(np.log(alpha + beta * self.sigma).sum()) - len(self.sigma) * math.log(alpha)
        fit = self.n * math.log(beta / (2 * math.pi)) - beta * error - alpha * size
        return 0.5 * (fit - log_determinant)

    def maximum(self) -> float:
        """The log evidence at the α and β that maximise it, by MacKay's updates (LogME, section 4.2).

        α ← γ / ‖m‖², β ← (n - γ) / ‖Fm - y‖², from α = β = 1.
        """
        alpha = beta = 1.0
        found = self.log_evidence(alpha, beta)
        least = FLOOR * (float(self.z @ self.z) + self.outside)
        for _ in range(ROUNDS):
            error, size, gamma = self.posterior(alpha, beta)
            alpha, beta = gamma / max(size, TINY), (self.n - gamma) / max(error, least)
            before, found = found, self.log_evidence(alpha, beta)
            if abs(found - before) < TOLERANCE * self.n:
                break
        return found


def logme(features: NDArray[np.floating], labels: Labels) -> float:
    """Maximum log evidence an image of features (n, d) for labels (n,), the mean over the classes.

    Raises:
        ValueError: the features are not finite, or all zero.
    """
    dense = np.asarray(features, dtype=np.float64)
    if not np.isfinite(dense).all() or not dense.any():
        raise ValueError("LogME needs finite features that are not all zero.")
    left, singular, _ = svd(dense, full_matrices=False)
    classes = (_spectrum(left, singular, labels == name) for name in np.unique(labels))
    return float(np.mean([spectrum.maximum() for spectrum in classes])) / len(labels)


def _spectrum(left: Array, singular: Array, member: NDArray[np.bool_]) -> Spectrum:
    y = member.astype(np.float64)
    z = left.T @ y
    return Spectrum(singular**2, z, max(float(y @ y - z @ z), 0.0), len(y))


def leep(probabilities: NDArray[np.floating], labels: Labels) -> float:
    """Mean log probability (LEEP, section 3) of labels (n,) by θ (n, s), the source's probabilities.

    Step 2: P(y, z) = Σ_{i: y_i = y} θ_iz / n and P(y | z) = P(y, z) / P(z). Step 3: the mean over the images
    of log Σ_z P(y_i | z) θ_iz.

    Raises:
        ValueError: the rows are no probabilities.
    """
    theta = np.asarray(probabilities, dtype=np.float64)
    if not (theta >= 0).all() or not np.allclose(theta.sum(1), 1.0, atol=1e-4):
        raise ValueError("LEEP needs probabilities of the source's classes: rows that sum to 1.")
    names, y = np.unique(labels, return_inverse=True)
    joint = np.eye(len(names))[y].T @ theta / len(y)
    conditional = joint / np.maximum(joint.sum(0), TINY)
    return float(np.log((conditional[y] * theta).sum(1)).mean())
