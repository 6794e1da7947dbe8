"""Successive halving against the algorithm as the paper writes it, and against hand-made examples."""

import math
from collections import Counter
from itertools import pairwise

import pytest

from qtt.errors import ConfigError
from qtt.optimizers.asha import ASHAOptimizer, rungs
from qtt.testing import OptimizerContract, SyntheticCurves, SyntheticSpace, play
from qtt.types import Candidates, Result, Status


class TestASHA(OptimizerContract):
    def make(self, seed, **settings):
        return ASHAOptimizer(SyntheticSpace(), seed=seed, **settings)


def _setup(n=9, **settings):
    optimizer = ASHAOptimizer(**{"max_fidelity": 9} | settings)
    optimizer.setup(Candidates(tuple({"lr": float(i)} for i in range(n))))
    return optimizer


def _trace(optimizer, score, steps, fails=()):
    """(pipeline, epoch) of every step; `score(id, epoch)`; pairs in `fails` fail."""
    trace = []
    for _ in range(steps):
        trial = optimizer.ask()
        if trial is None:
            break
        pair = (trial.config_id, trial.fidelity)
        trace.append(pair)
        failed = pair in fails
        status = Status.FAILED if failed else Status.SUCCESS
        optimizer.tell(Result(*pair, math.nan if failed else score(*pair), 1.0, status))
    return trace


@pytest.mark.parametrize(
    ("eta", "step", "last", "expected"),
    [
        (3, 1, 50, (1, 3, 9, 27, 50)),
        (3, 1, 27, (1, 3, 9, 27)),
        (2, 1, 10, (1, 2, 4, 8, 10)),
        (3, 2, 50, (2, 4, 10, 28, 50)),
        (3, 7, 7, (7,)),
        (3, 1, 1, (1,)),
        (4, 3, 50, (3, 6, 18, 50)),
    ],
)
def test_rungs(eta, step, last, expected):
    assert rungs(eta, step, last) == expected


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match="eta"):
        ASHAOptimizer(eta=1)


def test_a_promotion_waits_for_three_and_takes_the_best():
    optimizer = _setup()
    order = [i for i, _ in _trace(optimizer, lambda i, epoch: i / 10, 3)]
    best = max(order)
    assert _trace(optimizer, lambda i, epoch: i / 10, 2) == [(best, 2), (best, 3)]
    (fourth,) = _trace(optimizer, lambda i, epoch: i / 10, 1)
    assert fourth[0] not in order
    assert fourth[1] == 1


def _paper(scores, order, eta, ladder, steps):
    """Algorithm 2 with one worker, written for epochs: rungs as lists of what has finished there."""
    finished = {rung: [] for rung in ladder}
    promoted = {rung: set() for rung in ladder}
    fresh, trace = list(order), []
    while len(trace) < steps:
        for rung, above in reversed(list(pairwise(ladder))):
            best = sorted(finished[rung], key=lambda i: -scores[i][rung - 1])
            waiting = [i for i in best[: len(best) // eta] if i not in promoted[rung]]
            if waiting:
                promoted[rung].add(waiting[0])
                finished[above].append(waiting[0])
                trace += [(waiting[0], epoch) for epoch in range(rung + 1, above + 1)]
                break
        else:
            if not fresh:
                break
            finished[ladder[0]].append(fresh[0])
            trace += [(fresh[0], epoch) for epoch in range(1, ladder[0] + 1)]
            fresh.pop(0)
    return trace[:steps]


@pytest.mark.parametrize("seed", range(5))
def test_one_worker_follows_the_papers_algorithm(seed):
    space, curves = SyntheticSpace(), SyntheticCurves(seed)
    optimizer = ASHAOptimizer(space, seed=seed, max_fidelity=50)
    optimizer.setup(60)
    scores = [[curves.score(c, epoch) for epoch in range(1, 51)] for c in optimizer.candidates.configs]
    told = play(optimizer, 400, curves)
    trace = [(result.config_id, result.fidelity) for result in told]
    order = [i for i, epoch in trace if epoch == 1]
    expected = _paper(scores, order, 3, (1, 3, 9, 27, 50), 400)
    assert len(expected) > 150
    assert trace[: len(expected)] == expected
    assert len(order) == len(set(order))


def test_the_order_of_fresh_pipelines_depends_on_the_seed():
    orders = {
        tuple(i for i, epoch in _trace(_setup(seed=seed), lambda i, epoch: 0.5, 30) if epoch == 1)
        for seed in range(8)
    }
    assert len(orders) == 8


def _drawn_best_first(n, **settings):
    """An optimizer, its pipelines in the order of their first ask, and scores that fall in that order."""
    order = [i for i, epoch in _trace(_setup(n), lambda i, epoch: 0.5, 10 * n) if epoch == 1]
    return _setup(n, **settings), order, lambda i, epoch: 1 - order.index(i) / n + epoch / 1000


def test_when_no_fresh_pipeline_is_left_the_best_of_the_highest_rung_goes_on():
    optimizer, order, score = _drawn_best_first(9)
    trace = _trace(optimizer, score, 1000)
    assert set(Counter(i for i, _ in trace).values()) == {9}
    quota = 9 + 3 * 2 + 6  # nine for one epoch, three of them for two more, one of these for six more
    assert Counter(i for i, _ in trace[:quota]) == Counter(
        {order[0]: 9, order[1]: 3, order[2]: 3} | dict.fromkeys(order[3:], 1)
    )
    rest = [(i, epoch) for i in order[1:3] for epoch in range(4, 10)]
    rest += [(i, epoch) for i in order[3:] for epoch in range(2, 10)]
    assert trace[quota:] == rest


def test_a_pipeline_that_fails_on_its_way_never_reaches_the_next_rung():
    optimizer, order, score = _drawn_best_first(12)
    trace = _trace(optimizer, score, 60, fails={(order[0], 2)})
    assert (order[0], 3) not in trace
    # rung 3 is reached by the second, third and fourth alone, and the last of them needs twelve at rung 1
    assert [i for i, epoch in trace if epoch == 3][:3] == order[1:4]
    begin = trace.index((order[1], 4))
    assert [i for i, epoch in trace[:begin] if epoch == 1] == order


def test_several_workers_take_different_pipelines_and_finish_what_was_begun():
    optimizer = _setup(n=9)
    first = [optimizer.ask() for _ in range(3)]
    for trial in first:
        optimizer.tell(Result(trial.config_id, 1, trial.config_id / 10, 1.0))
    promoted, fresh = optimizer.ask(), optimizer.ask()
    assert promoted.config_id == max(trial.config_id for trial in first)
    assert (promoted.fidelity, fresh.fidelity) == (2, 1)
    assert fresh.config_id not in {trial.config_id for trial in first}
    optimizer.tell(Result(promoted.config_id, 2, 0.5, 1.0))
    assert optimizer.ask().config_id == promoted.config_id
