"""The paper's performance predictor: a meta-learned deep-kernel Gaussian process (Quick-Tune, section 4)."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from qtt.errors import PredictionError
from qtt.history import History
from qtt.predictors.base import SearchTask
from qtt.predictors.paper_finetuning import OnlineFit, RefitPlan
from qtt.predictors.paper_network import PaperGP, PaperInputs, paper_builder, paper_network, paper_spec
from qtt.types import Prediction


class PaperPerformance:
    """Conditions on this search's observations alone, and is finetuned on them."""

    def __init__(
        self,
        weights: Path | str | None = None,
        *,
        early: int = 10,
        early_steps: int = 200,
        steps: int = 50,
        every: int = 5,
        patience: int = 100,
        learning_rate: float = 1e-3,
        max_observations: int = 128,
    ) -> None:
        """Create a predictor; nothing is read or drawn before `setup`.

        Args:
            weights: artifact folder with `features.json` and `paper.safetensors`; None for random weights.
            early: see `RefitPlan`, as are the next four.
            early_steps: of Adam, at the start and after a restart.
            steps: of Adam later on.
            every: observations per refit later on; the paper has 1, which takes five times as long.
            patience: observations without improvement that lead to a restart.
            learning_rate: of Adam.
            max_observations: how many epochs to condition on; see `PointBuilder.observed`.
        """
        self.weights = None if weights is None else Path(weights)
        self.plan = RefitPlan(early, early_steps, steps, every, patience, learning_rate)
        self.max_observations = max_observations
        self._fit: OnlineFit[PaperGP] | None = None

    def setup(self, task: SearchTask) -> None:
        """Start a new search.

        Raises:
            ArtifactError: weights that are missing or malformed.
        """
        spec = paper_spec(task, self.weights)
        self._builder = paper_builder(task, spec)
        self._network = paper_network(PaperGP, spec, self.weights, task.seed)
        self._fit = OnlineFit(self.plan, self._network, self._objective)
        self._history = History()

    def condition(self, history: History) -> None:
        """Finetune on the observations, as far as the plan says so after these."""
        if self._fit is None:
            raise PredictionError("The predictor has no task yet; call setup(task) first.")
        self._history = history
        self._network = self._fit.after(history)

    @torch.no_grad()
    def predict(self, config_ids: Sequence[int], fidelities: Sequence[int]) -> Prediction:
        """Mean and standard deviation of the scores, (m,)."""
        if self._fit is None:
            raise PredictionError("The predictor has no task yet; call setup(task) first.")
        x, scores = self._support(self._history)
        query = PaperInputs.of(self._builder.queries(self._history, config_ids, fidelities))
        mean, std = self._network.posterior(x, scores, query)
        return Prediction(np.asarray(mean), np.asarray(std))

    def _support(self, history: History) -> tuple[PaperInputs, Tensor]:
        points, scores = self._builder.observed(history, self.max_observations)
        return PaperInputs.of(points), torch.as_tensor(scores)

    def _objective(self, history: History) -> Callable[[PaperGP], Tensor]:
        x, scores = self._support(history)
        return lambda network: network.loss(x, scores)
