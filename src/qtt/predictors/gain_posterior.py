"""The exact posterior of gains over probes (`qtt.predictors.gains`), without a matrix of all gains seen.

Gains of one pipeline share their noise and what is its own, those of one model its effect, and all of them
the weights of d columns. So what is known of weights and effects is a sum, over pipelines, of small matrices;
what is known of a pipeline itself follows from its own points.

Notation: n candidates, m points of r pipelines, d columns ψ, g models that have points. ρ = share^`POWER`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ids = NDArray[np.int64]

POWER = 0.6
"""p of ρ(s) = s^p, how much of a gain is there at a share s of the schedule."""

MODEL_STD, OWN_STD, DIP_STD, NOISE_STD = 0.15, 0.25, 1.0, 0.15
"""τ of u, σ of ε, that of δ, and that of the noise of an epoch, in logits; found with the weights."""

LUCK_STD = 0.2
"""Of what a pipeline gains on some hundred validation images alone, the same in all epochs."""


@dataclass(frozen=True, eq=False)
class Points:
    """Gains seen: pipeline (m,), share of its schedule (m,), gain over its probe in logits (m,).

    Points of a pipeline follow each other.
    """

    run: Ids
    share: Array
    gain: Array


class GainPosterior:
    """Gains given points."""

    def __init__(self, features: Array, model: Ids, means: Array, stds: Array, points: Points) -> None:
        """Learn from the points.

        Args:
            features: φ of all candidates; (n, d - 1).
            model: of each candidate, any numbers from 0; (n,).
            means: of the weights of ψ = (ρ φ, (1 - share)²); (d,).
            stds: of the same; (d,).
            points: what was seen.
        """
        self._features = features
        self._means, self._stds = means, stds
        runs, moments = self._moments(points)
        seen, group = np.unique(model[runs], return_inverse=True)
        self._solve(moments, group, len(seen))
        places = np.full(int(model.max(initial=0)) + 1, len(seen))  # of none that has points: the last
        places[seen] = np.arange(len(seen))
        self._group = places[model]
        # what a pipeline's points say of itself, Fᵀ N⁻¹ ρ, ρᵀ N⁻¹ ρ and ρᵀ N⁻¹ y; the last row: without any
        self._own = np.concatenate([moments[:, len(means)], np.zeros((1, len(means) + 2))])
        self._row = np.full(len(features), len(runs))
        self._row[runs] = np.arange(len(runs))

    def predict(self, ids: Ids, share: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of gains until shares of schedules; both (k,)."""
        width = len(self._means)
        rho, group, own = share**POWER, self._group[ids], self._own[self._row[ids]]
        psi = self._columns(ids, share)
        kept = OWN_STD**2 * rho
        columns = psi * self._stds - kept[:, None] * own[:, :width]
        effect = MODEL_STD * (rho - kept * own[:, width])
        mean = psi @ self._means + columns @ self._weights + effect * self._effects[group]
        mean += kept * own[:, width + 1]
        variance = np.einsum("kd,kd->k", columns @ self._covariance, columns)
        variance += 2.0 * effect * np.einsum("kd,kd->k", columns, self._cross[group])
        variance += effect**2 * self._variances[group]
        variance += OWN_STD**2 * rho**2 - kept**2 * own[:, width]
        return mean, np.sqrt(np.maximum(variance, 0.0) + NOISE_STD**2)

    def _moments(self, points: Points) -> tuple[Ids, Array]:
        """Pipelines with points (r,), and Fᵀ N⁻¹ F of each, with N the noise; (r, d + 2, d + 2).

        Columns of F: scaled ψ, ρ, and the gain beyond the means.
        """
        first = np.flatnonzero(np.diff(points.run, prepend=-1))
        counts = np.diff(first, append=len(points.run))
        psi = self._columns(points.run, points.share)
        rho, early = points.share**POWER, (1.0 - points.share) ** 2
        rows = np.column_stack([psi * self._stds, rho, points.gain - psi @ self._means])
        moments = np.empty((len(first), rows.shape[1], rows.shape[1]))
        for count in np.unique(counts):
            same = np.flatnonzero(counts == count)
            of = first[same][:, None] + np.arange(count)
            noise = OWN_STD**2 * rho[of][:, :, None] * rho[of][:, None]
            noise += DIP_STD**2 * early[of][:, :, None] * early[of][:, None]
            noise += LUCK_STD**2 + NOISE_STD**2 * np.eye(count)
            white = np.linalg.solve(np.linalg.cholesky(noise), rows[of])
            moments[same] = white.transpose(0, 2, 1) @ white
        return points.run[first], moments

    def _solve(self, moments: Array, group: Ids, groups: int) -> None:
        """Posterior of weights and effects, in units of their priors; last, a group without points."""
        width = len(self._means)
        by_group = np.zeros((groups, width + 2))
        np.add.at(by_group, group, moments[:, width])
        everything = moments.sum(axis=0)
        shared = MODEL_STD * by_group[:, :width]
        precision = np.eye(width + groups)
        precision[:width, :width] += everything[:width, :width]
        precision[:width, width:] = shared.T
        precision[width:, :width] = shared
        precision[width:, width:] += np.diag(MODEL_STD**2 * by_group[:, width])
        covariance = np.linalg.inv(precision)
        seen = np.concatenate([everything[:width, width + 1], MODEL_STD * by_group[:, width + 1]])
        mean = covariance @ seen
        self._weights, self._covariance = mean[:width], covariance[:width, :width]
        self._effects = np.append(mean[width:], 0.0)
        self._cross = np.concatenate([covariance[width:, :width], np.zeros((1, width))])
        self._variances = np.append(np.diag(covariance)[width:], 1.0)

    def _columns(self, ids: Ids, share: Array) -> Array:
        """ψ of pipelines at shares of their schedules; (k, d)."""
        return np.column_stack([share[:, None] ** POWER * self._features[ids], (1.0 - share) ** 2])
