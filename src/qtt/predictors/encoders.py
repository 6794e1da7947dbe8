"""Neural encoders: what a deep kernel sees of a pipeline at an epoch.

Notation: n points, T = largest fidelity, d_p, d_m, d_t = encoded columns of pipeline, model and task.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from qtt.predictors.points import Points


@dataclass(frozen=True)
class Inputs:
    """`Points` as float64 tensors: pipeline, model, task (n, d_·), budget (n,), curve and seen (n, T)."""

    pipeline: Tensor
    model: Tensor
    task: Tensor
    budget: Tensor
    curve: Tensor
    seen: Tensor

    @classmethod
    def of(cls, points: Points, center: float, scale: float) -> "Inputs":
        """Tensors of points, with known scores standardised by `center` and `scale`."""
        seen = torch.as_tensor(points.seen)
        return cls(
            pipeline=torch.as_tensor(points.pipeline),
            model=torch.as_tensor(points.model),
            task=torch.as_tensor(points.task),
            budget=torch.as_tensor(points.budget),
            curve=(torch.as_tensor(points.curve) - center) / scale * seen,
            seen=seen,
        )


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two layers."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))


class CurveEncoder(nn.Module):
    """Two convolutions over known scores and their mask, averaged over the known epochs; (n, outputs)."""

    def __init__(self, hidden: int = 8, outputs: int = 16) -> None:
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
    """Encoders of pipeline, model, curve and task, and a head over them and the budget; (n, outputs)."""

    def __init__(self, pipeline: int, model: int, task: int, hidden: int = 32, outputs: int = 32) -> None:
        super().__init__()
        self.pipeline = mlp(pipeline, hidden, 16)
        self.model = mlp(model, hidden, 8)
        self.task = mlp(task, 8, 4)
        self.curve = CurveEncoder()
        self.head = mlp(16 + 8 + 4 + 16 + 1, hidden, outputs)

    def forward(self, x: Inputs) -> Tensor:
        """Features of the points."""
        parts = [
            self.pipeline(x.pipeline),
            self.model(x.model),
            self.task(x.task),
            self.curve(x.curve, x.seen),
        ]
        encoded: Tensor = self.head(torch.cat([*parts, x.budget.unsqueeze(1)], dim=1))
        return encoded
