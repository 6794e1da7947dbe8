"""Scores of pipelines at epochs yet to come: a deep-kernel Gaussian process (Quick-Tune, section 4).

Notation: n observed points, m queried points; t the epoch of a point, s(x) what its encoder sees of pipeline,
model and task, p(x) what it sees of budget and curve. Scores are standardised. The prior of a score is

  mean   the latest known score; for a pipeline without one, c + v·(features of its model)
  cov    a(x) a(x′) (w₁ k([s, p], [s′, p′]) + w₂ k(p, p′)) + noise(x) [x = x′],   k Matérn-5/2

with amplitude a and noise that fall with t as powers. The second kernel is what all pipelines share: how
curves go at all. Deviations from the paper, which has a constant mean and one scaled kernel, are what keeps a
cold start honest: after one observation it expects curves to go on as they do, not to return to a mean.
"""

import copy
import math
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from qtt.errors import PredictionError
from qtt.predictors.base import SearchTask
from qtt.predictors.encoders import Inputs, PointEncoder
from qtt.predictors.fantasies import Curves, Fantasy, Supposed
from qtt.predictors.features import FeatureSpec
from qtt.predictors.finetuning import adam
from qtt.predictors.many_queries import Queries, posterior
from qtt.predictors.points import PointBuilder
from qtt.runs.history import History
from qtt.types import Prediction

with warnings.catch_warnings():
    # gpytorch compiles a helper with torch.jit.script when imported, which newer versions of torch deprecate
    warnings.filterwarnings("ignore", message="`torch.jit.script` is deprecated", category=FutureWarning)
    import gpytorch

PRIOR_SCALE = 0.2
PRIOR_COUNT = 2.0
"""Spread of accuracies that is expected before any was seen, and how many observations this counts as."""

JITTERS = (1e-8, 1e-6, 1e-4)
"""Added to the diagonal, in turn, until the covariance has a Cholesky factor."""


class DeepKernel(nn.Module):
    """Prior, marginal likelihood and posterior; see the module.

    Args:
        encoder: of the points.
        accuracy: column of the model's features that holds its ImageNet accuracy, None where there is none;
            models that are better there are expected to be better here.
    """

    def __init__(self, encoder: PointEncoder, models: int, accuracy: int | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.constant = nn.Parameter(torch.zeros(()))
        self.model_weights = nn.Parameter(torch.zeros(models))
        if accuracy is not None:
            self.model_weights.data[accuracy] = 0.3
        self.individual = gpytorch.kernels.ScaleKernel(gpytorch.kernels.MaternKernel(nu=2.5))
        self.shared = gpytorch.kernels.ScaleKernel(gpytorch.kernels.MaternKernel(nu=2.5))
        for kernel, share in ((self.individual, 0.73), (self.shared, 0.27)):
            kernel.outputscale = share
            kernel.base_kernel.lengthscale = 1.0
        # log standard deviations: of first scores, of later ones at t = 1, and how fast the latter fall
        self.amplitude = nn.Parameter(torch.tensor([0.0, -0.15, -0.5]))
        self.noise = nn.Parameter(torch.tensor([-0.5, -2.0, -0.7]))
        self.double()

    def scalars(self) -> list[nn.Parameter]:
        """The few parameters that set scales, as opposed to weights and relevances of single inputs."""
        kernels = [self.individual.raw_outputscale, self.shared.raw_outputscale]
        return [self.constant, self.amplitude, self.noise, self.encoder.log_scale, *kernels]

    def mean(self, x: Inputs) -> Tensor:
        """Prior mean, (n,)."""
        fresh = self.constant + x.model @ self.model_weights
        mean: Tensor = torch.where(x.started > 0, x.last, fresh)
        return mean

    def covariance(self, x: Inputs, other: Inputs) -> Tensor:
        """Prior covariance of noise-free scores; (n, m)."""
        static, progress = self.encoder.static(x), self.encoder.progress(x)
        if other is x:
            other_static, other_progress = static, progress
        else:
            other_static, other_progress = self.encoder.static(other), self.encoder.progress(other)
        everything = torch.cat([static, progress], dim=1)
        other_everything = torch.cat([other_static, other_progress], dim=1)
        dense: Tensor = self.individual(everything, other_everything).to_dense()
        dense = dense + self.shared(progress, other_progress).to_dense()
        return self.power(self.amplitude, x).unsqueeze(1) * self.power(self.amplitude, other) * dense

    def variance(self, x: Inputs) -> Tensor:
        """Prior variance of observed scores, noise included; (n,)."""
        signal: Tensor = self.individual.outputscale + self.shared.outputscale
        return signal * self.power(self.amplitude, x).square() + self.power(self.noise, x).square()

    def factor(self, x: Inputs) -> Tensor:
        """Lower Cholesky factor of the covariance of observed scores; (n, n)."""
        covariance = self.covariance(x, x) + torch.diag(self.power(self.noise, x).square())
        lower: Tensor
        for jitter in JITTERS:
            lower, info = torch.linalg.cholesky_ex(covariance + jitter * torch.eye(len(covariance)))
            if not info:
                return lower
        raise PredictionError(
            f"The covariance of {len(covariance)} observed scores is not positive definite; "
            "please report this with the run's journal."
        )

    def loss(self, x: Inputs, y: Tensor) -> Tensor:
        """Exact negative log marginal likelihood of scores y (n,), per observation, without constants."""
        lower = self.factor(x)
        white = torch.linalg.solve_triangular(lower, (y - self.mean(x)).unsqueeze(1), upper=False)
        loss: Tensor = (0.5 * white.square().sum() + lower.diagonal().log().sum()) / len(y)
        return loss

    def posterior(self, x: Inputs, y: Tensor, query: Inputs) -> tuple[Tensor, Tensor]:
        """Mean and variance of observed scores at the queries, given scores y (n,) at x; both (m,)."""
        lower = self.factor(x)
        white = torch.linalg.solve_triangular(lower, (y - self.mean(x)).unsqueeze(1), upper=False)
        cross = torch.linalg.solve_triangular(lower, self.covariance(x, query), upper=False)
        variance = self.variance(query) - cross.square().sum(0)
        floor = self.power(self.noise, query).square()
        return self.mean(query) + (cross * white).sum(0), torch.maximum(variance, floor)

    def power(self, log_std: Tensor, x: Inputs) -> Tensor:
        """Standard deviations e^l₀ for first scores and e^(l₁ + l₂ log t) for later ones; (n,)."""
        epochs = x.budget.log() + math.log(x.seen.shape[1])
        return torch.where(x.started > 0, log_std[1] + log_std[2] * epochs, log_std[0]).exp()


class DeepKernelGP:
    """A cold start: random initial weights, finetuned a little on this search's observations alone.

    After new observations, finetuning starts from the initial weights again, so that predictions are a
    function of the observations. Few steps: with a handful of observations, more would overfit.
    """

    def __init__(
        self,
        steps: int = 3,
        learning_rate: float = 0.1,
        network_learning_rate: float = 0.01,
        max_observations: int = 256,
    ) -> None:
        """Create a predictor; nothing is drawn before `setup`.

        Args:
            steps: of Adam, each on all observations.
            learning_rate: of `DeepKernel.scalars`.
            network_learning_rate: of all other parameters, which are many and overfit soon.
            max_observations: how many epochs to condition on; see `PointBuilder.observed`.
        """
        self.steps = steps
        self.learning_rate = learning_rate
        self.network_learning_rate = network_learning_rate
        self.max_observations = max_observations
        self._builder: PointBuilder | None = None

    def setup(self, task: SearchTask) -> None:
        """Start a new search: encode its candidates, draw initial weights."""
        spec = FeatureSpec.from_options(task.options, task.candidates.models, task.conditional)
        features = spec.encode(task.candidates, task.metafeatures)
        self._builder = PointBuilder(features, task.max_fidelity, task.epochs_per_step)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(task.seed)
            encoder = PointEncoder(*(spec.width(group) for group in ("pipeline", "model", "task")))
        self._initial = DeepKernel(encoder, spec.width("model"), spec.index("model", "top1", "number"))
        self._model = self._initial
        self._curves: Curves = History()
        self._learned = 0
        self._support(self._curves)

    def condition(self, history: History) -> None:
        """Finetune the initial weights on the observations."""
        self._curves, self._learned = history, len(history)
        self._support(history)
        self._model = copy.deepcopy(self._initial)
        if not len(self._y):
            return
        fast = {id(parameter) for parameter in self._model.scalars()}
        parameters = list(self._model.parameters())
        rates = [self.learning_rate if id(p) in fast else self.network_learning_rate for p in parameters]
        adam(lambda: self._model.loss(self._x, self._y), parameters, rates, self.steps)

    def suppose(self, history: History, fantasies: Mapping[int, Fantasy]) -> None:
        """See `SupposingPredictor`."""
        if self._learned != len(history):
            self.condition(history)
        self._curves = Supposed(history, fantasies)
        self._support(self._curves)

    def predict(self, config_ids: Sequence[int], fidelities: Sequence[int]) -> Prediction:
        """Mean and standard deviation of the scores, (m,)."""
        return self._predict(config_ids, fidelities, bound=False)

    def bound(self, config_ids: Sequence[int], fidelities: Sequence[int]) -> Prediction:
        """The same mean, and a standard deviation that is at least as large but takes less time, (m,)."""
        return self._predict(config_ids, fidelities, bound=True)

    @torch.no_grad()
    def _predict(self, config_ids: Sequence[int], fidelities: Sequence[int], *, bound: bool) -> Prediction:
        ids, row = np.unique(np.asarray(config_ids, dtype=np.int64), return_inverse=True)
        points = self._points().queries(self._curves, ids, np.ones_like(ids))
        queries = Queries(
            Inputs.of(points, self._center, self._scale),
            torch.as_tensor(row),
            torch.as_tensor(np.asarray(fidelities, dtype=np.int64)),
        )
        mean, variance = posterior(self._model, self._x, self._y, queries, bound=bound)
        return Prediction(
            np.asarray(mean * self._scale + self._center), np.asarray(variance.sqrt() * self._scale)
        )

    def _support(self, curves: Curves) -> None:
        """The observations to condition on."""
        observed, scores = self._points().observed(curves, self.max_observations)
        squares = float(((scores - scores.mean()) ** 2).sum()) if len(scores) else 0.0
        self._center = float(scores.mean()) if len(scores) else 0.0
        self._scale = math.sqrt((squares + PRIOR_COUNT * PRIOR_SCALE**2) / (len(scores) + PRIOR_COUNT))
        self._x = Inputs.of(observed, self._center, self._scale)
        self._y = torch.as_tensor((scores - self._center) / self._scale)

    def _points(self) -> PointBuilder:
        if self._builder is None:
            raise PredictionError("The predictor has no task yet; call setup(task) first.")
        return self._builder
