"""Neural encoders: what a deep kernel sees of a pipeline at an epoch.

Notation: n points, T = largest fidelity, d_p, d_m, d_t = encoded columns of pipeline, model and task.
"""

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn

from qtt.predictors.points import Points


@dataclass(frozen=True)
class Inputs:
    """`Points` as float64 tensors, with standardised scores.

    pipeline (n, d_p), model (n, d_m), task (n, d_t): features. budget (n,): t/T.
    curve, seen (n, T): known scores, 0 where unknown, and 1 where known.
    last, gain, best (n,): the latest known score, its gain over the one before, the best one; 0 without any.
    started (n,): 1 where any score is known.
    """

    pipeline: Tensor
    model: Tensor
    task: Tensor
    budget: Tensor
    curve: Tensor
    seen: Tensor
    last: Tensor
    gain: Tensor
    best: Tensor
    started: Tensor

    @classmethod
    def of(cls, points: Points, center: float, scale: float) -> "Inputs":
        """Tensors of points, with known scores standardised by `center` and `scale`."""
        seen = torch.as_tensor(points.seen)
        curve = (torch.as_tensor(points.curve) - center) / scale * seen
        started = (seen.sum(1) > 0).to(curve)
        position = torch.arange(seen.shape[1]) * seen.to(torch.int64)
        latest = position.max(1, keepdim=True).values
        earlier = torch.where(position < latest, position, 0).max(1, keepdim=True).values
        last = curve.gather(1, latest).squeeze(1)
        best = torch.where(seen > 0, curve, -math.inf).max(1).values
        return cls(
            pipeline=torch.as_tensor(points.pipeline),
            model=torch.as_tensor(points.model),
            task=torch.as_tensor(points.task),
            budget=torch.as_tensor(points.budget),
            curve=curve,
            seen=seen,
            last=last,
            gain=(last - curve.gather(1, earlier).squeeze(1)) * (seen.sum(1) > 1),
            best=torch.where(started > 0, best, 0.0),
            started=started,
        )

    def rows(self, chosen: Tensor) -> "Inputs":
        """Some of the points."""
        return Inputs(*(getattr(self, item.name)[chosen] for item in fields(self)))


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two layers."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))


class GatedEncoder(nn.Module):
    """Every input times its own relevance, beside a small network of all of them; (n, inputs + outputs).

    The direct way makes similar pipelines similar from the first observation on; the network adds
    interactions as observations come.
    """

    def __init__(self, inputs: int, outputs: int, relevance: float, hidden: int = 32) -> None:
        super().__init__()
        self.log_relevance = nn.Parameter(torch.full((inputs,), math.log(relevance)))
        self.network = mlp(inputs, hidden, outputs) if inputs else None

    def forward(self, x: Tensor) -> Tensor:
        """Features of inputs x (n, inputs); none where there are no inputs."""
        direct = x * self.log_relevance.exp()
        return direct if self.network is None else torch.cat([direct, self.network(x)], dim=1)


class CurveEncoder(nn.Module):
    """Two convolutions over known scores and their mask, averaged over the known epochs; (n, outputs)."""

    def __init__(self, hidden: int = 8, outputs: int = 4) -> None:
        super().__init__()
        self.first = nn.Conv1d(2, hidden, kernel_size=3, padding=1)
        self.second = nn.Conv1d(hidden, outputs, kernel_size=3, padding=1)

    def forward(self, curve: Tensor, seen: Tensor) -> Tensor:
        """curve, seen (n, T); the outputs at unknown epochs are masked, so that the future cannot leak."""
        mask = seen.unsqueeze(1)
        hidden = nn.functional.gelu(self.first(torch.stack([curve, seen], dim=1))) * mask
        encoded: Tensor = self.second(hidden) * mask
        return encoded.sum(-1) / mask.sum(-1).clamp_min(1.0)


class PointEncoder(nn.Module):
    """Two sets of features of a point: of its pipeline, model and task, and of its place on the curve."""

    def __init__(self, pipeline: int, model: int, task: int) -> None:
        super().__init__()
        self.pipeline = GatedEncoder(pipeline, 8, relevance=0.22)
        self.model = GatedEncoder(model, 4, relevance=0.5)
        self.task = nn.Linear(task, 2)
        self.curve = CurveEncoder()
        self.log_scale = nn.Parameter(torch.tensor([0.0, 0.0, -0.7, 0.0, -0.7]))

    def static(self, x: Inputs) -> Tensor:
        """Pipeline, model and task; (n, d)."""
        return torch.cat([self.pipeline(x.pipeline), self.model(x.model), self.task(x.task)], dim=1)

    def progress(self, x: Inputs) -> Tensor:
        """Log budget, and what the known part of the curve looks like; (n, d)."""
        figures = torch.stack([x.budget.log(), 1.0 - x.started, x.last, x.gain, x.best - x.last], dim=1)
        return torch.cat([figures * self.log_scale.exp(), self.curve(x.curve, x.seen)], dim=1)
