"""The paper's performance predictor: a meta-learned deep-kernel Gaussian process (Quick-Tune, section 4)."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from qtt.predictors.base import SearchTask
from qtt.predictors.fantasies import Curves, Fantasy, Supposed
from qtt.predictors.paper_finetuning import OnlinePredictor, RefitPlan
from qtt.predictors.paper_network import PaperGP, PaperInputs
from qtt.runs.history import History
from qtt.types import ACCURACY, Prediction


class PaperPerformance(OnlinePredictor[PaperGP]):
    """Conditions on this search's observations alone, and is finetuned on them.

    learned_metric: of the curves that its weights were fitted to; None for random weights.
    """

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
        plan = RefitPlan(early, early_steps, steps, every, patience, learning_rate)
        super().__init__(PaperGP, weights, plan)
        self.max_observations = max_observations
        self.learned_metric = None if weights is None else ACCURACY

    def setup(self, task: SearchTask) -> None:
        """See `OnlinePredictor.setup`."""
        super().setup(task)
        self._curves: Curves = self._history

    def condition(self, history: History) -> None:
        """See `OnlinePredictor.condition`."""
        super().condition(history)
        self._curves = history

    def suppose(self, history: History, fantasies: Mapping[int, Fantasy]) -> None:
        """See `SupposingPredictor`."""
        self.condition(history)
        self._curves = Supposed(history, fantasies)

    @torch.no_grad()
    def predict(self, config_ids: Sequence[int], fidelities: Sequence[int]) -> Prediction:
        """Mean and standard deviation of the scores, (m,)."""
        self._ready()
        x, scores = self._support(self._curves)
        query = PaperInputs.of(self._builder.queries(self._curves, config_ids, fidelities))
        mean, std = self._network.posterior(x, scores, query)
        return Prediction(np.asarray(mean), np.asarray(std))

    def _support(self, curves: Curves) -> tuple[PaperInputs, Tensor]:
        points, scores = self._builder.observed(curves, self.max_observations)
        return PaperInputs.of(points), torch.as_tensor(scores)

    def _objective(self, history: History) -> Callable[[PaperGP], Tensor]:
        x, scores = self._support(history)
        return lambda network: network.loss(x, scores)
