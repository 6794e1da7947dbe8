"""Scores of pipelines at epochs yet to come: a deep-kernel Gaussian process (Quick-Tune, section 4).

Notation: n observed points, m queried points.
"""

import copy
import math
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from qtt.errors import PredictionError
from qtt.history import History
from qtt.predictors.base import SearchTask
from qtt.predictors.encoders import Inputs, PointEncoder
from qtt.predictors.features import FeatureSpec
from qtt.predictors.points import PointBuilder
from qtt.types import Prediction

with warnings.catch_warnings():
    # gpytorch compiles a helper with torch.jit.script when imported, which newer versions of torch deprecate
    warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated", category=FutureWarning)
    import gpytorch

INITIAL_NOISE = 0.01
"""Variance of the observation noise before training, for standardised scores."""

MIN_SCALE = 1e-3
"""Smallest standard deviation that scores are divided by."""


class DeepKernel(nn.Module):
    """Constant mean, scaled Matérn-5/2 kernel on encoded points, Gaussian noise."""

    def __init__(self, encoder: PointEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.mean = gpytorch.means.ConstantMean()
        self.kernel = gpytorch.kernels.ScaleKernel(gpytorch.kernels.MaternKernel(nu=2.5))
        self.log_noise = nn.Parameter(torch.tensor(math.log(INITIAL_NOISE)))
        self.kernel.outputscale = 1.0
        self.kernel.base_kernel.lengthscale = 1.0
        self.double()

    def covariance(self, x: Tensor) -> Tensor:
        """Prior covariance of noisy scores at encoded points; (n, n)."""
        noise = self.log_noise.exp() + 1e-6
        dense: Tensor = self.kernel(x).to_dense()
        return dense + noise * torch.eye(len(x), dtype=x.dtype)

    def loss(self, x: Inputs, y: Tensor) -> Tensor:
        """Exact negative log marginal likelihood of standardised scores y (n,), per observation."""
        encoded = self.encoder(x)
        factor = torch.linalg.cholesky(self.covariance(encoded))
        residual = (y - self.mean(encoded)).unsqueeze(1)
        white = torch.linalg.solve_triangular(factor, residual, upper=False)
        loss: Tensor = (0.5 * white.square().sum() + factor.diagonal().log().sum()) / len(y)
        return loss

    def posterior(self, x: Inputs, y: Tensor, query: Inputs) -> tuple[Tensor, Tensor]:
        """Mean and variance of noisy scores at the queries, given scores y (n,) at x; both (m,)."""
        encoded, queried = self.encoder(x), self.encoder(query)
        factor = torch.linalg.cholesky(self.covariance(encoded))
        white = torch.linalg.solve_triangular(factor, (y - self.mean(encoded)).unsqueeze(1), upper=False)
        cross = torch.linalg.solve_triangular(factor, self.kernel(encoded, queried).to_dense(), upper=False)
        mean = self.mean(queried) + (cross * white).sum(0)
        prior = self.kernel(queried, diag=True) + self.log_noise.exp()
        return mean, (prior - cross.square().sum(0)).clamp_min(1e-8)


class DeepKernelGP:
    """A cold start: random initial weights, finetuned on this search's observations alone."""

    def __init__(self, steps: int = 10, learning_rate: float = 1e-2, max_observations: int = 300) -> None:
        self.steps = steps
        self.learning_rate = learning_rate
        self.max_observations = max_observations
        self._points: PointBuilder | None = None

    def setup(self, task: SearchTask) -> None:
        """Start a new search: encode its candidates, draw initial weights."""
        used = task.candidates.configs
        conditional = [name for name in task.options if any(name not in config for config in used)]
        spec = FeatureSpec.from_options(task.options, task.candidates.models, conditional)
        features = spec.encode(task.candidates, task.metafeatures)
        self._points = PointBuilder(features, task.max_fidelity, task.epochs_per_step)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(task.seed)
            encoder = PointEncoder(*(spec.width(group) for group in ("pipeline", "model", "task")))
            self._initial = DeepKernel(encoder)
        self._model = self._initial

    def condition(self, history: History) -> None:
        """Finetune the initial weights on all observations."""
        points = self._built()
        self._history = history
        if not history.observed:
            return
        observed, scores = points.observed(history)
        self._center = float(scores.mean())
        self._scale = max(float(scores.std()), MIN_SCALE)
        self._x = Inputs.of(observed, self._center, self._scale)
        self._y = torch.as_tensor((scores - self._center) / self._scale)
        self._model = copy.deepcopy(self._initial)
        optimizer = torch.optim.Adam(self._model.parameters(), lr=self.learning_rate)
        for _ in range(self.steps):
            optimizer.zero_grad()
            torch.autograd.backward(self._model.loss(self._x, self._y))
            optimizer.step()

    @torch.no_grad()
    def predict(self, config_ids: Sequence[int], fidelities: Sequence[int]) -> Prediction:
        """Mean and standard deviation of the scores, (m,)."""
        query = Inputs.of(
            self._built().queries(self._history, config_ids, fidelities), self._center, self._scale
        )
        mean, variance = self._model.posterior(self._x, self._y, query)
        center, scale = self._center, self._scale
        return Prediction(np.asarray(mean * scale + center), np.asarray(variance.sqrt() * scale))

    def _built(self) -> PointBuilder:
        if self._points is None:
            raise PredictionError("The predictor has no task yet; call setup(task) first.")
        return self._points
