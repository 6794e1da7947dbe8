"""Meta-training of the paper's predictors, one dataset a step (Quick-Tune, section 4 and appendix).

Each step draws one training dataset and a batch of its points, and minimises the exact negative log marginal
likelihood of their scores, and the squared error of their log seconds. Whole datasets are left out for
validation: given one batch of theirs, the likelihood of another decides which weights are kept.

Notation: n runs of a dataset, T = largest fidelity, b points (run, epoch) of a batch.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qtt.errors import ConfigError, unknown
from qtt.metatraining.runs import Runs
from qtt.predictors.features import FeatureSpec
from qtt.predictors.paper_network import PaperCostNetwork, PaperGP, PaperInputs

BATCH = 64
LEARNING_RATE = 1e-4
LAST_LEARNING_RATE = 1e-7
VALIDATIONS = 50
"""How often the validation datasets are asked, evenly over the steps."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Points with their scores (b,) and log seconds (b,), NaN where these are unknown."""

    x: PaperInputs
    scores: Tensor
    log_seconds: Tensor

    def __getitem__(self, rows: slice) -> "Batch":
        return Batch(PaperInputs(*(t[rows] for t in self.x)), self.scores[rows], self.log_seconds[rows])


@dataclass(frozen=True, eq=False)
class EncodedRuns:
    """One dataset, encoded once.

    pipeline (n, d_p), model (n, d_m), task (d_t,): features.
    scores, log_seconds, known (n, T): 0 and NaN where unknown; 1 where there is a score.
    epochs: every run with any score, and the positions of its scores.
    """

    pipeline: Tensor
    model: Tensor
    task: Tensor
    scores: Tensor
    log_seconds: Tensor
    known: Tensor
    epochs: tuple[tuple[int, NDArray[np.int64]], ...]

    @classmethod
    def of(cls, runs: Runs, spec: FeatureSpec) -> "EncodedRuns":
        """Encode a dataset.

        Raises:
            ConfigError: it has fewer than two scores.
        """
        known = np.isfinite(runs.scores)
        if known.sum() < 2:
            raise ConfigError(f"Dataset {runs.dataset} has fewer than two scores; leave it out.")
        features = spec.encode(runs.candidates, runs.metafeatures)
        seconds = np.where(runs.seconds > 0, runs.seconds, math.nan)
        return cls(
            pipeline=_tensor(features.pipeline),
            model=_tensor(features.model),
            task=_tensor(features.task),
            scores=_tensor(np.where(known, runs.scores, 0.0)),
            log_seconds=_tensor(np.log(seconds)),
            known=_tensor(known),
            epochs=tuple((i, np.flatnonzero(row)) for i, row in enumerate(known) if row.any()),
        )

    def draw(self, generator: np.random.Generator, size: int) -> Batch:
        """Different points: a run drawn uniformly, then one of its epochs; all where there are fewer."""
        size = min(size, sum(len(epochs) for _, epochs in self.epochs))
        points: dict[tuple[int, int], None] = {}
        while len(points) < size:
            run, epochs = self.epochs[int(generator.integers(len(self.epochs)))]
            points[run, int(epochs[int(generator.integers(len(epochs)))])] = None
        return self._batch(*torch.tensor(list(points)).T)

    def _batch(self, run: Tensor, epoch: Tensor) -> Batch:
        length = self.scores.shape[1]
        seen = self.known[run] * (torch.arange(length) < epoch.unsqueeze(1))
        x = PaperInputs(
            pipeline=self.pipeline[run],
            model=self.model[run],
            task=self.task.expand(len(run), -1),
            budget=(epoch + 1) / length,
            curve=self.scores[run] * seen,
            seen=seen,
        )
        return Batch(x, self.scores[run, epoch], self.log_seconds[run, epoch])


class PaperNetworks(nn.Module):
    """Both networks; the names of their tensors are those of `paper.safetensors`."""

    def __init__(self, spec: FeatureSpec) -> None:
        super().__init__()
        self.performance = PaperGP(spec)
        self.cost = PaperCostNetwork(spec)

    def calibrate(self, training: Sequence[EncodedRuns]) -> None:
        """Give both the mean and the spread of what they are to predict."""
        scores = torch.cat([part.scores[part.known > 0] for part in training])
        log_seconds = torch.cat([part.log_seconds[part.log_seconds.isfinite()] for part in training])
        for network, values in ((self.performance, scores), (self.cost, log_seconds)):
            if len(values) > 1 and values.std() > 0:
                network.center.copy_(values.mean())
                network.scale.copy_(values.std())

    def losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Of a batch from one dataset: of its scores, and of its log seconds."""
        return self.performance.loss(batch.x, batch.scores), self.cost_loss(batch)

    def cost_loss(self, batch: Batch) -> Tensor:
        """Mean squared error in the known log seconds, in units of their spread; 0 without any."""
        known = batch.log_seconds.isfinite()
        error = torch.where(known, self.cost(batch.x) - batch.log_seconds, 0.0) / self.cost.scale
        loss: Tensor = error.square().sum() / known.sum().clamp_min(1)
        return loss

    def predictive_loss(self, given: Batch, asked: Batch) -> Tensor:
        """Negative log-likelihood of each score of `asked` by itself, given the others; mean."""
        mean, std = self.performance.posterior(given.x, given.scores, asked.x)
        return nn.functional.gaussian_nll_loss(mean, asked.scores, std.square(), full=True)


def meta_train_paper(
    runs: Sequence[Runs],
    spec: FeatureSpec,
    *,
    seed: int,
    steps: int = 10_000,
    validation: Sequence[str] = (),
    progress: Callable[[int, float], None] | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Fit `PaperGP` and `PaperCostNetwork`.

    Args:
        runs: of all datasets.
        spec: the features.
        seed: of initial weights and draws.
        steps: of Adam.
        validation: datasets that are not trained on, but decide which weights are kept; none: the last ones.
        progress: told the steps done and the latest loss of a score: among the validation datasets, or in
            the training batch where there are none.

    Returns:
        The tensors of `paper.safetensors`.

    Raises:
        ConfigError: an unknown validation dataset, none left to train on, or one with fewer than two scores.
    """
    names = [part.dataset for part in runs]
    for name in validation:
        if name not in names:
            raise ConfigError(unknown("validation dataset", name, names))
    training = [EncodedRuns.of(part, spec) for part in runs if part.dataset not in validation]
    held_out = [EncodedRuns.of(part, spec) for part in runs if part.dataset in validation]
    if not training or steps < 1:
        raise ConfigError("Meta-training needs a step and a dataset that is not left out for validation.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        networks = PaperNetworks(spec)
    networks.calibrate(training)
    best = _Best(networks, held_out, seed)
    for step, loss in _descend(networks, training, steps, np.random.default_rng(seed)):
        figure = loss
        if held_out:
            if step % max(1, steps // VALIDATIONS) and step < steps:
                continue
            figure = best.update()
        if progress is not None:
            progress(step, figure)
    state = best.state if held_out else networks.state_dict()
    return {name: tensor.numpy() for name, tensor in state.items()}


def _descend(
    networks: PaperNetworks, training: Sequence[EncodedRuns], steps: int, generator: np.random.Generator
) -> Iterator[tuple[int, float]]:
    """Adam with a cosine schedule; yields the steps done and the Gaussian process's loss."""
    optimizer = torch.optim.Adam(networks.parameters(), lr=LEARNING_RATE, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, LAST_LEARNING_RATE)
    for step in range(1, steps + 1):
        dataset = training[int(generator.integers(len(training)))]
        performance, cost = networks.losses(dataset.draw(generator, BATCH))
        optimizer.zero_grad()
        (performance + cost).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        yield step, performance.item()


class _Best:
    """The weights that predict the validation datasets best, chosen for each network by itself."""

    def __init__(self, networks: PaperNetworks, held_out: Sequence[EncodedRuns], seed: int) -> None:
        self._networks = networks
        generator = np.random.default_rng([seed, 1])
        self._batches = [part.draw(generator, 2 * BATCH) for part in held_out]
        self._losses = {"performance": math.inf, "cost": math.inf}
        self.state: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self) -> float:
        """Keep the present weights where they are better; the Gaussian process's loss."""
        halves = [len(batch.scores) // 2 for batch in self._batches]
        pairs = [(batch[:half], batch[half:]) for batch, half in zip(self._batches, halves, strict=True)]
        losses = {
            "performance": float(np.mean([self._networks.predictive_loss(*pair) for pair in pairs])),
            "cost": float(np.mean([self._networks.cost_loss(asked) for _, asked in pairs])),
        }
        for name, loss in losses.items():
            if loss < self._losses[name]:
                self._losses[name] = loss
                current = copy.deepcopy(self._networks.state_dict())
                self.state |= {key: value for key, value in current.items() if key.startswith(f"{name}.")}
        return losses["performance"]


def _tensor(array: NDArray[np.generic]) -> Tensor:
    return torch.as_tensor(array, dtype=torch.float32)
