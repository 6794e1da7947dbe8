"""The paper's networks (Quick-Tune, section 4 and appendix): feature extractor, Gaussian process, cost.

Notation: n points, T = largest fidelity, d_p, d_m, d_t = encoded columns of pipeline, model and task.
"""

import math
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from qtt.errors import ArtifactError, PredictionError
from qtt.predictors.base import SearchTask
from qtt.predictors.encoders import mlp
from qtt.predictors.features import FeatureSpec
from qtt.predictors.points import PointBuilder, Points
from qtt.predictors.unknown import known_part, unknown_hyperparameters

FEATURES_FILE = "features.json"
WEIGHTS_FILE = "paper.safetensors"
"""Files of an artifact; the second holds both networks, named `performance.…` and `cost.…`."""

HIDDEN = 32
FILTERS = 8
ENCODED = 16
OUTPUTS = 32
"""Widths: of hidden layers, of the first convolution, of the encodings of pipeline, model and curve, and of
the features."""

JITTERS = (1e-8, 1e-6, 1e-4)
"""Added to the diagonal, in turn, until the covariance has a Cholesky factor."""


class PaperInputs(NamedTuple):
    """`Points` as tensors.

    pipeline (n, d_p), model (n, d_m), task (n, d_t), budget (n,), curve and seen (n, T).
    """

    pipeline: Tensor
    model: Tensor
    task: Tensor
    budget: Tensor
    curve: Tensor
    seen: Tensor

    @classmethod
    def of(cls, points: Points) -> "PaperInputs":
        """The same, in float32."""
        return cls(*(torch.as_tensor(getattr(points, name), dtype=torch.float32) for name in cls._fields))


class PaperCurveEncoder(nn.Module):
    """Two convolutions over known scores and their mask; (n, ENCODED), 0 where nothing is known.

    Each output is its largest value over the known epochs: an average over them, which forgets where the
    curve stands now, predicted unseen datasets clearly worse.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(2, FILTERS, kernel_size=3, padding=1)
        self.second = nn.Conv1d(FILTERS, ENCODED, kernel_size=3, padding=1)

    def forward(self, curve: Tensor, seen: Tensor) -> Tensor:
        """Curve and seen (n, T); epochs after the last known one of all n are skipped."""
        epochs = 1 + int((torch.arange(seen.shape[1]) * seen.any(0)).max())
        mask = seen[:, :epochs].unsqueeze(1)
        hidden = nn.functional.gelu(self.first(torch.stack([curve[:, :epochs], seen[:, :epochs]], dim=1)))
        encoded = self.second(hidden * mask).masked_fill(mask == 0, -math.inf).amax(-1)
        return torch.where(mask.any(-1), encoded, 0.0)


class PaperEncoder(nn.Module):
    """The feature extractor: (n, OUTPUTS).

    One encoder each for the pipeline, its model and its curve so far; their outputs, the task's descriptors
    and the budget t/T go through the head.
    """

    def __init__(self, spec: FeatureSpec) -> None:
        super().__init__()
        pipeline, model, task = (spec.width(group) for group in ("pipeline", "model", "task"))
        self.pipeline = mlp(pipeline, HIDDEN, ENCODED) if pipeline else nn.Identity()
        self.model = mlp(model, HIDDEN, ENCODED) if model else nn.Identity()
        self.curve = PaperCurveEncoder()
        encoded = ENCODED * (1 + bool(pipeline) + bool(model))
        self.head = mlp(encoded + task + 1, HIDDEN, OUTPUTS)

    def forward(self, x: PaperInputs) -> Tensor:
        """Features of points; what lies beyond the known part of a curve has no influence."""
        parts = [self.pipeline(x.pipeline), self.model(x.model), self.curve(x.curve * x.seen, x.seen)]
        features: Tensor = self.head(torch.cat([*parts, x.task, x.budget.unsqueeze(1)], dim=1))
        return features


class PaperGP(nn.Module):
    """An exact Gaussian process over the features φ (float32; its own algebra is float64).

    y = c + f + ε,   cov(f, f′) = s exp(-|φ - φ′|² / 2ℓ²),   var(ε) = σ²

    with scores y in units of `scale` around `center`, those of the meta-training scores. Outside, scores are
    given and predicted as they are: accuracies, 0 to 1.
    """

    center: Tensor
    scale: Tensor

    def __init__(self, spec: FeatureSpec) -> None:
        super().__init__()
        self.encoder = PaperEncoder(spec)
        self.constant = nn.Parameter(torch.zeros(()))
        self.log_variance = nn.Parameter(torch.zeros(()))
        self.log_lengthscale = nn.Parameter(torch.zeros(()))
        self.log_noise = nn.Parameter(torch.tensor(2.0 * math.log(0.2)))
        self.register_buffer("center", torch.tensor(0.5))
        self.register_buffer("scale", torch.tensor(0.25))

    def loss(self, x: PaperInputs, scores: Tensor) -> Tensor:
        """Exact negative log marginal likelihood of scores (n,), per observation."""
        lower = self._factor(self._features(x))
        white = torch.linalg.solve_triangular(lower, self._residual(scores), upper=False)
        loss: Tensor = (0.5 * white.square().sum() + lower.diagonal().log().sum()) / len(scores)
        return loss + 0.5 * math.log(2.0 * math.pi) + self.scale.log()

    def posterior(self, x: PaperInputs, scores: Tensor, query: PaperInputs) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of scores at the queries, given scores (n,) at x; both (m,)."""
        support, asked = self._features(x), self._features(query)
        lower = self._factor(support)
        white = torch.linalg.solve_triangular(lower, self._residual(scores), upper=False)
        cross = torch.linalg.solve_triangular(lower, self._kernel(support, asked), upper=False)
        variance = (self.log_variance.exp() - cross.square().sum(0)).clamp_min(0.0) + self.log_noise.exp()
        mean = self.constant + (cross * white).sum(0)
        return mean * self.scale + self.center, variance.sqrt() * self.scale

    def _features(self, x: PaperInputs) -> Tensor:
        """Features in units of the length scale."""
        curve = (x.curve - self.center) / self.scale
        features: Tensor = self.encoder(x._replace(curve=curve))
        return (features * (-self.log_lengthscale).exp()).double()

    def _residual(self, scores: Tensor) -> Tensor:
        return ((scores.double() - self.center) / self.scale - self.constant).unsqueeze(1)

    def _kernel(self, a: Tensor, b: Tensor) -> Tensor:
        squares = a.square().sum(1, keepdim=True) + b.square().sum(1) - 2.0 * a @ b.T
        return (self.log_variance - 0.5 * squares.clamp_min(0.0)).exp()

    def _factor(self, features: Tensor) -> Tensor:
        """Lower Cholesky factor of the covariance of observed scores; (n, n)."""
        identity = torch.eye(len(features), dtype=torch.float64)
        covariance = self._kernel(features, features) + self.log_noise.exp() * identity
        lower: Tensor
        for jitter in JITTERS:
            lower, info = torch.linalg.cholesky_ex(covariance + jitter * identity)
            if not info:
                return lower
        raise PredictionError(
            f"The covariance of {len(features)} observed scores is not positive definite; "
            "please report this with the run's journal."
        )


class PaperCostNetwork(nn.Module):
    """Log seconds of an epoch from the same inputs; `center` and `scale` are those of meta-training."""

    center: Tensor
    scale: Tensor

    def __init__(self, spec: FeatureSpec) -> None:
        super().__init__()
        self.encoder = PaperEncoder(spec)
        self.output = nn.Linear(OUTPUTS, 1)
        self.register_buffer("center", torch.tensor(math.log(30.0)))
        self.register_buffer("scale", torch.tensor(1.5))

    def forward(self, x: PaperInputs) -> Tensor:
        """Log seconds, (n,)."""
        log_seconds: Tensor = self.output(nn.functional.gelu(self.encoder(x))).squeeze(1)
        return log_seconds * self.scale + self.center

    def loss(self, x: PaperInputs, log_seconds: Tensor) -> Tensor:
        """Mean squared error, in units of `scale`."""
        loss: Tensor = ((self(x) - log_seconds) / self.scale).square().mean()
        return loss


Network = TypeVar("Network", bound=PaperGP | PaperCostNetwork)


def paper_spec(task: SearchTask, weights: Path | None) -> FeatureSpec:
    """The artifact's features, or those of the search's own options where there is no artifact.

    Raises:
        ArtifactError: the folder has no readable `features.json`.
    """
    if weights is None:
        return FeatureSpec.from_options(task.options, task.candidates.models, task.conditional)
    file = weights / FEATURES_FILE
    try:
        return FeatureSpec.from_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ArtifactError(f"{file} cannot be read as features of a predictor: {error}.") from error


def paper_builder(task: SearchTask, spec: FeatureSpec) -> PointBuilder:
    """Points of the search's candidates; hyperparameters that `spec` does not know are passed over."""
    known = known_part(task.candidates, unknown_hyperparameters(spec, task))
    features = spec.encode(known, task.metafeatures)
    return PointBuilder(features, task.max_fidelity, task.epochs_per_step)


def paper_network(kind: type[Network], spec: FeatureSpec, weights: Path | None, seed: int) -> Network:
    """A network: the artifact's, or one with random weights drawn from `seed`.

    Raises:
        ArtifactError: the folder's weights are missing, or do not fit its features.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = kind(spec)
    if weights is not None:
        file = weights / WEIGHTS_FILE
        prefix = "performance." if kind is PaperGP else "cost."
        try:
            state = {name: tensor for name, tensor in load_file(file).items() if name.startswith(prefix)}
            network.load_state_dict({name.removeprefix(prefix): tensor for name, tensor in state.items()})
        except (OSError, SafetensorError, RuntimeError) as error:
            raise ArtifactError(
                f"{file} holds no weights for {kind.__name__} with the features beside it: {error}"
            ) from error
    return network
