"""The paper's cost predictor: a meta-learned network for seconds (Quick-Tune, section 4)."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qtt.predictors.paper_finetuning import OnlinePredictor, RefitPlan
from qtt.predictors.paper_network import PaperCostNetwork, PaperInputs
from qtt.runs.history import History

LARGEST_LOG = 20.0
"""Predictions stay within e^±20 seconds."""


class PaperCost(OnlinePredictor[PaperCostNetwork]):
    """Predicts log seconds, so that costs are positive; finetuned on the seconds that were observed."""

    def __init__(
        self,
        weights: Path | str | None = None,
        *,
        early: int = 10,
        early_steps: int = 200,
        steps: int = 20,
        every: int = 5,
        patience: int = 100,
        learning_rate: float = 1e-3,
    ) -> None:
        """Create a predictor; nothing is read or drawn before `setup`.

        Args:
            weights: artifact folder with `features.json` and `paper.safetensors`; None for random weights.
            early: see `RefitPlan`, as are the next four; without `early_steps` and `steps` nothing is tuned.
            early_steps: of Adam, at the start and after a restart.
            steps: of Adam later on.
            every: observations per refit later on.
            patience: observations without improvement that lead to a restart.
            learning_rate: of Adam.
        """
        plan = RefitPlan(early, early_steps, steps, every, patience, learning_rate)
        super().__init__(PaperCostNetwork, weights, plan)

    @torch.no_grad()
    def predict(self, config_ids: Sequence[int]) -> NDArray[np.float64]:
        """Seconds of each pipeline's next epoch, > 0; (n,)."""
        self._ready()
        log_seconds = self._network(self._next(self._history, config_ids)).double()
        return np.asarray(log_seconds.clamp(-LARGEST_LOG, LARGEST_LOG).exp())

    def _next(self, history: History, config_ids: Sequence[int]) -> PaperInputs:
        """Each pipeline at its next epoch."""
        epochs = [history.fidelity(i) + 1 for i in config_ids]
        return PaperInputs.of(self._builder.queries(history, config_ids, epochs))

    def _objective(self, history: History) -> Callable[[PaperCostNetwork], Tensor]:
        """Error in each observed pipeline's typical log seconds."""
        seen = history.observed
        x = self._next(history, seen)
        medians = [np.median([epoch.cost for epoch in history.curve(i)]) for i in seen]
        log_seconds = torch.as_tensor(np.log(medians))
        return lambda network: network.loss(x, log_seconds)
