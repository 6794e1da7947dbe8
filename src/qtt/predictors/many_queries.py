"""The posterior of `DeepKernel` at many queries: what its own `posterior` gives, with nothing computed twice.

A search asks for every pipeline at several epochs. What the kernel sees of a pipeline does not depend on the
epoch, but for the budget, and before its first epoch only on the pipeline and on the budget. So squared
distances are sums of a part of the pipeline and one of the epoch, and queries of one epoch share the latter.

Notation: n observed points, u pipelines, m queries; a, s, c the squared distances of points in budget, in all
else of their progress, and in what is static.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from qtt.predictors.encoders import Inputs

if TYPE_CHECKING:
    import gpytorch

    from qtt.predictors.performance import DeepKernel

CHUNK = 256
"""Queries whose covariances are computed at once: with as many observed points they fit into a cache."""


@dataclass(frozen=True, eq=False)
class Queries:
    """Pipelines (u,) with all that is known of their curves, and which of them is asked about at which epoch.

    budget of `pipelines` is not read. row (m,): a pipeline. epoch (m,): from 1.
    """

    pipelines: Inputs
    row: Tensor
    epoch: Tensor


@torch.no_grad()
def posterior(
    kernel: "DeepKernel", x: Inputs, y: Tensor, queries: Queries, *, bound: bool = False
) -> tuple[Tensor, Tensor]:
    """Mean and variance of observed scores at the queries, given scores y (n,) at x; both (m,).

    bound: take the prior's variance, which the posterior's does not exceed: half of the time is spent on what
        observations take from it.
    """
    lower = kernel.factor(x)
    weights = torch.cholesky_solve((y - kernel.mean(x)).unsqueeze(1), lower).squeeze(1)
    distances = _Distances.of(kernel, x, queries.pipelines)
    prior = kernel.mean(queries.pipelines)[queries.row]
    mean, variance = prior.clone(), torch.empty_like(prior)
    started = queries.pipelines.started[queries.row] > 0
    signal = kernel.individual.outputscale + kernel.shared.outputscale
    for has_begun, epoch in _kinds(started, queries.epoch):
        chosen = torch.nonzero((started == has_begun) & (queries.epoch == epoch)).squeeze(1)
        amplitude, noise = (
            _at(log_std, has_begun, epoch).square() for log_std in (kernel.amplitude, kernel.noise)
        )
        variance[chosen] = signal * amplitude + noise
        for part in torch.split(chosen, CHUNK):
            covariance = distances.covariance(kernel, queries.row[part], epoch, same=not has_begun)
            covariance *= amplitude.sqrt() * distances.amplitude
            mean[part] += covariance @ weights
            if not bound:
                cross = torch.linalg.solve_triangular(lower.mT, covariance, upper=True, left=False)
                variance[part] -= cross.square().sum(1)
        variance[chosen] = variance[chosen].clamp_min(noise)
    return mean, variance


def _kinds(started: Tensor, epoch: Tensor) -> list[tuple[bool, int]]:
    """Which kinds of queries there are: before or after the first epoch, and at which epoch."""
    kinds = torch.unique(2 * epoch + started.long()).tolist()
    return [(bool(kind % 2), kind // 2) for kind in kinds]


def _at(log_std: Tensor, has_begun: bool, epoch: int) -> Tensor:
    """Standard deviation of one kind of queries; see `DeepKernel`."""
    return (log_std[1] + log_std[2] * math.log(epoch) if has_begun else log_std[0]).exp()


@dataclass(frozen=True, eq=False)
class _Distances:
    """Squared distances of pipelines from the observed points.

    static (u, n). rest (k, n): of the progress of those that have begun, and of one that has not; kind (u,):
    where each pipeline's is. place (n,): of the points in budget; scale: of log epochs there; epochs: T.
    amplitude (n,): of the points.
    """

    static: Tensor
    rest: Tensor
    kind: Tensor
    place: Tensor
    scale: Tensor
    epochs: int
    amplitude: Tensor

    @classmethod
    def of(cls, kernel: "DeepKernel", x: Inputs, pipelines: Inputs) -> "_Distances":
        encoder = kernel.encoder
        progress = encoder.progress(x)
        fresh = pipelines.started == 0
        kinds = torch.cat([torch.nonzero(~fresh)[:, 0], torch.nonzero(fresh)[:1, 0]])
        kind = torch.full((len(fresh),), len(kinds) - 1)
        kind[kinds] = torch.arange(len(kinds))
        return cls(
            static=_squared(encoder.static(pipelines), encoder.static(x)),
            rest=_squared(encoder.progress(pipelines.rows(kinds))[:, 1:], progress[:, 1:]),
            kind=kind,
            place=progress[:, 0],
            scale=encoder.log_scale[0].exp(),
            epochs=x.seen.shape[1],
            amplitude=kernel.power(kernel.amplitude, x),
        )

    def covariance(self, kernel: "DeepKernel", row: Tensor, epoch: int, same: bool) -> Tensor:
        """Of pipelines at an epoch with the points, without amplitudes; same: their progress is; (k, n)."""
        budget = (math.log(epoch / self.epochs) * self.scale - self.place).square()
        rest = self.rest[self.kind[row[:1] if same else row]] + budget
        individual = _matern(kernel.individual, self.static[row].add_(rest))
        shared = _matern(kernel.shared, rest)
        return individual.add_(shared)


def _squared(points: Tensor, others: Tensor) -> Tensor:
    """Squared Euclidean distances of points (u, d) from others (n, d); (u, n)."""
    center = others.mean(0) if len(others) else torch.zeros(points.shape[1]).to(points)
    points, others = points - center, others - center
    squares = points.square().sum(1, keepdim=True) + others.square().sum(1)
    return torch.addmm(squares, points, others.mT, alpha=-2.0).clamp_min_(0.0)


def _matern(kernel: "gpytorch.kernels.ScaleKernel", squared: Tensor) -> Tensor:
    """Matérn-5/2, s (1 + d + d²/3) e^-d with d = √5 r/ℓ, of squared distances, which are overwritten."""
    squared *= 5.0 / kernel.base_kernel.lengthscale.squeeze().square()
    distance = squared.sqrt()
    polynomial = squared.mul_(1.0 / 3.0).add_(distance).add_(1.0)
    scale: Tensor = kernel.outputscale
    return polynomial.mul_(distance.neg_().exp_()).mul_(scale)
