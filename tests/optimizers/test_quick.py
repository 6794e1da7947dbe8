import math

import numpy as np
import pytest
from scipy.special import expit, logit

from qtt.errors import ConfigError, PredictionError
from qtt.optimizers import EpochwiseRandomOptimizer, RandomOptimizer
from qtt.optimizers.base import Expectation, Outlook
from qtt.optimizers.quick import FIRST_PROPOSAL, QuickTune
from qtt.predictors.cost import PhysicalCost
from qtt.predictors.performance import DeepKernelGP
from qtt.testing import METAFEATURES, OptimizerContract, SyntheticCurves, SyntheticSpace, play
from qtt.types import Prediction, Result, Status
from synthetic_runs import best_over_time

SPACE = SyntheticSpace()


def quick(seed=0, **settings):
    return QuickTune(SPACE, performance=DeepKernelGP(), cost=PhysicalCost(), seed=seed, **settings)


def searching(n=16, seed=0, **settings):
    optimizer = quick(seed, **settings)
    optimizer.setup(SPACE.sample(n, 1), METAFEATURES)
    return optimizer


class FakePerformance:
    """Predicts numbers written by hand."""

    def __init__(self, mean, std):
        self.table = {i: (m, s) for i, (m, s) in enumerate(zip(mean, std, strict=True))}

    def setup(self, task):
        self.conditioned = 0

    def condition(self, history):
        self.conditioned += 1

    def predict(self, config_ids, fidelities):
        mean, std = zip(*(self.table[i] for i in config_ids), strict=True)
        return Prediction(np.array(mean), np.array(std))


class FakeCost(FakePerformance):
    def __init__(self, seconds):
        self.seconds = seconds

    def predict(self, config_ids):
        return np.array([self.seconds[i] for i in config_ids])


def faked(mean, std, seconds, **settings):
    optimizer = QuickTune(SPACE, performance=FakePerformance(mean, std), cost=FakeCost(seconds), **settings)
    optimizer.setup(SPACE.sample(len(mean), 1), METAFEATURES)
    return optimizer


class TestQuick(OptimizerContract):
    def make(self, seed, **settings):
        return quick(seed, **settings)


def test_the_first_step_is_the_cheapest():
    assert faked([0.5] * 3, [0.1] * 3, [3.0, 1.0, 2.0]).ask().config_id == 1


def test_the_choice_is_the_largest_expected_improvement_per_second():
    # best score at epoch 1 is 0.5; expected improvements of 1, 2 and 3 by hand: Φ-terms at z = 0, 1 and -1
    phi0, phi1, cdf1 = 0.398942, 0.241971, 0.841345
    gains = {1: 0.1 * phi0, 2: 0.1 * (cdf1 + phi1), 3: 0.1 * (phi1 - (1 - cdf1))}
    for seconds in ([1, 1, 1, 1], [1, 1, 5, 1], [1, 4, 9, 1]):
        optimizer = faked([0.0, 0.5, 0.6, 0.4], [1e-3, 0.1, 0.1, 0.1], np.array(seconds, dtype=float))
        optimizer.tell(Result(0, 1, 0.5, 1.0))
        assert optimizer.ask().config_id == max(gains, key=lambda i: gains[i] / seconds[i])


def test_pending_pipelines_leave_the_choice_to_the_next_best():
    optimizer = faked([0.5, 0.9, 0.8, 0.7], [0.01] * 4, [1.0] * 4)
    optimizer.tell(Result(0, 1, 0.5, 1.0))
    assert [optimizer.ask().config_id for _ in range(3)] == [1, 2, 3]


def test_steps_of_several_epochs_cost_several_epochs():
    optimizer = faked([0.5, 0.6, 0.6], [0.1] * 3, [9.0, 2.0, 3.0], epochs_per_step=4, max_fidelity=10)
    optimizer.tell([Result(0, 4, 0.5, 1.0), *(Result(2, t, 0.5, 1.0) for t in (1, 2, 3))])
    # 2 has one epoch left of its step (3 s), 1 has four (8 s)
    assert optimizer.ask().config_id == 2


def test_exploration_is_an_offset_of_the_improvement():
    means, stds = [0.0, 0.61, 0.5], [1e-3, 0.02, 0.12]
    for exploration, chosen in ((0.0, 1), (0.2, 2)):
        optimizer = faked(means, stds, [1.0] * 3, exploration=exploration)
        optimizer.tell(Result(0, 1, 0.5, 1.0))
        assert optimizer.ask().config_id == chosen


def test_predictors_are_conditioned_once_per_new_result():
    optimizer = faked([0.5] * 4, [0.1] * 4, [1.0] * 4)
    optimizer.ask()
    optimizer.tell(Result(0, 1, 0.5, 1.0))
    optimizer.ask()
    optimizer.ask()
    assert optimizer.performance.conditioned == 1


def test_costs_that_are_not_seconds_are_refused():
    optimizer = faked([0.5] * 2, [0.1] * 2, [1.0, -1.0])
    optimizer.tell(Result(0, 1, 0.5, 1.0))
    with pytest.raises(PredictionError, match="positive seconds"):
        optimizer.ask()


def test_observations_change_the_next_ask():
    asked = set()
    for score in (0.05, 0.5, 0.95):
        optimizer = searching(max_fidelity=20)
        for i in range(8):
            optimizer.tell(Result(i, 1, 0.5, 1.0))
        optimizer.tell([Result(3, t, score, 1.0) for t in range(2, 5)])
        asked.add(optimizer.ask().config_id)
    assert len(asked) > 1


def test_no_pipeline_runs_untouched_while_others_do_better():
    optimizer = searching(max_fidelity=50)
    # whatever is asked first, it never learns; every other pipeline does
    first = optimizer.ask().config_id
    optimizer.tell(Result(first, 1, 0.1, 1.0))
    for _ in range(30):
        trial = optimizer.ask()
        score = 0.1 if trial.config_id == first else min(0.9, 0.3 + 0.1 * trial.fidelity)
        optimizer.tell(Result(trial.config_id, trial.fidelity, score, 1.0))
    assert optimizer.history.fidelity(first) <= 3
    assert max(optimizer.history.fidelity(i) for i in optimizer.history.observed) >= 5


def test_all_failing_ends_the_search():
    optimizer = searching(n=5)
    while (trial := optimizer.ask()) is not None:
        optimizer.tell(Result(trial.config_id, 1, math.nan, 0.1, Status.FAILED, {"reason": "boom"}))
    assert len(optimizer.history.failed) == 5
    assert not optimizer.waiting


def test_a_failure_among_successes_does_no_harm():
    optimizer = searching(n=6, max_fidelity=3)
    for k in range(30):
        if (trial := optimizer.ask()) is None:
            break
        if k % 4 == 1:
            optimizer.tell(Result(trial.config_id, trial.fidelity, math.nan, 0.1, Status.FAILED))
        else:
            optimizer.tell(Result(trial.config_id, trial.fidelity, 0.5 + k / 100, 1.0))
    assert optimizer.ask() is None
    assert not set(optimizer.history.failed) & {i for i in range(6) if optimizer.history.fidelity(i) == 3}


@pytest.mark.parametrize("transform", [lambda s: 0.0 * s, lambda s: s - 5.0, lambda s: 100.0 * s])
def test_scores_of_any_level_and_scale_work(transform):
    optimizer = searching(n=6, max_fidelity=4)
    curves = SyntheticCurves()
    while (trial := optimizer.ask()) is not None:
        score = transform(curves.score(trial.config, trial.fidelity))
        optimizer.tell(Result(trial.config_id, trial.fidelity, score, curves.seconds(trial.config)))
    assert optimizer.history.evaluations == 24
    best = max(transform(curves.score(c, t)) for c in optimizer.candidates.configs for t in range(1, 5))
    assert optimizer.history.incumbent.score == best


def test_quick_finds_better_pipelines_than_random_search():
    means = {}
    for make in (quick, RandomOptimizer, EpochwiseRandomOptimizer):
        means[make] = []
        for seed in range(16):
            optimizer = quick(seed) if make is quick else make(SPACE, seed=seed)
            optimizer.setup(SPACE.sample(40, 100 + seed), METAFEATURES)
            means[make].append(best_over_time(optimizer, [12, 25, 50]))
    best = np.array(means.pop(quick))
    for make, others in means.items():
        gain = best - np.array(others)
        # paired over the same candidates; two standard errors make chance unlikely
        assert gain.mean() > 2 * gain.std(ddof=1) / math.sqrt(len(gain)), f"{make.__name__}: {gain}"


class ByEpoch:
    """Expects the logit of `scores[i][e - 1]` of pipeline i at epoch e."""

    def __init__(self, scores, std=0.3):
        self.scores = np.array(scores)
        self.std = std

    def setup(self, task):
        pass

    def condition(self, history):
        pass

    def predict(self, config_ids, fidelities):
        mean = logit(self.scores[config_ids, np.array(fidelities) - 1])
        return Prediction(mean, np.full(len(mean), self.std), link="logit")


class FakeFailure(FakeCost):
    """Failure rates written by hand."""


def looking_ahead(scores, seconds, std=0.3, told=(), **settings):
    optimizer = QuickTune(
        performance=ByEpoch(scores, std), cost=FakeCost(seconds), max_fidelity=len(scores[0]), **settings
    )
    optimizer.setup(SPACE.sample(len(scores), 1), METAFEATURES)
    optimizer.tell(list(told))
    return optimizer


def rising(first, last, epochs=10):
    return np.linspace(first, last, epochs)


def test_a_gain_far_ahead_is_worth_its_seconds():
    scores = [rising(0.5, 0.52), rising(0.3, 0.9), rising(0.52, 0.6)]
    # over one epoch 2 promises most; over ten, 1
    assert looking_ahead(scores, [1.0] * 3, 0.05, horizons=[1]).ask().config_id == 2
    told = [Result(0, 1, 0.5, 1.0)]
    assert looking_ahead(scores, [1.0] * 3, 0.05, told, horizons=[1]).ask().config_id == 2
    assert looking_ahead(scores, [1.0] * 3, 0.05, told, horizons=[1, 10], patience=10).ask().config_id == 1
    # at thirty times the seconds an epoch, it is too dear
    assert looking_ahead(scores, [1.0, 30.0, 1.0], 0.05, told, horizons=[1, 10]).ask().config_id == 2


NORMAL = np.random.default_rng(1).normal(size=20_000)


def test_the_value_is_the_best_gain_per_second_over_all_horizons():
    generator = np.random.default_rng(0)
    horizons, patience = (1, 4, 10), 3.0
    for _ in range(20):
        scores = np.sort(generator.uniform(0.2, 0.9, (6, 10)), axis=1)
        seconds, rates = generator.lognormal(1, 1, 6), generator.uniform(0, 0.8, 6)
        told = [Result(0, t, 0.5, 1.0) for t in (1, 2, 3)]
        values = []
        for i in range(6):
            done = 3 if i == 0 else 0
            ends = sorted({min(done + h, 10) for h in horizons})
            draws = expit(logit(scores[i, [e - 1 for e in ends]])[:, None] + 0.3 * NORMAL)
            gain = (1 - rates[i]) * np.maximum(draws - 0.5, 0).mean(axis=1)
            wins = (draws > 0.5).mean(axis=1)
            ahead = np.array(ends) - done
            surely = np.minimum(ahead, patience)
            values.append((gain / (seconds[i] * (surely + wins * (ahead - surely)))).max())
        ranked = np.argsort(values)
        if values[ranked[-2]] > 0.8 * values[ranked[-1]]:
            continue  # too close to call with draws
        failure = FakeFailure(rates)
        optimizer = looking_ahead(
            scores, seconds, told=told, horizons=horizons, patience=patience, failure=failure
        )
        assert optimizer.ask().config_id == ranked[-1]


def test_pipelines_that_are_likely_to_fail_wait():
    scores = [rising(0.5, 0.8)] * 3
    assert looking_ahead(scores, [1.0, 1.1, 1.2]).ask().config_id == 0
    failure = FakeFailure([0.9, 0.5, 0.0])
    assert looking_ahead(scores, [1.0, 1.1, 1.2], failure=failure).ask().config_id == 2


def test_costs_count_only_if_they_shall():
    scores = [rising(0.4, 0.8), rising(0.45, 0.85)]
    assert looking_ahead(scores, [1.0, 50.0]).ask().config_id == 0
    assert looking_ahead(scores, [1.0, 50.0], cost_aware=False).ask().config_id == 1


@pytest.mark.parametrize("acquisition", ["horizons", "multi_fidelity"])
def test_without_gray_box_a_pipeline_runs_to_its_end(acquisition):
    optimizer = quick(acquisition=acquisition, gray_box=False, max_fidelity=5)
    optimizer.setup(SPACE.sample(4, 1), METAFEATURES)
    told = play(optimizer, 100)
    ids = [result.config_id for result in told]
    assert [result.fidelity for result in told] == [1, 2, 3, 4, 5] * 4
    assert ids == [i for k in range(4) for i in [ids[5 * k]] * 5]


def test_without_gray_box_only_the_end_counts():
    scores = [rising(0.8, 0.6), rising(0.1, 0.9)]
    told = [Result(0, t, 0.6, 1.0) for t in range(1, 11)]
    more = [*scores, rising(0.85, 0.7)]
    settings = {"horizons": [1], "told": told, "std": 0.05}
    assert looking_ahead(more, [1.0] * 3, **settings).ask().config_id == 2
    assert looking_ahead(more, [1.0] * 3, gray_box=False, **settings).ask().config_id == 1


@pytest.mark.parametrize("acquisition", ["horizons", "multi_fidelity"])
def test_nothing_is_asked_that_does_not_fit(acquisition):
    settings = {"acquisition": acquisition, "epochs_per_step": 2}
    optimizer = faked([0.9, 0.8, 0.7], [0.1] * 3, [5.0, 2.0, 1.0], **settings)
    optimizer.tell(Result(2, 1, 0.5, 1.0))
    # the next steps take 10 s, 4 s and 1 s: the last one has one of its two epochs behind it
    for seconds, chosen in ((10.0, {0, 1, 2}), (9.9, {1, 2}), (3.9, {2}), (1.0, {2})):
        again = faked([0.9, 0.8, 0.7], [0.1] * 3, [5.0, 2.0, 1.0], **settings)
        again.tell(Result(2, 1, 0.5, 1.0))
        again.seconds_left = seconds
        assert {again.ask().config_id for _ in chosen} == chosen
        assert again.ask() is None
    optimizer.seconds_left = 0.9
    assert optimizer.ask() is None
    assert optimizer.nothing_fits
    assert not optimizer.waiting


def test_pending_pipelines_are_no_candidates_with_horizons():
    scores = [rising(0.3, last) for last in (0.9, 0.8, 0.7, 0.6)]
    optimizer = looking_ahead(scores, [1.0] * 4)
    assert [optimizer.ask().config_id for _ in range(4)] == [0, 1, 2, 3]
    assert optimizer.ask() is None
    assert optimizer.waiting


def near(config, other):
    """Whether two configs differ in few hyperparameters."""
    names = config.keys() | other.keys()
    return sum(config.get(name) != other.get(name) for name in names) <= 3


def test_neighbours_of_a_new_incumbent_become_candidates():
    optimizer = quick(seed=2, proposals=2)
    optimizer.setup(12, METAFEATURES)
    for i in range(FIRST_PROPOSAL):
        optimizer.tell(Result(i, 1, 0.5 + i / 100, 1.0))
        assert len(optimizer.candidates) == (14 if i == FIRST_PROPOSAL - 1 else 12)
    incumbent = optimizer.candidates.configs[FIRST_PROPOSAL - 1]
    for config in optimizer.candidates.configs[12:]:
        assert near(config, incumbent)
        assert config not in optimizer.candidates.configs[:12]
    optimizer.tell(Result(3, 2, 0.1, 1.0))
    assert len(optimizer.candidates) == 14, "that was no incumbent"
    assert optimizer.ask() is not None


def test_candidates_at_most_double():
    optimizer = quick(seed=2, proposals=5)
    optimizer.setup(9, METAFEATURES)
    sizes = []
    for step in range(30):
        optimizer.tell(Result(step % 9, 1 + step // 9, 0.3 + step / 100, 1.0))
        sizes.append(len(optimizer.candidates))
    assert sizes == sorted(sizes)
    assert sizes[-1] == 18
    assert len({str(sorted(config.items())) for config in optimizer.candidates.configs}) == 18


def test_without_proposals_or_with_candidates_of_ones_own_there_are_no_new_ones():
    for optimizer, n in ((quick(), 9), (quick(proposals=3), SPACE.sample(9, 0))):
        optimizer.setup(n, METAFEATURES)
        for step in range(20):
            optimizer.tell(Result(step % 9, 1 + step // 9, 0.3 + step / 100, 1.0))
        assert len(optimizer.candidates) == 9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"acquisition": "horizon"}, "Did you mean 'horizons'"),
        ({"horizons": []}, "must be positive"),
        ({"horizons": [0, 1]}, "must be positive"),
        ({"patience": 0.0}, "must be positive"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        quick(**settings)


def test_the_outlook_is_what_the_last_ask_was_based_on():
    optimizer = faked([0.2, 0.9, 0.5], [0.1, 0.1, 0.1], [1.0, 40.0, 3.0], acquisition="multi_fidelity")
    assert optimizer.outlook() is None
    first = optimizer.ask()
    assert optimizer.outlook() == Outlook(1.0), "nothing was seen yet"
    assert first.config_id == 0
    optimizer.tell(Result(0, 1, 0.3, 1.0))
    second = optimizer.ask()
    seconds = [1.0, 40.0, 3.0][second.config_id]
    assert optimizer.outlook() == Outlook(seconds, Expectation(1, 1, 0.9))


def test_the_outlook_counts_all_epochs_of_a_step_and_the_horizon_that_reaches_furthest():
    optimizer = faked([0.4, 0.8], [0.1, 0.1], [2.0, 5.0], epochs_per_step=3, horizons=(1, 20))
    optimizer.tell(Result(0, 1, 0.3, 2.0))
    trial = optimizer.ask()
    outlook = optimizer.outlook()
    done = optimizer.history.fidelity(trial.config_id)
    assert outlook.step_seconds == [2.0, 5.0][trial.config_id] * (3 - done)
    assert (outlook.best.config_id, outlook.best.score) == (1, 0.8)


def test_the_outlook_of_logits_is_a_score():
    class Logits(FakePerformance):
        def predict(self, config_ids, fidelities):
            predicted = super().predict(config_ids, fidelities)
            return Prediction(logit(predicted.mean), predicted.std, link="logit")

    optimizer = QuickTune(SPACE, performance=Logits([0.6, 0.95], [0.1, 0.1]), cost=FakeCost([1.0, 1.0]))
    optimizer.setup(SPACE.sample(2, 1), METAFEATURES)
    optimizer.tell(Result(0, 1, 0.3, 1.0))
    optimizer.ask()
    assert optimizer.outlook().best.score == pytest.approx(0.95)


def test_looking_out_changes_no_decision():
    def decisions(look):
        optimizer, asked = searching(), []
        for _ in range(12):
            trial = optimizer.ask()
            asked.append((trial.config_id, trial.fidelity))
            if look:
                optimizer.outlook()
            optimizer.tell(Result(trial.config_id, trial.fidelity, 0.01 * trial.config_id, 1.0))
        return asked

    assert decisions(look=True) == decisions(look=False)


class Supposing(FakePerformance):
    """One that remembers what it was told to suppose."""

    def setup(self, task):
        super().setup(task)
        self.supposed = []

    def suppose(self, history, fantasies):
        self.supposed.append({i: (step.fidelity, step.score) for i, step in fantasies.items()})


def supposing(mean, **settings):
    performance = Supposing(mean, [0.1] * len(mean))
    optimizer = QuickTune(SPACE, performance=performance, cost=FakeCost([1.0] * len(mean)), **settings)
    optimizer.setup(SPACE.sample(len(mean), 1), METAFEATURES)
    return optimizer, performance


def test_pending_steps_count_as_they_are_expected_to_end():
    optimizer, performance = supposing([0.6, 0.5, 0.4], fantasies="mean")
    first, second = optimizer.ask(), optimizer.ask()
    assert (first.config_id, second.config_id) == (0, 1)
    assert performance.supposed == [{0: (1, 0.6)}]
    assert optimizer._least() == 0.6  # what the others have to beat
    optimizer.ask()
    assert performance.supposed[-1] == {0: (1, 0.6), 1: (1, 0.5)}
    optimizer.tell(Result(0, 1, 0.3, 1.0))
    optimizer.ask()
    assert performance.supposed[-1] == {1: (1, 0.5), 2: (1, 0.4)}
    assert optimizer._least() == 0.5


@pytest.mark.parametrize("fantasies", ["mean", None])
def test_one_worker_supposes_nothing(fantasies):
    optimizer, performance = supposing([0.6, 0.5], fantasies=fantasies)
    for _ in range(4):
        trial = optimizer.ask()
        optimizer.tell(Result(trial.config_id, trial.fidelity, 0.3, 1.0))
    assert performance.supposed == []


def test_nothing_is_supposed_where_that_is_not_wanted():
    optimizer, performance = supposing([0.6, 0.5, 0.4])
    assert [optimizer.ask().config_id for _ in range(3)] == [0, 1, 2]
    assert performance.supposed == []


def test_a_search_that_was_told_everything_is_as_if_nothing_had_been_supposed():
    """Several workers now and then: what is asked next depends on what was told alone."""
    curves = SyntheticCurves()
    optimizer, again = (searching(24, fantasies="mean") for _ in range(2))
    for count in (3, 1, 4, 2):
        trials = [optimizer.ask() for _ in range(count)]
        for trial in reversed(trials):
            optimizer.tell(list(curves.results(trial))[-1:])
    again.tell(list(optimizer.history))
    assert again.ask() == optimizer.ask()
