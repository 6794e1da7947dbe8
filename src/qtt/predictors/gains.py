"""What finetuning adds to a model's linear probe, for pipelines that begin there.

A probe says, for seconds, how a model's features suit these very images, which no descriptor of model or
dataset does. The score of a pipeline i that begins with its model's probe is, on the logit scale,

  z(i, s) = z_probe + ρ(s) (w · φ_i + u_model + ε_i) + (1 − s)² (v + δ_i) + noise,    w, v ~ N(μ, Σ),

where φ are columns of its hyperparameters, s the share of its schedule, ρ(s) = s^p how much of the gain is
there by then, and v + δ what it loses at first, when steps are large. The posterior given all gains seen in
a search is exact: a Gaussian process with the kernel ψᵀ Σ ψ′ + ρ(s) ρ(s′) (τ² [same model] + σ² [same
pipeline]) of the columns ψ = (ρ(s) φ, (1 − s)²). μ and Σ are `COLUMNS`. δ is noise that fades, and shared by
the epochs of a pipeline: a first epoch far below the probe says little of the last one.

Notation: n candidates, m points, d columns.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from qtt.predictors.base import PerformancePredictor, SearchTask
from qtt.predictors.changes import ChangedCurves
from qtt.predictors.dynamics import UNKNOWN_TASK
from qtt.predictors.fantasies import NOTHING, Curves, Fantasy, Supposed, SupposingPredictor
from qtt.predictors.gain_posterior import GainPosterior, Points
from qtt.predictors.prior import logit
from qtt.runs.history import Curve, History
from qtt.space.horizon import begins_with_probe, is_probe, last_epoch
from qtt.types import Candidates, Config, MetaFeatures, Prediction

Array = NDArray[np.float64]
Ids = NDArray[np.int64]

COLUMNS = {
    "intercept": (0.25, 0.2),
    "rate": (0.2, 0.15),
    "hot": (-2.3, 1.3),
    "layer_decay": (-0.15, 0.15),
    "norms": (-0.9, 1.0),
    "frozen": (0.15, 0.15),
    "updates": (0.7, 0.3),
    "hflip": (0.0, 0.2),
    "augmentation": (-0.2, 0.2),
    "mixup": (-0.15, 0.15),
    "smoothing": (0.1, 0.2),
    "size": (0.0, 0.2),
    "level": (-0.2, 0.15),
    "dip": (-0.65, 0.25),
}
"""Mean and standard deviation of each weight, in logits, near what `experiments/images/fit_gains.py` finds.

rate: tenfold steps of the mean learning rate of what is trained above 1e-4; hot: the square of those above
2e-4; norms: that batch norms train; frozen: share of the backbone; updates: tenfold steps above 50; size:
those of the model's multiply-adds above 0.3 G, where they are known; level: logit of the probe above 1;
dip: v.
"""

BLOCKS = 16
"""Of a usual network, over which layer decay spreads the rate."""

UNPROBED_STD = 0.5
"""Of the logit score of a probe that nobody has fitted."""

MOST_POINTS = 6
"""Epochs of a pipeline that are compared; of more, some of each stage of its schedule."""


def columns(candidates: Candidates, task: MetaFeatures, bound: int) -> Array:
    """φ of pipelines without `level`, which follows from their probes; (n, d - 2)."""
    macs = {card.name: card.macs for card in candidates.models}
    return np.array(
        [_row(config, macs.get(str(config.get("model"))), task, bound) for config in candidates.configs]
    )


def _row(config: Config, macs: float | None, task: MetaFeatures, bound: int) -> list[float]:
    decay = config.get("layer_decay")
    frozen = config.get("pct_to_freeze") or 0.0
    trained = np.arange(max(round(BLOCKS * (1.0 - frozen)), 1))
    usual = 1.0 if decay is None else float(np.mean(decay**trained))
    rate = math.log10(config.get("lr", 1e-3) * usual / 1e-4)
    updates = task.train_images / config.get("batch_size", 32) * last_epoch(config, bound)
    return [
        1.0,
        rate,
        max(rate - 0.3, 0.0) ** 2,
        float(decay is not None),
        float(not config.get("freeze_norms")),
        frozen,
        math.log10(updates / 50.0),
        float((config.get("hflip") or 0.0) > 0),
        float(config.get("data_augmentation") is not None),
        float((config.get("mixup") or 0.0) > 0),
        float((config.get("smoothing") or 0.0) > 0),
        math.log10(macs / 0.3) if macs else 0.0,
    ]


def compared(epochs: int) -> Ids:
    """Positions of the epochs of a curve that become points, at most `MOST_POINTS`."""
    return np.unique(np.linspace(0, epochs - 1, min(epochs, MOST_POINTS)).round().astype(np.int64))


class GainsOverProbes:
    """Predicts pipelines that begin with a probe from it, all others as another predictor does.

    learned_metric: of the other predictor.
    """

    def __init__(self, others: PerformancePredictor) -> None:
        self.others = others
        self.learned_metric: str | None = getattr(others, "learned_metric", None)
        self._probed: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)

    def setup(self, task: SearchTask) -> None:
        """Start a new search."""
        self.others.setup(task)
        configs = task.candidates.configs
        described = task.metafeatures or UNKNOWN_TASK
        self._probed = np.array([begins_with_probe(config) for config in configs])
        self._probes = {str(c.get("model")): i for i, c in enumerate(configs) if is_probe(c)}
        self._models = [str(config.get("model")) for config in configs]
        self._model = np.unique(self._models, return_inverse=True)[1]
        self._last = np.array([last_epoch(config, task.max_fidelity) for config in configs], dtype=float)
        self._static = columns(task.candidates, described, task.max_fidelity)
        self._known: Mapping[str, float] = {}
        self._start, self._start_std = np.zeros((2, len(configs)))
        self._posterior: GainPosterior | None = None
        self._changed = ChangedCurves()
        self._compared: dict[int, tuple[Array, Array]] = {}

    def condition(self, history: History) -> None:
        """Learn from probes, and from what was gained over them."""
        self.others.condition(history)
        self._learn(history)

    def suppose(self, history: History, fantasies: Mapping[int, Fantasy]) -> None:
        """See `SupposingPredictor`."""
        if isinstance(self.others, SupposingPredictor):
            self.others.suppose(history, fantasies)
        else:
            self.others.condition(history)
        self._learn(history, fantasies)

    def _learn(self, history: History, fantasies: Mapping[int, Fantasy] = NOTHING) -> None:
        """From probes that were fitted, and from gains that were seen or are supposed."""
        for i, curve in self._changed.read(history, fantasies).items():
            if self._probed[i]:
                self._compared[i] = self._compare(i, curve)
        known = {model: history.best(i) for model, i in self._probes.items()}
        self._known = {m: float(logit(np.array(seen.score))) for m, seen in known.items() if seen is not None}
        if not self._known:
            self._posterior = None
            return
        usual = float(np.mean(list(self._known.values())))
        self._start = np.array([self._known.get(model, usual) for model in self._models])
        unknown = np.array([model not in self._known for model in self._models])
        self._start_std = UNPROBED_STD * unknown
        features = np.column_stack([self._static, self._start - 1.0])
        means, stds = np.array(list(COLUMNS.values())).T
        self._posterior = GainPosterior(
            features, self._model, means, stds, self._points(Supposed(history, fantasies))
        )

    def predict(self, config_ids: Sequence[int], fidelities: Sequence[int]) -> Prediction:
        """Logit of the best score until each fidelity, mean and std, both (m,).

        Where no pipeline begins with a probe, or none was fitted, whatever the other predictor says.
        """
        ids, ends = np.asarray(config_ids, dtype=np.int64), np.asarray(fidelities, dtype=np.int64)
        mine = self._probed[ids]
        if self._posterior is None or not mine.any():
            return self.others.predict(config_ids, fidelities)
        mean, std = np.zeros((2, len(ids)))
        gain, spread = self._posterior.predict(ids[mine], ends[mine] / self._last[ids[mine]])
        mean[mine] = self._start[ids[mine]] + gain
        std[mine] = np.hypot(spread, self._start_std[ids[mine]])
        if not mine.all():
            mean[~mine], std[~mine] = _on_logits(
                self.others.predict(ids[~mine].tolist(), ends[~mine].tolist())
            )
        return Prediction(mean, std, link="logit")

    def _compare(self, config_id: int, curve: Curve) -> tuple[Array, Array]:
        """Shares of the schedule, and logits of the best score until then."""
        chosen = compared(len(curve))
        best = np.maximum.accumulate([seen.score for seen in curve])[chosen]
        epochs = np.array([seen.fidelity for seen in curve])[chosen]
        return epochs / self._last[config_id], logit(best)

    def _points(self, curves: Curves) -> Points:
        """What was gained over probes, in the order in which pipelines were first observed."""
        runs = [i for i in curves.observed if i in self._compared and self._models[i] in self._known]
        parts = [self._compared[i] for i in runs]
        run = np.repeat(np.array(runs, dtype=np.int64), [len(share) for share, _ in parts])
        share, reached = (np.concatenate([np.zeros(0), *(part[k] for part in parts)]) for k in (0, 1))
        return Points(run, share, reached - self._start[run])


def _on_logits(found: Prediction) -> tuple[Array, Array]:
    """A prediction of scores on the scale of their logits, to the first order."""
    if found.link == "logit":
        return found.mean, found.std
    mean = np.clip(found.mean, 0.01, 0.99)
    return logit(mean), found.std / (mean * (1.0 - mean))
