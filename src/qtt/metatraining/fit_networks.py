"""Fits networks for the prior: all members side by side, each with weights and batches of its own."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qtt.predictors.networks import Networks

Array = NDArray[np.float64]

HIDDEN = 96
EPOCHS = 25
BATCH = 512
LEARNING_RATE = 4e-3
WEIGHT_DECAY = 1.0
DROPOUT = 0.2


def fit_networks(rows: Array, target: Array, seed: int, members: int = 3) -> Networks:
    """Networks for rows (m, d), NaN where unknown, and targets (m,); the same for the same seed."""
    center, scale = _moments(rows)
    shift, unit = float(target.mean()), float(target.std()) + 1e-9
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parameters = _initial(members, rows.shape[1])
        blank = Networks(center, scale, *(np.zeros(0) for _ in parameters))
        inputs = torch.as_tensor(blank.standardise(rows), dtype=torch.float32)
        wanted = torch.as_tensor((target - shift) / unit, dtype=torch.float32)
        _train(parameters, inputs, wanted)
    weights = [parameter.detach().numpy().astype(np.float64) for parameter in parameters]
    weights[4], weights[5] = weights[4] * unit, weights[5] * unit + shift
    return Networks(center, scale, *weights)


def _moments(rows: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of the finite numbers of each column, 0 where it has none; both (d,)."""
    known = np.isfinite(rows)
    count = np.maximum(known.sum(axis=0), 1)
    center = np.where(known, rows, 0.0).sum(axis=0) / count
    deviation = np.where(known, rows - center, 0.0)
    return center, np.sqrt((deviation**2).sum(axis=0) / count) + 1e-6


def _initial(members: int, width: int) -> list[Tensor]:
    """Weights and biases of the three layers, uniform within 1/√(fan in)."""
    shapes = [((width, HIDDEN), width), ((HIDDEN, HIDDEN), HIDDEN), ((HIDDEN,), HIDDEN)]
    parameters = []
    for shape, fan_in in shapes:
        for size in (shape, shape[1:]):
            bound = fan_in**-0.5
            parameters.append(torch.empty(members, *size).uniform_(-bound, bound).requires_grad_())
    return parameters


def _train(parameters: list[Tensor], inputs: Tensor, target: Tensor) -> None:
    count, members = len(inputs), len(parameters[0])
    batch = min(BATCH, count)
    steps = EPOCHS * (count // batch)
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for _ in range(EPOCHS):
        order = torch.stack([torch.randperm(count) for _ in range(members)])
        for start in range(0, count - batch + 1, batch):
            rows = order[:, start : start + batch]
            loss = (_forward(parameters, inputs[rows]) - target[rows]).square().mean(dim=1).sum()
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()


def _forward(parameters: list[Tensor], rows: Tensor) -> Tensor:
    """Outputs for rows (k, m, d) in training mode; (k, m)."""
    weight1, bias1, weight2, bias2, weight3, bias3 = parameters
    drop, silu = torch.nn.functional.dropout, torch.nn.functional.silu
    hidden = drop(silu(torch.baddbmm(bias1[:, None], rows, weight1)), DROPOUT)
    hidden = drop(silu(torch.baddbmm(bias2[:, None], hidden, weight2)), DROPOUT)
    return torch.einsum("kmh,kh->km", hidden, weight3) + bias3[:, None]
