"""Quick-Tune: continue the pipeline with the largest expected improvement per predicted second."""

import numpy as np

from qtt.acquisition import log_expected_improvement, log_improvement_per_second, multi_fidelity_best
from qtt.optimizers.base import CandidateOptimizer, CandidateSource
from qtt.predictors.base import CostPredictor, PerformancePredictor, SearchTask
from qtt.types import Candidates, MetaFeatures


class QuickTune(CandidateOptimizer):
    """Gray-box, cost-aware search over models and their hyperparameters (Quick-Tune, Algorithm 1).

    Until a first score is known, the pipeline with the cheapest predicted step is asked. From then on,
    Eq. (1) decides among all live pipelines. A pending pipeline is no
    candidate, and adds nothing to what is known.
    """

    def __init__(
        self,
        config_manager: CandidateSource | None = None,
        *,
        performance: PerformancePredictor,
        cost: CostPredictor,
        seed: int = 0,
        epochs_per_step: int = 1,
        max_fidelity: int = 50,
        exploration: float = 0.0,
    ) -> None:
        """See `CandidateOptimizer`.

        Args:
            config_manager: samples candidates and knows all options of the search space.
            performance: predicts scores.
            cost: predicts seconds.
            seed: of the candidates and of the performance predictor's initial weights.
            epochs_per_step: Δt.
            max_fidelity: last epoch of every pipeline.
            exploration: ξ of the expected improvement, in units of the score.
        """
        super().__init__(
            config_manager, seed=seed, epochs_per_step=epochs_per_step, max_fidelity=max_fidelity
        )
        self.performance = performance
        self.cost = cost
        self.exploration = exploration
        self._conditioned_on = 0

    def setup(self, n: int | Candidates, metafeatures: MetaFeatures | None = None) -> None:
        """Start a new search; see `CandidateOptimizer.setup`."""
        super().setup(n, metafeatures)
        task = SearchTask(
            candidates=self.candidates,
            metafeatures=metafeatures,
            options=getattr(self.config_manager, "options", {}),
            max_fidelity=self.max_fidelity,
            epochs_per_step=self.epochs_per_step,
            seed=self.seed,
        )
        self.performance.setup(task)
        self.cost.setup(task)
        self._conditioned_on = 0

    def _choose(self, live: list[int]) -> int:
        if self._conditioned_on != len(self.history):
            self.performance.condition(self.history)
            self.cost.condition(self.history)
            self._conditioned_on = len(self.history)
        fidelities = [self.next_fidelity(i) for i in live]
        epochs = np.array(
            [fidelity - self.history.fidelity(i) for i, fidelity in zip(live, fidelities, strict=True)]
        )
        seconds = self.cost.predict(live) * epochs
        if not self.history.observed:
            return live[int(np.argmin(seconds))]
        predicted = self.performance.predict(live, fidelities)
        best = multi_fidelity_best(self.history, fidelities)
        gain = log_expected_improvement(predicted.mean, predicted.std, best, self.exploration)
        return live[int(np.argmax(log_improvement_per_second(gain, seconds)))]
