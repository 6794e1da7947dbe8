"""The residual Gaussian process of Quick-Tune (`qtt.predictors.residual`) in bare GPyTorch, nothing kept.

The same covariance, points and queries: what a decision costs that computes the posterior anew. Trees, costs
and the acquisition are not in it. Predictions are the same for pipelines that have not begun; for the others,
this one also learns from a pipeline's earlier points what it keeps, which Quick-Tune leaves out.

Notation: m points, q queries, D shared features.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qtt.optimizers.quick import HORIZONS, QuickTune
from qtt.predictors.base import SearchTask
from qtt.predictors.dynamics import Encoded
from qtt.predictors.meta import MetaPerformance, residual_points
from qtt.predictors.prior import logit
from qtt.predictors.residual import ResidualKernel, ResidualPoints

with warnings.catch_warnings():
    # gpytorch compiles a helper with torch.jit.script when imported, which newer versions of torch deprecate
    warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated", category=FutureWarning)
    import gpytorch

Array = NDArray[np.float64]

APART = 0.01
"""Lengthscale, in pipelines, beyond which pipelines have nothing of their own in common."""


@dataclass(frozen=True)
class Situation:
    """What is known and what is asked at one decision.

    points: (m,) residuals of all observed pipelines. ids, start, end: (q,) queries of all live ones.
    mean, std: (q,) what meta-training expects there.
    """

    encoded: Encoded
    points: ResidualPoints
    ids: NDArray[np.int64]
    start: Array
    end: Array
    mean: Array
    std: Array

    @classmethod
    def of(cls, optimizer: QuickTune) -> "Situation":
        """The next decision of a search with meta-learned predictors."""
        performance = optimizer.performance
        assert isinstance(performance, MetaPerformance)
        encoded = Encoded.of(performance.spec, SearchTask(optimizer.candidates, optimizer.metafeatures))
        standings = performance.prior.standing.predict(encoded)
        history = optimizer.history
        curves = np.zeros((len(encoded), optimizer.max_fidelity))
        for i in history.observed:
            curves[i, : history.fidelity(i)] = [seen.score for seen in history.curve(i)]

        places = {i: residual_points(history.fidelity(i)) for i in history.observed}
        run = np.repeat(list(places), [len(start) for start, _ in places.values()]).astype(np.int64)
        start, end = (np.concatenate(parts) for parts in zip(*places.values(), strict=True))
        mean, std = performance.prior.predict(encoded, standings, run, start, end, curves[run])
        best = np.array([curves[i, int(s) : int(e)].max() for i, s, e in zip(run, start, end, strict=True)])
        points = ResidualPoints(run, start, end, (logit(best) - mean) / std)

        live = np.array(optimizer.live())
        done = np.array([history.fidelity(i) for i in live])
        ends = np.minimum(done[:, None] + HORIZONS, optimizer.max_fidelity)
        query = (
            np.repeat(live, len(HORIZONS)),
            np.repeat(done, len(HORIZONS)).astype(float),
            ends.ravel() * 1.0,
        )
        expected = performance.prior.predict(encoded, standings, *query, curves[query[0]])
        return cls(encoded, points, *query, *expected)


class BareGP(gpytorch.models.ExactGP):  # type: ignore[misc]
    """Columns of the inputs: D gated features; pipeline and kind in one number; log epoch, scaled."""

    def __init__(self, kernel: ResidualKernel, x: Tensor, start: Tensor, y: Tensor) -> None:
        noise = kernel.noise(start) + 1e-6
        super().__init__(x, y, gpytorch.likelihoods.FixedNoiseGaussianLikelihood(noise))
        width = x.shape[1] - 3
        self.mean_module = gpytorch.means.ZeroMean()
        shared = gpytorch.kernels.LinearKernel(active_dims=tuple(range(width)))
        shared.variance = 1.0
        same = gpytorch.kernels.RBFKernel(active_dims=(width,))
        same.lengthscale = APART
        near = gpytorch.kernels.MaternKernel(nu=0.5, active_dims=(width + 1,))
        near.lengthscale = 1.0
        amplitude = gpytorch.kernels.LinearKernel(active_dims=(width + 2,))
        amplitude.variance = 1.0
        self.covar_module = shared + same * near * amplitude

    def forward(self, x: Tensor) -> gpytorch.distributions.MultivariateNormal:
        """Prior at x (m, D + 3)."""
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


@torch.no_grad()
def decide(kernel: ResidualKernel, situation: Situation) -> tuple[Array, Array]:
    """Mean and standard deviation of the logit of the best score at the queries; both (q,)."""
    features = situation.encoded.features
    groups = (features.pipeline, features.model, np.tile(features.task, (len(features.pipeline), 1)))
    static = kernel.static(*(torch.as_tensor(group) for group in groups))
    points = situation.points
    x, start = _inputs(kernel, static, points.run, points.start, points.end)
    model = BareGP(kernel, x, start, torch.as_tensor(points.residual)).double().eval()
    queries, begin = _inputs(kernel, static, situation.ids, situation.start, situation.end)
    with gpytorch.settings.max_cholesky_size(10**6):
        posterior = model(queries)
        mean, variance = posterior.mean, posterior.variance + kernel.noise(begin)
    return situation.mean + situation.std * mean.numpy(), situation.std * variance.sqrt().numpy()


def _inputs(
    kernel: ResidualKernel, static: Tensor, ids: NDArray[np.int64], start: Array, end: Array
) -> tuple[Tensor, Tensor]:
    begin, until = torch.as_tensor(start), torch.as_tensor(end)
    kind = (begin > 0).long()
    own = torch.as_tensor(ids).double() * 2 + kind
    columns = [own, until.log() / kernel.log_length.exp()[kind], kernel.log_own.exp()[kind]]
    return torch.cat([static[ids] * kernel.gates(begin, until), torch.stack(columns, dim=1)], dim=1), begin
