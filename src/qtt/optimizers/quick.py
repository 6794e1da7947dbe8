"""Quick-Tune: continue the pipeline with the largest expected improvement per predicted second."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from qtt.errors import ConfigError, unknown
from qtt.optimizers.acquisition import (
    log_expected_improvement,
    log_improvement_per_second,
    multi_fidelity_best,
)
from qtt.optimizers.base import CandidateOptimizer, CandidateSource, Expectation, Outlook
from qtt.optimizers.lookahead import Lookahead
from qtt.predictors.base import (
    CostPredictor,
    FailurePredictor,
    PerformancePredictor,
    Predictor,
    SearchTask,
)
from qtt.predictors.fantasies import Fantasy, SupposingPredictor, expected
from qtt.space.horizon import is_probe
from qtt.types import Candidates, Config, MetaFeatures, Prediction

Array = NDArray[np.float64]

HORIZONS = (1, 2, 3, 5, 8, 12, 20, 32, 50)
"""Epochs that the acquisition looks ahead."""

ACQUISITIONS = ("horizons", "multi_fidelity")
FANTASIES = ("mean", "draw")

ONE_PROBE = 0.25
"""What one linear probe may take of the seconds that are left, while a finetuning could still be finished."""

FIRST_PROBES, FIRST_SHARE, ALL_SHARE = 4, 0.6, 0.3
"""So many probes, of the models that promise most, may take that share of the whole budget together; later
ones, of which hardly one is ever the best, only while all stay within the last share."""

FEW_TRIES = 2.0
"""Pipelines that still can be tried when costs count half as much as where there is time for many."""

FIRST_PROPOSAL = 8
"""Results before neighbours of an incumbent are worth a try: nearly all of the first ones are incumbents."""


class QuickTune(CandidateOptimizer):
    """Gray-box, cost-aware search over models and their hyperparameters (Quick-Tune, Algorithm 1).

    Every ask continues the live pipeline with the largest value. With `horizons`, the value is the best, over
    several horizons, of the expected improvement on the incumbent within so many epochs per second that they
    are expected to take; with `multi_fidelity` it is Eq. (1), one step ahead, against the best score seen at
    that fidelity, and the search begins with the pipeline whose first step is cheapest. A pending pipeline is
    no candidate, and adds nothing to what is known.
    """

    def __init__(
        self,
        config_manager: CandidateSource | None = None,
        *,
        performance: PerformancePredictor,
        cost: CostPredictor,
        failure: FailurePredictor | None = None,
        seed: int = 0,
        epochs_per_step: int = 1,
        max_fidelity: int = 50,
        acquisition: str = "horizons",
        horizons: Sequence[int] = HORIZONS,
        patience: float = 5.0,
        exploration: float = 0.0,
        cost_aware: bool = True,
        gray_box: bool = True,
        proposals: int = 0,
        fantasies: str | None = None,
    ) -> None:
        """See `CandidateOptimizer`.

        Args:
            config_manager: samples candidates and knows all options of the search space.
            performance: predicts scores.
            cost: predicts seconds.
            failure: predicts which pipelines fail, with `horizons`; None: none are expected to.
            seed: of the candidates and of the performance predictor's initial weights.
            epochs_per_step: Δt.
            max_fidelity: last epoch of every pipeline.
            acquisition: `horizons` or `multi_fidelity`.
            horizons: epochs to look ahead, with `horizons`.
            patience: epochs after which a pipeline that does not promise to win is given up, with `horizons`.
            exploration: ξ of the expected improvement, in units of the score.
            cost_aware: false: all epochs count as equally long, to show what costs are worth.
            gray_box: false: what was chosen is trained to its end, to show what stopping is worth.
            proposals: pipelines near every new incumbent that become candidates; see `CandidateOptimizer`.
            fantasies: how pending steps are supposed to end: as is expected (`mean`), or as a draw from that
                (`draw`); None: nothing is supposed of them, which was as good (experiments/parallel).

        Raises:
            ConfigError: an unknown acquisition or kind of fantasy, or a horizon or patience that is not
                positive.
        """
        super().__init__(
            config_manager, seed=seed, epochs_per_step=epochs_per_step, max_fidelity=max_fidelity
        )
        if acquisition not in ACQUISITIONS:
            raise ConfigError(unknown("acquisition", acquisition, ACQUISITIONS))
        if fantasies not in (None, *FANTASIES):
            raise ConfigError(unknown("kind of fantasies", str(fantasies), FANTASIES))
        if not horizons or min(horizons) < 1 or patience <= 0:
            raise ConfigError(f"horizons and patience must be positive; got {list(horizons)} and {patience}.")
        self.performance = performance
        self.learned_metric: str | None = getattr(performance, "learned_metric", None)
        self.cost = cost
        self.failure = failure
        self.acquisition = acquisition
        self.horizons = np.array(sorted(horizons), dtype=np.int64)
        self.patience = patience
        self.exploration = exploration
        self.cost_aware = cost_aware
        self.gray_box = gray_box
        self.proposals = proposals
        self.fantasies = fantasies
        self._encoded_on_cpu, self._conditioned_on = False, 0
        self._supposed: dict[int, Fantasy] = {}
        self._asked: tuple[int, int] | None = None
        self._predicted: tuple[NDArray[np.int64], NDArray[np.int64], Prediction] | None = None

    def setup(self, n: int | Candidates, metafeatures: MetaFeatures | None = None) -> None:
        """Start a new search; see `CandidateOptimizer.setup`."""
        super().setup(n, metafeatures)
        self._asked = self._predicted = None
        self._encode()

    def outlook(self) -> Outlook | None:
        """What the last ask was based on: no score is predicted anew. None before the first ask."""
        if self._asked is None:
            return None
        config_id, epochs = self._asked
        seconds = float(self.cost.predict([config_id])[0]) * epochs
        if self._predicted is None or not self.history.observed:
            return Outlook(seconds)
        ids, ends, predicted = self._predicted
        best = int(np.argmax(predicted.mean))
        mean = predicted.mean[best]
        score = expit(mean) if predicted.link == "logit" else mean
        return Outlook(seconds, Expectation(int(ids[best]), int(ends[best]), float(score)))

    def _candidates_grew(self) -> None:
        self._encode()

    def _encode(self) -> None:
        """Give the predictors all candidates, those proposed meanwhile included."""
        task = SearchTask(
            candidates=self.candidates,
            metafeatures=self.metafeatures,
            options=getattr(self.config_manager, "options", {}),
            max_fidelity=self.max_fidelity,
            epochs_per_step=self.epochs_per_step,
            seed=self.seed,
            on_cpu=self.on_cpu,
        )
        for predictor in self._predictors:
            predictor.setup(task)
        self._encoded_on_cpu, self._conditioned_on, self._supposed = self.on_cpu, 0, {}
        self._probes = [i for i, config in enumerate(self.candidates.configs) if is_probe(config)]

    def _propose(self) -> Sequence[Config]:
        """Neighbours of a new incumbent, until there are twice as many candidates as at first."""
        best = self.history.incumbent
        if self.space is None or best is None or best is not self.history.latest:
            return ()
        room = 2 * len(self.candidates.initial) - len(self.candidates)
        if room <= 0 or self.history.learned < FIRST_PROPOSAL:
            return ()
        if sum(seen.score == best.score for seen in self.history) > 1:
            return ()
        config = self.candidates.configs[best.config_id]
        if is_probe(config):
            return ()
        return self.space.neighbours(config, min(self.proposals, room), self.seed + self.history.learned)

    def _step_seconds(self, live: list[int]) -> Array:
        self._condition()
        ids = np.array(live, dtype=np.int64)
        return np.asarray(self.cost.predict(live) * (self._next(ids) - self._progress.done[ids]))

    def _choose(self, live: list[int]) -> int:
        self._predicted = None
        chosen = self._best_of(live)
        self._asked = chosen, self.next_fidelity(chosen) - self.history.fidelity(chosen)
        return chosen

    def _best_of(self, live: list[int]) -> int:
        self._condition()
        probe = self._next_probe(live)
        if probe is not None:
            return probe
        live = self._training(live) or live
        if not self.gray_box:
            begun = [i for i in live if self._progress.done[i]]
            if begun:
                return begun[0]
        seconds = self.cost.predict(live) if self.cost_aware and not self.epochs_count else np.ones(len(live))
        value = (
            self._one_step(live, seconds)
            if self.acquisition == "multi_fidelity"
            else self._ahead(live, seconds)
        )
        return live[int(np.argmax(value))]

    def _next_probe(self, live: list[int]) -> int | None:
        """The linear probe to fit now: the next one that is cheap beside what is left to spend.

        Near the end of the budget they need not be cheap, but fit: no finetuning would be finished.
        """
        left = sorted(set(self._probes).intersection(live)) if self._probes else []
        if not left or self.seconds_left is None:
            return next(iter(left), None)
        begun = [i for i in self._probes if self.history.fidelity(i)]
        if not begun:
            return left[0]
        spent = sum(self.history.curve(i)[-1].cost for i in begun)
        seconds = self.cost.predict(left)
        cheap = seconds <= ONE_PROBE * self.seconds_left
        share = np.where(np.isin(left, self._probes[:FIRST_PROBES]), FIRST_SHARE, ALL_SHARE)
        cheap &= spent + seconds <= share * (spent + self.seconds_left)
        if not cheap.any() and not self._can_finish(live):
            cheap = seconds <= self.seconds_left
        return left[int(np.argmax(cheap))] if cheap.any() else None

    def _training(self, live: list[int]) -> list[int]:
        """Those that are no probes."""
        probes = set(self._probes)
        return [i for i in live if i not in probes] if probes else live

    def _can_finish(self, live: list[int]) -> bool:
        """Whether any pipeline that trains can come to its end in the seconds left."""
        trained = self._training(live)
        if not trained:
            return False
        epochs = self._progress.last[trained] - self._progress.done[trained]
        return bool((self.cost.predict(trained) * epochs <= (self.seconds_left or 0.0)).any())

    @property
    def _predictors(self) -> list[Predictor]:
        return [p for p in (self.performance, self.cost, self.failure) if p is not None]

    def _condition(self) -> None:
        """Let the predictors learn what was told since the last ask, and suppose how pending steps end."""
        if self._encoded_on_cpu != self.on_cpu:
            self._encode()
        told = self._conditioned_on != len(self.history)
        self._conditioned_on = len(self.history)
        under_way = self._under_way()
        believes = bool(under_way or self._supposed)
        for predictor in self._predictors if told else ():
            if predictor is not self.performance or not believes:
                predictor.condition(self.history)
        if believes:
            self._suppose(under_way, told)

    def _under_way(self) -> dict[int, int]:
        """Pending steps of which something can be supposed: where each pipeline will be; no probes."""
        if self.fantasies is None or not isinstance(self.performance, SupposingPredictor):
            return {}
        steps = self._pending.items()
        return {i: e for i, e in steps if e > self._progress.done[i] and i not in self._probes}

    def _suppose(self, under_way: dict[int, int], told: bool) -> None:
        """Let the predictor of scores take pending steps for done: each as was expected once it was asked."""
        assert isinstance(self.performance, SupposingPredictor)
        before, self._supposed = (
            self._supposed,
            {i: supposed for i, supposed in self._supposed.items() if under_way.get(i) == supposed.fidelity},
        )
        if told or len(self._supposed) < len(before):
            self.performance.suppose(self.history, self._supposed)
        for i, fidelity in under_way.items():
            if i not in self._supposed:
                draw = np.random.default_rng((self.seed, i, fidelity)).standard_normal()
                above = float(draw) if self.fantasies == "draw" else 0.0
                self._supposed = {**self._supposed, i: expected(self.performance, i, fidelity, above)}
                self.performance.suppose(self.history, self._supposed)

    def _one_step(self, live: list[int], seconds: Array) -> Array:
        """Log of Eq. (1); (n,)."""
        ids = np.array(live)
        ends = self._next(ids)
        cost = seconds * (ends - self._progress.done[ids])
        if not self.history.observed:
            return np.asarray(-np.log(cost))
        predicted = self.performance.predict(live, ends.tolist())
        self._predicted = ids, ends, predicted
        best = multi_fidelity_best(self.history, ends.tolist())
        gain = log_expected_improvement(predicted.mean, predicted.std, best, self.exploration)
        return log_improvement_per_second(gain, cost)

    def _ahead(self, live: list[int], seconds: Array) -> Array:
        """Log of the best expected improvement per second over all horizons; (n,)."""
        pipelines = np.array(live)
        done, last = self._progress.done[pipelines], self._progress.last[pipelines]
        reached = done[:, None] + np.minimum(self.horizons, self._reach(live))
        ends = np.clip(reached, self._next(pipelines)[:, None], last[:, None])
        if not self.gray_box:
            ends = np.repeat(last[:, None], len(self.horizons), axis=1)
        failing = np.zeros(len(live)) if self.failure is None else self.failure.predict(live)
        look = Lookahead(
            pipelines=pipelines,
            done=done,
            ends=ends,
            seconds=seconds,
            survival=1.0 - failing,
            least=self._least() + self.exploration,
            patience=self.patience if self.gray_box else None,
            exponent=self._weight_of_costs(seconds),
        )
        value, predicted = look.best(self.performance)
        self._predicted = look.ids, ends.ravel(), predicted
        return value

    def _least(self) -> float:
        """The score to improve on."""
        supposed = [step.score for step in self._supposed.values()]
        seen = [] if self.history.highest is None else [self.history.highest]
        highest = max([*seen, *supposed], default=None)
        if highest is None:
            return self._chance()
        # without a description scores are anything, and chance says nothing
        return highest if self.metafeatures is None else max(highest, self._chance())

    def _weight_of_costs(self, seconds: Array) -> float:
        """α of EI / cost^α: from 1 towards 0 as a search that begins with probes comes to its last tries.

        What is gained over a probe is gained at the end of a schedule: with time for three pipelines, three
        whole ones are better than ten short ones, however much a second of those seems worth.
        """
        if not self._probes or self.seconds_left is None:
            return 1.0
        tries = max(self.seconds_left, 0.0) / (self.patience * float(np.median(seconds)))
        return tries / (tries + FEW_TRIES)

    def _reach(self, live: list[int]) -> NDArray[np.int64]:
        """Epochs of each pipeline that the seconds left allow, all where there is no bound; (n, 1)."""
        epochs = np.full(len(live), self.max_fidelity)
        if self.seconds_left is not None:
            epochs = np.minimum(epochs, max(self.seconds_left, 0.0) / self.cost.predict(live))
        return epochs.astype(np.int64)[:, None]

    def _chance(self) -> float:
        """The score that guessing gives."""
        return 0.0 if self.metafeatures is None else 1.0 / self.metafeatures.num_classes
