"""The deep-kernel Gaussian process over what the meta-learned prior gets wrong on a new dataset.

Notation: n candidates, m points, D shared features. A point is (pipeline, start s, end e), its residual
(logit score - prior mean) / prior std. With static features z of pipeline, model and dataset, and a gate g of
where on the curve the point lies, both of them networks, the prior of residuals is

  cov(p, p′) = Σ_d z_d(p) g_d(p) z_d(p′) g_d(p′)                   what pipelines of a dataset share
             + [same pipeline, same kind] a² exp(-|log e - log e′|/ℓ)   what a pipeline keeps
             + [p = p′] ν²                                         noise
             + [both fresh, models of both unseen] (c² + [same model] u²)
             + [both fresh] h² x(p)ᵀ x(p′)                         hyperparameters that are unknown

where a point's kind is fresh (s = 0) or started, and unseen are the models of other hubs than those of
meta-training: how far the prior is off for all of them, and for each, is learned in the search. So is the
effect of hyperparameters that meta-training did not know, with columns x (`qtt.predictors.unknown`). Networks
and scales are meta-learned by the exact marginal likelihood of one dataset's points at a time (Quick-Tune,
section 4). Because the shared kernel is linear in D learned features, the exact posterior costs O(D² n) in a
search, however many epochs were observed; k unseen models add k + 1 to D, unknown hyperparameters their
columns.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qtt.errors import ArtifactError
from qtt.predictors.features import Features
from qtt.predictors.finetuning import adam

Array = NDArray[np.float64]

SHARED_FEATURES = 8
UNKNOWN_STD = 0.7
"""h of hyperparameters that meta-training has not seen: their effect, in standard deviations of the prior."""

UNSEEN_STD, UNSEEN_MODEL_STD = 1.0, 0.5
"""c and u of models that meta-training has not seen, in standard deviations of the prior; measured in
real searches (experiments/search_quality/ideas.md)."""

REFIT_PIPELINES = 48
REFIT_RATE = 1e-3
PREFIX = "residual."
"""Of the kernel's arrays among a predictor's."""

GROUPS = ("pipeline", "model", "task")


@dataclass(frozen=True)
class ResidualPoints:
    """Points of one dataset: run (m,) pipeline, start (m,), end (m,), residual (m,)."""

    run: NDArray[np.int64]
    start: Array
    end: Array
    residual: Array

    def __len__(self) -> int:
        return len(self.run)

    def part(self, chosen: slice) -> "ResidualPoints":
        """Some of the points."""
        return ResidualPoints(*(getattr(self, item.name)[chosen] for item in fields(self)))


class ResidualKernel(nn.Module):
    """Covariance of residuals; see the module.

    pipeline, model, task: widths of the feature groups.
    """

    def __init__(self, pipeline: int, model: int, task: int, hidden: int = 24) -> None:
        super().__init__()
        self.pipeline = nn.Sequential(nn.Linear(pipeline, hidden), nn.Tanh())
        self.model = nn.Sequential(nn.Linear(model, hidden), nn.Tanh())
        self.task = nn.Sequential(nn.Linear(task, hidden // 4), nn.Tanh())
        self.head = nn.Linear(2 * hidden + hidden // 4, SHARED_FEATURES)
        last = nn.Linear(16, SHARED_FEATURES)
        self.gate = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), last)
        self.log_own = nn.Parameter(torch.tensor([-0.2, -1.0]))
        self.log_length = nn.Parameter(torch.tensor([0.5, 0.0]))
        self.log_noise = nn.Parameter(torch.tensor([-1.5, -0.3]))
        with torch.no_grad():
            self.head.weight.mul_(0.3)
            self.head.bias.zero_()
            self.head.bias[0] = 0.6
            last.weight.mul_(0.3)
        self.double()

    def static(self, pipeline: Tensor, model: Tensor, task: Tensor) -> Tensor:
        """Features of candidates: pipeline (n, dp), model (n, dm), task (n, dt); (n, D)."""
        parts = [self.pipeline(pipeline), self.model(model), self.task(task)]
        features: Tensor = self.head(torch.cat(parts, dim=1))
        return features

    def gates(self, start: Tensor, end: Tensor) -> Tensor:
        """How much of each feature matters at points; start, end (m,); (m, D)."""
        place = torch.stack([(start == 0).to(end), torch.log1p(start) / 4.0, end.log() / 4.0], dim=1)
        gates: Tensor = 1.0 + self.gate(place)
        return gates

    def own(self, start: Tensor, end: Tensor, other_start: Tensor, other_end: Tensor) -> Tensor:
        """Covariance of points (m,) with points (k,) of the same pipeline, without noise; (m, k)."""
        kind, other_kind = (start > 0).long(), (other_start > 0).long()
        distance = (end.log()[:, None] - other_end.log()[None]).abs() / self.log_length.exp()[kind][:, None]
        amplitude = (2.0 * self.log_own).exp()[kind][:, None]
        return amplitude * torch.exp(-distance) * (kind[:, None] == other_kind[None])

    def noise(self, start: Tensor) -> Tensor:
        """Variance of the noise; (m,)."""
        return (2.0 * self.log_noise).exp()[(start > 0).long()]

    def loss(self, static: Tensor, run: Tensor, start: Tensor, end: Tensor, residual: Tensor) -> Tensor:
        """Exact negative log marginal likelihood per point of residuals (m,), without constants."""
        features = static[run] * self.gates(start, end)
        same = run[:, None] == run[None]
        covariance = features @ features.T + self.own(start, end, start, end) * same
        lower = torch.linalg.cholesky(covariance + torch.diag(self.noise(start) + 1e-6))
        white = torch.linalg.solve_triangular(lower, residual[:, None], upper=False)
        loss: Tensor = (0.5 * white.square().sum() + lower.diagonal().log().sum()) / len(residual)
        return loss

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """All parameters by name."""
        return {f"{PREFIX}{name}": value.numpy().copy() for name, value in self.state_dict().items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[np.generic]]) -> Self:
        """Inverse of `tensors`.

        Raises:
            ArtifactError: a parameter is missing or of another shape.
        """
        named = {
            name.removeprefix(PREFIX): value for name, value in tensors.items() if name.startswith(PREFIX)
        }
        state = {name: torch.as_tensor(np.array(value)) for name, value in named.items()}
        try:
            pipeline, model, task = (state[f"{group}.0.weight"].shape[1] for group in GROUPS)
            kernel = cls(pipeline, model, task, hidden=state["pipeline.0.weight"].shape[0])
            kernel.load_state_dict(state)
        except (KeyError, RuntimeError) as error:
            raise ArtifactError(f"The residual kernel of the predictor is damaged: {error}.") from error
        return kernel


def refitted(
    kernel: ResidualKernel, features: Features, points: Mapping[int, ResidualPoints], steps: int
) -> ResidualKernel:
    """The kernel after Adam on one search's points, of the pipelines that were observed longest if many."""
    longest = sorted(points, key=lambda pipeline: (-len(points[pipeline]), pipeline))
    parts = [points[pipeline] for pipeline in longest][:REFIT_PIPELINES]
    if not any(len(part) for part in parts):
        return kernel
    columns = [
        torch.as_tensor(np.concatenate([getattr(part, name) for part in parts]))
        for name in ("run", "start", "end", "residual")
    ]
    groups = _groups(features)
    finetuned = copy.deepcopy(kernel)
    parameters = list(finetuned.parameters())
    loss = partial(_refit_loss, finetuned, groups, columns)
    adam(loss, parameters, [REFIT_RATE] * len(parameters), steps)
    return finetuned


def _refit_loss(kernel: ResidualKernel, groups: Sequence[Tensor], columns: Sequence[Tensor]) -> Tensor:
    run, start, end, residual = columns
    return kernel.loss(kernel.static(*groups), run, start, end, residual)


def _groups(features: Features) -> list[Tensor]:
    """Inputs of the kernel's networks, a row for each candidate."""
    task = np.tile(features.task, (len(features.pipeline), 1))
    return [torch.as_tensor(group) for group in (features.pipeline, features.model, task)]


class ResidualPosterior:
    """Posterior of residuals given one search's points; only what changed is computed again.

    Deterministic: what it holds depends on the points alone, not on the order in which they came.
    """

    def __init__(
        self,
        kernel: ResidualKernel,
        features: Features,
        unseen: NDArray[np.int64] | None = None,
        unknown: Array | None = None,
    ) -> None:
        """Static features of the candidates are computed here, once.

        Args:
            kernel: of the residuals.
            features: of the n candidates.
            unseen: (n,) which of the unseen models a candidate has, from 0; -1: a model that is known.
            unknown: (n, k) columns of hyperparameters that meta-training did not know.
        """
        self._kernel = kernel
        with torch.no_grad():
            self._static = kernel.static(*_groups(features)).numpy()
        count = len(self._static)
        self._effects = _effects(np.full(count, -1) if unseen is None else unseen)
        if unknown is not None and unknown.shape[1]:
            self._effects = np.column_stack([self._effects, UNKNOWN_STD * unknown])
        self._gates: dict[tuple[float, float], Array] = {}
        self._factors: dict[bytes, Array] = {}
        self._white: dict[int, Array] = {}
        self.points: dict[int, ResidualPoints] = {}
        self.replace({})

    def replace(self, points: Mapping[int, ResidualPoints]) -> None:
        """Take `points` for all that is known of these pipelines."""
        self.points.update(points)
        for pipeline, part in points.items():
            features = self._features(part.run, part.start, part.end)
            rows = np.column_stack([features, part.residual])
            self._white[pipeline] = np.asarray(np.linalg.solve(self._factor(part), rows), dtype=np.float64)
        width = self._static.shape[1] + self._effects.shape[1]
        parts = [self._white[pipeline] for pipeline in sorted(self._white)]
        white = np.concatenate([np.zeros((0, width + 1)), *parts])
        moments = white.T @ white
        self._covariance = np.linalg.inv(np.eye(width) + moments[:-1, :-1])
        self._weights = self._covariance @ moments[:-1, -1]

    @torch.no_grad()
    def shift(self, ids: NDArray[np.int64], start: Array, end: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the residuals of points yet to come; both (m,)."""
        features = self._features(ids, start, end)
        mean = features @ self._weights
        variance = np.einsum("md,md->m", features @ self._covariance, features)
        own, noise = (
            (2.0 * scale).exp().numpy()[(start > 0).astype(np.int64)]
            for scale in (self._kernel.log_own, self._kernel.log_noise)
        )
        return mean, np.sqrt(variance + own + noise)

    def _features(self, ids: NDArray[np.int64], start: Array, end: Array) -> Array:
        """What all points share, of points of pipelines `ids`; (m, D + effects)."""
        places, position = np.unique(start + 1j * end, return_inverse=True)
        gates = self._gates_at(places.real, places.imag)[position]
        return np.column_stack([self._static[ids] * gates, self._effects[ids] * (start == 0)[:, None]])

    @torch.no_grad()
    def _gates_at(self, start: Array, end: Array) -> Array:
        """Gates of distinct starts and ends, both (k,), each computed once and by itself; (k, D)."""
        places = list(zip(start.tolist(), end.tolist(), strict=True))
        for place in places:
            if place not in self._gates:
                one = (torch.tensor([epoch], dtype=torch.float64) for epoch in place)
                self._gates[place] = self._kernel.gates(*one).numpy()[0]
        return np.array([self._gates[place] for place in places]).reshape(len(places), self._static.shape[1])

    @torch.no_grad()
    def _factor(self, points: ResidualPoints) -> Array:
        """Lower Cholesky factor of one pipeline's points without the shared part; (m, m)."""
        key = points.start.tobytes() + points.end.tobytes()
        if key not in self._factors:
            start, end = torch.as_tensor(points.start), torch.as_tensor(points.end)
            block = self._kernel.own(start, end, start, end) + torch.diag(self._kernel.noise(start) + 1e-6)
            self._factors[key] = np.linalg.cholesky(block.numpy())
        return self._factors[key]


def _effects(unseen: NDArray[np.int64]) -> Array:
    """Features of k unseen models: one of them all, one of each; (n, 1 + k), (n, 0) where there are none."""
    if (unseen < 0).all():
        return np.zeros((len(unseen), 0))
    own = unseen[:, None] == np.arange(unseen.max() + 1)
    return np.column_stack([UNSEEN_STD * (unseen >= 0), UNSEEN_MODEL_STD * own])
