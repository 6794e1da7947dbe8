"""Seconds of a pipeline's next epoch, from a physical prior and this search's own clock.

An epoch over N training images with batches of b costs

    seconds = N (e^θ₁ g (1 - ⅔ f) + e^θ₂ / b + e^θ₃) · e^(u_model + v_pipeline)

  g  giga multiply-adds of one forward pass; the backward pass costs two more, and a frozen share f saves them
  θ₁ log seconds per giga multiply-add and image: the device
  θ₂ log seconds per step: launching kernels, updating weights
  θ₃ log seconds per image: decoding, augmenting
  u  how well a model suits the device; v what else distinguishes a pipeline (amp, regularisers, …), and what
     hyperparameters of other spaces than the papers' do to it (`qtt.predictors.unknown`)

θ, u and v have Gaussian priors and log seconds a Gaussian error, so the posterior is that of a linear model
after each Gauss-Newton step. Costs are positive and finite by construction. The form is ours; Quick-Tune
(section 4) has a network here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qtt.predictors.base import SearchTask
from qtt.predictors.changes import ChangedCurves
from qtt.predictors.dynamics import number_or
from qtt.predictors.effects import SharedEffects
from qtt.predictors.unknown import unknown_effects
from qtt.runs.history import History
from qtt.space.hyperparameters import OWN
from qtt.types import Config, ModelCard

Array = NDArray[np.float64]

PRIOR_MEAN = np.log([5e-3, 3e-2, 1e-3])
"""θ before anything was observed: 5 ms per giga multiply-add, 30 ms per step, 1 ms per image."""

PRIOR_COVARIANCE = 1.0 + np.diag([1.0, 1.0, 1.0])
"""Its covariance: a machine may be fast or slow in all three, from a laptop's CPU to a workstation's GPU."""

MODEL_STD = 0.4
PIPELINE_STD = 0.3
EPOCH_STD = 0.05
"""Spread of u, of v, and of one pipeline's epochs around their own mean, in log seconds."""

UNKNOWN_STD = 0.7
"""Spread of the effect of hyperparameters that are none of the papers', in log seconds."""

GAUSS_NEWTON_STEPS = 24
DAMPING = 0.5
"""Full steps may oscillate where observations contradict the prior."""


@dataclass(frozen=True)
class CostInputs:
    """What costs depend on: terms (n, 3), log of N times the factors of θ; model (n,), an index or -1.

    unknown (n, k): columns of hyperparameters that are none of the papers'; None: there are none.
    """

    terms: Array
    model: NDArray[np.int64]
    unknown: Array | None = None

    @classmethod
    def of(cls, task: SearchTask) -> "CostInputs":
        """Inputs of all candidates."""
        images = task.metafeatures.train_images if task.metafeatures else 1000
        cards = {card.name: card for card in task.candidates.models}
        position = {name: k for k, name in enumerate(cards)}
        rows = [_terms(config, cards.get(str(config.get("model")))) for config in task.candidates.configs]
        known = [str(config.get("model")) for config in task.candidates.configs]
        model = [position.get(name, -1) for name in known]
        others = [name for name in task.options if name not in OWN and name != "model"]
        unknown = unknown_effects(others, task) if others else None
        return cls(np.array(rows) + math.log(images), np.array(model, dtype=np.int64), unknown)


class PhysicalCost:
    """Log-linear Bayesian regression around the physical prior; see the module."""

    def __init__(self) -> None:
        self._inputs: CostInputs | None = None
        self._log_seconds = np.zeros(0)

    def setup(self, task: SearchTask) -> None:
        """Start a new search."""
        self._inputs = CostInputs.of(task)
        self._log_seconds = log_seconds(self._inputs.terms, PRIOR_MEAN)
        self._counts, self._medians = np.zeros((2, len(task.candidates)))
        self._changed = ChangedCurves()

    def condition(self, history: History) -> None:
        """Learn from the seconds of every epoch seen so far."""
        assert self._inputs is not None
        for i, curve in self._changed.read(history).items():
            self._counts[i] = len(curve)
            self._medians[i] = np.median([math.log(seen.seconds) for seen in curve])
        ids = np.array(history.observed, dtype=np.int64)
        if len(ids):
            self._log_seconds = posterior(self._inputs, ids, self._medians[ids], self._counts[ids])

    def predict(self, config_ids: Sequence[int]) -> Array:
        """Seconds of each pipeline's next epoch, > 0; (n,)."""
        return np.exp(np.clip(self._log_seconds[list(config_ids)], -20.0, 20.0))


def log_seconds(terms: Array, theta: Array) -> Array:
    """Log of the sum over the three terms of exp(term + θ); (n,)."""
    return np.asarray(np.logaddexp.reduce(terms + theta, axis=1))


def posterior(inputs: CostInputs, ids: NDArray[np.int64], means: Array, counts: Array) -> Array:
    """Predicted log seconds of all n pipelines.

    Args:
        inputs: of all n pipelines.
        ids: (m,) pipelines seen, each once.
        means: (m,) typical log seconds of their epochs.
        counts: (m,) how many epochs.
    """
    columns = np.zeros((len(inputs.model), 0)) if inputs.unknown is None else UNKNOWN_STD * inputs.unknown
    effects = SharedEffects(columns, inputs.model, MODEL_STD, PIPELINE_STD)
    observed = effects.given(ids, EPOCH_STD**2 / counts)
    terms = inputs.terms[ids]
    theta = PRIOR_MEAN
    for _ in range(GAUSS_NEWTON_STEPS):
        shares = _shares(terms, theta)
        target = means - log_seconds(terms, theta) + shares @ (theta - PRIOR_MEAN)
        weighted = observed.solve(shares)
        precision = np.linalg.inv(PRIOR_COVARIANCE) + shares.T @ weighted
        newton = PRIOR_MEAN + np.linalg.solve(precision, weighted.T @ target)
        theta = theta + DAMPING * (newton - theta)
    residual = means - log_seconds(terms, theta)
    return np.asarray(log_seconds(inputs.terms, theta) + observed.spread(observed.solve(residual)))


def _shares(terms: Array, theta: Array) -> Array:
    """Derivative of `log_seconds` by θ: each term's share of the time; (n, 3)."""
    return np.asarray(np.exp(terms + theta - log_seconds(terms, theta)[:, None]))


def _terms(config: Config, card: ModelCard | None) -> list[float]:
    """Log of each term's factor, for one image."""
    frozen = 1.0 if config.get("linear_probing") else min(number_or(config.get("pct_to_freeze"), 0.0), 1.0)
    macs = 1.0 if card is None else card.macs or _guess_macs(card)
    batch_size = number_or(config.get("batch_size"), 32.0) or 32.0
    return [math.log(macs * (1.0 - frozen * 2.0 / 3.0)), -math.log(batch_size), 0.0]


def _guess_macs(card: ModelCard) -> float:
    """Typical of image models: 0.2 giga multiply-adds per million parameters at 224 pixels."""
    return 0.2 * card.params * (card.input_size / 224.0) ** 2
