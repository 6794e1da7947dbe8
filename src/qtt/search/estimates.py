"""What is believed of a gain over a probe, so that luck on few validation images does not choose the winner.

A search looks at hundreds of scores of some hundred validation images, and the highest is the luckiest of the
good ones. A pipeline that begins with its model's probe can be judged better: its gain over the probe is
shrunk by how much of it may be noise (empirical Bayes; James and Stein 1961),

  estimate = probe + κ (score − probe),    κ = τ² / (τ² + σ²),

where σ is the standard error of the probe's score and τ the deviation of gains between pipelines, on the
scale of logits `GAIN_STD`. What is lost against the probe is not shrunk. κ is the same for all pipelines of a
model, so that among them the score decides as ever; between models it takes more than the luckier one.
"""

from dataclasses import replace

from qtt.runs.history import History, Observation
from qtt.space.horizon import begins_with_probe, is_probe
from qtt.types import Candidates, Result

GAIN_STD = 0.3
"""Of gains, in logits: those of a model and of a pipeline (`qtt.predictors.gain_posterior`) together."""

ROUNDING = 1e-9
"""Taken off a score to reach, lest the last bit of its computation keep weights from an incumbent."""


class Estimates:
    """Estimates of the results of a search."""

    def __init__(self) -> None:
        self._looked_at = 0
        self._probes: dict[str, int] = {}

    def with_estimate(self, result: Result, history: History, candidates: Candidates) -> Result:
        """The result, with an estimate where the probe of its model says more than the score alone."""
        probe = self._probe(result.config_id, history, candidates)
        if probe is None or not result.succeeded or "estimate" in result.info:
            return result
        gain = result.score - probe.score
        if gain <= 0:
            return result
        return replace(result, info={**result.info, "estimate": probe.score + believed(probe) * gain})

    def to_reach(self, config_id: int, history: History, candidates: Candidates) -> float | None:
        """The score from which on a pipeline's epoch may be the incumbent; None: any."""
        best = history.incumbent
        if best is None:
            return None
        if best.config_id == config_id:
            return best.score
        probe = self._probe(config_id, history, candidates)
        if probe is None or best.estimate <= probe.score:
            return best.estimate
        return probe.score + (best.estimate - probe.score) / believed(probe) - ROUNDING

    def _probe(self, config_id: int, history: History, candidates: Candidates) -> Observation | None:
        """What the probe scored that a pipeline begins with; None where it does not, or nobody knows."""
        for i in range(self._looked_at, len(candidates)):
            if is_probe(candidates.configs[i]):
                self._probes[str(candidates.configs[i].get("model"))] = i
        self._looked_at = len(candidates)
        config = candidates.configs[config_id]
        place = self._probes.get(str(config.get("model"))) if begins_with_probe(config) else None
        probe = None if place is None else history.best(place)
        return probe if probe is not None and probe.stderr and 0 < probe.score < 1 else None


def believed(probe: Observation) -> float:
    """κ, the share of a gain over this probe that is believed; the probe's error is known."""
    assert probe.stderr is not None
    signal = (GAIN_STD * probe.score * (1 - probe.score)) ** 2
    return signal / (signal + probe.stderr**2)
