"""A synthetic tuning task that runs in microseconds: a small search space with learning curves and costs.

Curves have the traits that matter to an optimizer. A pipeline's final score depends on its model, learning
rate and frozen share; large models cost more and learn more slowly, so the first epochs mislead; costs span
a factor of about fifty; a few pipelines diverge.
"""

import json
import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from qtt.hub.model_hub import ModelHub
from qtt.support.files import read_json
from qtt.types import Candidates, Config, MetaFeatures, ModelCard, Result, Status, TaskInfo, Trial

if TYPE_CHECKING:
    from qtt.space.config_manager import ConfigManager

CARDS = (
    ModelCard("small", "test_resnet.r160_in1k", "resnet", params=0.5, input_size=64, macs=0.05, top1=60.0),
    ModelCard("medium", "test_vit.r160_in1k", "vit", params=2.0, input_size=64, macs=0.3, top1=70.0),
    ModelCard("large", "test_convnext.r160_in1k", "convnext", params=9.0, input_size=96, macs=2.5, top1=80.0),
)
METAFEATURES = MetaFeatures(train_images=1000, num_classes=10, image_size=64, channels=3)


class SyntheticSpace:
    """A config manager of four hyperparameters, one of them conditional (`momentum`)."""

    cards = CARDS
    hub = ModelHub("synthetic", CARDS)
    options: Mapping[str, tuple[Any, ...]] = {
        "model": tuple(card.name for card in CARDS),
        "lr": (1e-5, 1e-4, 1e-3, 1e-2),
        "pct_to_freeze": (0.0, 0.4, 0.8),
        "batch_size": (8, 32, 128),
        "opt": ("sgd", "momentum", "adamw"),
        "momentum": (0.0, 0.9),
        "clip_grad": (None, 1.0, 10.0),
    }

    def sample(self, n: int, seed: int) -> Candidates:
        """`n` pipelines, drawn uniformly."""
        generator = np.random.default_rng(seed)
        return Candidates(tuple(self._draw(generator) for _ in range(n)), self.cards)

    def neighbours(self, config: Config, count: int, seed: int) -> list[Config]:
        """See `ConfigManager.neighbours`."""
        return self._manager.neighbours(config, count, seed)

    def adapt(self, config: Config, card: ModelCard | None = None) -> Config | None:
        """See `ConfigManager.adapt`."""
        return self._manager.adapt(config, card)

    @cached_property
    def _manager(self) -> "ConfigManager":
        import ConfigSpace as Cs

        from qtt.space.config_manager import ConfigManager

        space = Cs.ConfigurationSpace()
        for name, options in self.options.items():
            ordered = name in ("lr", "pct_to_freeze", "batch_size", "momentum")
            kind = Cs.OrdinalHyperparameter if ordered else Cs.CategoricalHyperparameter
            space.add(kind(name, list(options)))
        space.add(Cs.EqualsCondition(space["momentum"], space["opt"], "momentum"))
        return ConfigManager(space, self.hub)

    def _draw(self, generator: np.random.Generator) -> Config:
        config = {name: values[int(generator.integers(len(values)))] for name, values in self.options.items()}
        if config["opt"] != "momentum":
            del config["momentum"]
        return config


@dataclass(frozen=True)
class SyntheticCurves:
    """Scores and seconds of every pipeline of `SyntheticSpace`, as pure functions.

    noise: standard deviation of the score around its curve.
    """

    seed: int = 0
    noise: float = 0.01

    def score(self, config: Config, epoch: int) -> float:
        """Validation accuracy after `epoch` epochs, 0 to 1."""
        size = CARDS[[card.name for card in CARDS].index(config["model"])].params
        step = math.log10(config["lr"]) + (0.5 if config["opt"] == "adamw" else 0.0)
        fit = math.exp(-(((step + 3.0) / 1.2) ** 2)) * (1.0 - 0.4 * config["pct_to_freeze"])
        final = 0.15 + 0.8 * fit * (0.75 + 0.08 * math.log(1 + size))
        tau = 1.5 + 1.2 * math.log(1 + size) + config["batch_size"] / 64
        if step > -2.0:
            final *= math.exp(-0.2 * epoch)  # too large steps: it diverges
        draw = np.random.default_rng([self.seed, epoch, *_digest(config)]).normal()
        score = 0.1 + (final - 0.1) * (1.0 - math.exp(-epoch / tau)) + self.noise * float(draw)
        return min(max(float(score), 0.0), 1.0)

    def seconds(self, config: Config) -> float:
        """Cost of one epoch."""
        macs = CARDS[[card.name for card in CARDS].index(config["model"])].macs or 1.0
        share = 1.0 - 0.6 * config["pct_to_freeze"]
        return float(20.0 * macs**0.8 * share * (1.0 + 8.0 / config["batch_size"]))

    def results(self, trial: Trial, done: int = 0) -> list[Result]:
        """Results of the epochs after `done` until `trial.fidelity`."""
        return [
            Result(trial.config_id, epoch, self.score(trial.config, epoch), self.seconds(trial.config))
            for epoch in range(done + 1, trial.fidelity + 1)
        ]


def synthetic_objective(trial: Trial, task_info: TaskInfo) -> Iterator[Result]:
    """The curves as an objective: yields one result per epoch, and resumes where it stopped.

    `task_info.settings` may hold `failing`, ids of pipelines that fail at their first epoch. The epochs done
    are kept in `task_info.work_dir`; without one, every step starts from the first epoch.
    """
    if trial.config_id in task_info.settings.get("failing", ()):
        reason = {"reason": "synthetic failure"}
        yield Result(trial.config_id, 1, math.nan, 1e-3, Status.FAILED, reason)
        return
    curves = SyntheticCurves(task_info.seed)
    checkpoint = None
    done = 0
    if task_info.work_dir is not None:
        folder = task_info.work_dir / f"{trial.config_id:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint = folder / "epoch.json"
        done = read_json(checkpoint) if checkpoint.exists() else 0
    for result in curves.results(trial, done):
        if checkpoint is not None:
            checkpoint.write_text(json.dumps(result.fidelity))
        yield result


def _digest(config: Config) -> tuple[int, ...]:
    return (zlib.crc32(json.dumps(dict(config), sort_keys=True).encode()),)
