"""The search that the figures show: Quick-Tune with a shipped artifact, on curves whose truth is known."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from qtt.artifacts.pretrained import quick_tune
from qtt.optimizers.acquisition import expected_epochs, improvement, log_improvement_per_second
from qtt.optimizers.quick import QuickTune
from qtt.testing import METAFEATURES, SyntheticCurves, SyntheticSpace, play
from qtt.types import Result

CANDIDATES, STEPS, SEED = 24, 45, 1


@dataclass(frozen=True)
class Story:
    """optimizer: after the steps. told: every result in order. curves: the truth."""

    optimizer: QuickTune
    told: tuple[Result, ...]
    curves: SyntheticCurves


def search(steps: int = STEPS) -> Story:
    """Ask, look up the epoch, tell, `steps` times."""
    optimizer = quick_tune(SyntheticSpace(), weights="mtlbm/micro", seed=SEED)
    optimizer.setup(SyntheticSpace().sample(CANDIDATES, SEED), METAFEATURES)
    curves = SyntheticCurves(SEED)
    told = play(optimizer, steps, curves)
    for predictor in (optimizer.performance, optimizer.cost, optimizer.failure):
        predictor.condition(optimizer.history)  # as the next ask would
    return Story(optimizer, tuple(told), curves)


def decision(story: Story) -> pd.DataFrame:
    """What the next ask weighs, from the predictions alone: one row for each live candidate, the best first.

    Columns: config_id, model, done (epochs), ahead (epochs to the best horizon), mean, low and high of the
    score there (one standard deviation away), gain (expected improvement), seconds (that getting there is
    expected to take), value (gain per second).
    """
    optimizer = story.optimizer
    live = optimizer.live()
    incumbent = optimizer.history.incumbent
    best = 1.0 / METAFEATURES.num_classes if incumbent is None else incumbent.score
    seconds, survival = optimizer.cost.predict(live), 1.0 - optimizer.failure.predict(live)
    rows = []
    for i, each, survives in zip(live, seconds, survival, strict=True):
        done = optimizer.history.fidelity(i)
        ends = np.clip(done + optimizer.horizons, None, optimizer.max_fidelity)
        predicted = optimizer.performance.predict([i] * len(ends), list(ends))
        log_gain, probability = improvement(predicted, best)
        log_gain = log_gain + np.log(survives)
        cost = each * expected_epochs((ends - done).astype(float), probability, optimizer.patience)
        value = log_improvement_per_second(log_gain, cost)
        h = int(np.argmax(value))
        mean, std = predicted.mean[h], predicted.std[h]
        low, middle, high = (_score(mean + side * std, predicted.link) for side in (-1, 0, 1))
        model = optimizer.candidates.configs[i]["model"]
        gain, worth = np.exp(log_gain[h]), np.exp(value[h])
        rows.append((i, model, done, ends[h] - done, middle, low, high, gain, cost[h], worth))
    columns = ["config_id", "model", "done", "ahead", "mean", "low", "high", "gain", "seconds", "value"]
    return pd.DataFrame(rows, columns=columns).sort_values("value", ascending=False, ignore_index=True)


def _score(value: float, link: str) -> float:
    return float(1.0 / (1.0 + np.exp(-value))) if link == "logit" else float(value)


def posterior(story: Story, config_id: int) -> pd.DataFrame:
    """The best score that is expected of a pipeline until every later epoch, with the truth.

    Columns: epoch, low, mean, high, truth.
    """
    optimizer = story.optimizer
    epochs = list(range(optimizer.history.fidelity(config_id) + 1, optimizer.max_fidelity + 1))
    predicted = optimizer.performance.predict([config_id] * len(epochs), epochs)
    config = optimizer.candidates.configs[config_id]
    frame = pd.DataFrame({"epoch": epochs})
    for name, side in (("low", -1), ("mean", 0), ("high", 1)):
        frame[name] = [_score(value, predicted.link) for value in predicted.mean + side * predicted.std]
    seen = optimizer.history.best(config_id)
    reached = 0.0 if seen is None else seen.score
    scores = [story.curves.score(config, epoch) for epoch in epochs]
    frame["truth"] = np.maximum(reached, np.maximum.accumulate(scores))
    return frame
