"""What finetuning gains over a linear probe: fits `qtt.predictors.gains` to recorded pipelines.

    python experiments/images/fit_gains.py                    # means and deviations, as COLUMNS wants them
    python experiments/images/fit_gains.py --left-out         # how those of the other sets describe each set

Notation: d columns, k points of a set (epochs of its pipelines), ψ (k, d), gains y (k,) in logits.

Every set has weights of its own, w ~ N(μ, Σ), Σ diagonal, so that y ~ N(ψ μ, ψ Σ ψᵀ + K) with K of what
models, pipelines and epochs have of their own (see `qtt.predictors.gains`). μ, Σ and the deviations in K
maximise the likelihood of all sets and a prior around `BEFORE`. What a pipeline gains on the validation
images alone cannot be told from what it gains: `own` is the two together, √(OWN_STD² + LUCK_STD²).
"""

import argparse
import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from qtt.predictors.gain_posterior import POWER
from qtt.predictors.gains import COLUMNS, columns, compared
from qtt.predictors.prior import logit
from qtt.types import Candidates, MetaFeatures, ModelCard

Array = NDArray[np.float64]

GAINS = Path(__file__).with_name("gains.csv")
BEFORE = dict.fromkeys(COLUMNS, (0.0, 0.15)) | {
    "intercept": (0.3, 0.2),
    "hot": (-2.0, 1.0),
    "norms": (-0.9, 1.0),
    "dip": (-0.5, 0.3),
}
"""Mean and standard deviation of each weight that a fit begins with, and is drawn towards."""
OWN = {"model": 0.2, "own": 0.25, "noise": 0.15, "dip": 0.5}
"""The same of the deviations of models, pipelines, epochs, and of first epochs."""
MEAN_SPREAD, LOG_SPREAD = 0.4, 0.5
"""Prior standard deviations of μ, and of the logarithm of all deviations."""


@dataclass(frozen=True)
class Points:
    """Those of one set: ψ (k, d), gains (k,), pipeline (k,), model (k,), share of the schedule (k,)."""

    psi: Array
    gain: Array
    run: Array
    model: Array
    share: Array

    def loss(self, means: Array, stds: Array, own: Mapping[str, float]) -> float:
        """Negative log likelihood, without its constant."""
        same_run, same_model = self.run[:, None] == self.run, self.model[:, None] == self.model
        early = (1.0 - self.share) ** 2
        covariance = (self.psi * stds**2) @ self.psi.T
        covariance += np.outer(self.share, self.share) ** POWER * (
            own["own"] ** 2 * same_run + own["model"] ** 2 * same_model
        )
        covariance += own["dip"] ** 2 * np.outer(early, early) * same_run
        covariance += own["noise"] ** 2 * np.eye(len(self.gain))
        factor = cho_factor(covariance, lower=True)
        rest = self.gain - self.psi @ means
        return float(0.5 * rest @ cho_solve(factor, rest) + np.log(np.diag(factor[0])).sum())


def read(file: Path) -> dict[str, Points]:
    """Points of each set."""
    with file.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    return {name: _points([row for row in rows if row["dataset"] == name]) for name in _sets(rows)}


def _sets(rows: Sequence[Mapping[str, str]]) -> list[str]:
    return sorted({row["dataset"] for row in rows})


def _points(rows: Sequence[Mapping[str, str]]) -> Points:
    configs = tuple(_config(row) for row in rows)
    cards = {row["model"]: ModelCard(row["model"], "", "", 0.0, 0, macs=float(row["macs"])) for row in rows}
    task = MetaFeatures(int(rows[0]["images"]), int(rows[0]["classes"]), 128, 3)
    starts = [float(logit(np.array(float(row["probe"])))) for row in rows]
    static = np.column_stack(
        [columns(Candidates(configs, tuple(cards.values())), task, 50), np.array(starts) - 1.0]
    )
    run, share, gain = [], [], []
    for i, row in enumerate(rows):
        scores = np.maximum.accumulate([float(score) for score in row["epochs"].split()])
        for epoch in compared(len(scores)):
            run.append(i)
            share.append((epoch + 1) / int(row["schedule_epochs"]))
            gain.append(float(logit(scores[epoch])) - starts[i])
    shares = np.array(share)
    psi = np.column_stack([shares[:, None] ** POWER * static[run], (1.0 - shares) ** 2])
    models = np.unique([row["model"] for row in rows], return_inverse=True)[1]
    return Points(psi, np.array(gain), np.array(run), models[run], shares)


def _config(row: Mapping[str, str]) -> dict[str, object]:
    numbers = ("lr", "pct_to_freeze", "mixup", "smoothing", "hflip")
    return {
        "model": row["model"],
        **{name: float(row[name]) for name in numbers},
        **{name: int(row[name]) for name in ("schedule_epochs", "batch_size")},
        "layer_decay": float(row["layer_decay"]) if row["layer_decay"] else None,
        "data_augmentation": row["data_augmentation"] or None,
        "freeze_norms": row["freeze_norms"] == "True",
    }


@dataclass(frozen=True)
class Fit:
    """What was found."""

    means: Array
    stds: Array
    own: Mapping[str, float]

    @classmethod
    def of(cls, vector: Array) -> "Fit":
        """From a vector like that of `start`."""
        d = len(COLUMNS)
        own = dict(zip(OWN, np.exp(vector[2 * d :]).tolist(), strict=True))
        return cls(vector[:d], np.exp(vector[d : 2 * d]), own)

    def loss(self, points: Points) -> float:
        """Negative log likelihood of a set."""
        return points.loss(self.means, self.stds, self.own)


def start() -> Array:
    """`BEFORE` and `OWN` as one vector."""
    means, stds = np.array(list(BEFORE.values())).T
    return np.concatenate([means, np.log(stds), np.log(list(OWN.values()))])


def fit(sets: Sequence[Points]) -> Fit:
    """The most likely parameters, given sets and prior."""
    before = start()
    spread = np.full(len(before), LOG_SPREAD)
    spread[: len(COLUMNS)] = MEAN_SPREAD

    def loss(vector: Array) -> float:
        prior = 0.5 * (((vector - before) / spread) ** 2).sum()
        return float(prior + sum(Fit.of(vector).loss(points) for points in sets))

    return Fit.of(minimize(loss, before, method="L-BFGS-B", options={"maxiter": 300}).x)


def main() -> None:
    """Print the fit, or what it says of sets that it has not seen."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", nargs="?", type=Path, default=GAINS)
    parser.add_argument("--left-out", action="store_true", help="fit to all sets but one, in turn")
    arguments = parser.parse_args()
    show = Console(highlight=False).print
    sets = read(arguments.file)
    if arguments.left_out:
        show("Negative log likelihood a point: before any fit, and fitted to the other sets")
        for name, points in sets.items():
            other = fit([rest for key, rest in sets.items() if key != name])
            before, after = (found.loss(points) / len(points.gain) for found in (Fit.of(start()), other))
            show(f"  {name:<16} {before:6.2f} {after:6.2f}   ({len(points.gain)} points)")
        return
    found = fit(list(sets.values()))
    for name, mean, std in zip(COLUMNS, found.means, found.stds, strict=True):
        show(f'    "{name}": ({mean:.2f}, {std:.2f}),')
    show(", ".join(f"{name} {value:.2f}" for name, value in found.own.items()))


if __name__ == "__main__":
    main()
