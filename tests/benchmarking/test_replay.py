"""Replays against the protocol written with plain lists, on synthetic curves."""

import math

import numpy as np
import pytest

from qtt.benchmarking.regret import regret_curve
from qtt.benchmarking.replay import Replay, replay
from qtt.errors import ConfigError
from qtt.optimizers import ASHAOptimizer, EpochwiseRandomOptimizer, RandomOptimizer
from qtt.types import Candidates, Trial
from recorded import recompute, recorded

MAKE = {"random": RandomOptimizer, "asha": ASHAOptimizer}


def _search(make, curves, limit, seed=0):
    optimizer = make(seed=seed, max_fidelity=curves.scores.shape[1])
    optimizer.setup(Candidates(curves.configs))
    return replay(optimizer, curves, limit)


@pytest.mark.parametrize("policy", ["random", "asha"])
@pytest.mark.parametrize(("seed", "limit"), [(0, 300.0), (1, 1500.0), (2, 1e9)])
def test_a_replay_agrees_with_the_protocol_written_again(policy, seed, limit):
    curves = recorded(n=30, seed=seed)
    ends = curves.lengths.tolist()
    scores = [row[:end].tolist() for row, end in zip(curves.scores, ends, strict=True)]
    seconds = [row[:end].tolist() for row, end in zip(curves.seconds, ends, strict=True)]
    expected = recompute(policy, scores, seconds, seed, limit)
    found = _search(MAKE[policy], curves, limit, seed)
    regret = regret_curve(found.scores, np.nanmax(curves.scores), np.nanmin(curves.scores))
    np.testing.assert_allclose(np.column_stack([found.seconds, regret]), expected, atol=1e-12)
    if limit == 1e9:
        assert len(expected) == sum(ends)
        assert regret[-1] == 0.0


def test_no_epoch_ends_after_the_limit_and_the_next_one_would():
    curves = recorded()
    everything = _search(EpochwiseRandomOptimizer, curves, 1e9)
    limit = float(everything.seconds[40]) + 1e-6
    found = _search(EpochwiseRandomOptimizer, curves, limit)
    np.testing.assert_array_equal(found.seconds, everything.seconds[:41])
    assert _search(RandomOptimizer, curves, 1e-3).scores.shape == (0,)


def test_decisions_are_counted_and_timed():
    found = _search(RandomOptimizer, recorded(), 1e9)
    ended = 16 * 12 - sum(recorded().lengths == 12) * 12  # epochs of pipelines that end early, had they not
    assert ended > 0
    assert len(found.decisions) == len(found.scores) + sum(recorded().lengths < 12)
    assert (found.decisions > 0).all()
    assert found.observed[0] == 0
    assert (np.diff(found.observed) >= 0).all()


def test_a_replay_survives_json():
    found = _search(ASHAOptimizer, recorded(), 500.0)
    again = Replay.from_dict(found.to_dict())
    for name, value in vars(found).items():
        np.testing.assert_array_equal(getattr(again, name), value)
        assert getattr(again, name).dtype == value.dtype


def test_an_optimizer_that_insists_on_a_failed_pipeline_is_stopped():
    class Stubborn(RandomOptimizer):
        def ask(self):
            return Trial(5, self.candidates.configs[5], self.history.fidelity(5) + 1)

    with pytest.raises(ConfigError, match="pipeline 5 again"):
        _search(Stubborn, recorded(), math.inf)


def _in_parallel(curves, order, limit, workers):
    """Seconds and scores of random search, with each pipeline trained by the first worker that is free."""
    free = [0.0] * workers
    seen = []
    for i in order:
        worker = min(range(workers), key=free.__getitem__)
        for epoch in range(curves.lengths[i]):
            free[worker] += float(curves.seconds[i, epoch])
            if free[worker] <= limit:
                seen.append((free[worker], float(curves.scores[i, epoch])))
    return seen


@pytest.mark.parametrize("workers", [1, 2, 3, 8, 40])
def test_several_workers_train_at_once(workers):
    curves = recorded(n=30)
    order = [int(i) for i in np.random.default_rng(0).permutation(30)]
    optimizer = RandomOptimizer(seed=0, max_fidelity=curves.scores.shape[1])
    optimizer.setup(Candidates(curves.configs))
    found = replay(optimizer, curves, 900.0, workers)
    assert (np.diff(found.seconds) >= 0).all()
    seen = sorted(zip(found.seconds.round(6), found.scores, strict=True))  # equal times in any order
    expected = [(round(when, 6), score) for when, score in _in_parallel(curves, order, 900.0, workers)]
    assert seen == sorted(expected)
    assert len(optimizer.pending) <= workers


def test_idle_workers_go_on_when_a_result_lets_them():
    class OneAtATime(RandomOptimizer):
        def ask(self):
            return None if self.waiting else super().ask()

    curves = recorded()
    alone, optimizer = _search(RandomOptimizer, curves, 500.0), OneAtATime(seed=0, max_fidelity=12)
    optimizer.setup(Candidates(curves.configs))
    found = replay(optimizer, curves, 500.0, workers=4)
    np.testing.assert_array_equal(found.seconds, alone.seconds)
