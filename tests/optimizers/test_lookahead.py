from dataclasses import replace

import numpy as np
import pytest

from qtt.optimizers import lookahead
from qtt.optimizers.lookahead import SCREENED, Lookahead
from qtt.types import Prediction

COUNT, HORIZONS = SCREENED + 500, 4


class Plain:
    """Predicts what was drawn for each pipeline and epoch, and notes how much it was asked."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.mean, self.std = rng.normal(0.5, 0.1, (COUNT, 51)), rng.uniform(0.02, 0.1, (COUNT, 51))
        self.asked = []

    def setup(self, task):
        pass

    def condition(self, history):
        pass

    def predict(self, config_ids, fidelities):
        self.asked.append(len(config_ids))
        return Prediction(self.mean[config_ids, fidelities], self.std[config_ids, fidelities])


class Bounding(Plain):
    looseness = 1.5

    def bound(self, config_ids, fidelities):
        std = self.looseness * self.std[config_ids, fidelities]
        return Prediction(self.mean[config_ids, fidelities], std)


def look(seed, patience=5.0):
    rng = np.random.default_rng(seed)
    done = rng.integers(0, 10, COUNT)
    return Lookahead(
        pipelines=np.arange(COUNT),
        done=done,
        ends=done[:, None] + np.array([1, 3, 8, 20]),
        seconds=np.exp(rng.normal(4.0, 1.0, COUNT)),
        survival=rng.uniform(0.5, 1.0, COUNT),
        least=0.7,
        patience=patience,
        exponent=1.0,
    )


@pytest.mark.parametrize("patience", [5.0, None])
@pytest.mark.parametrize("seed", range(5))
def test_what_cannot_win_is_left_out_and_the_winner_is_the_same(seed, patience):
    plain, bounding = Plain(seed), Bounding(seed)
    value, predicted = look(seed, patience).best(plain)
    screened, bound = look(seed, patience).best(bounding)
    assert np.argmax(screened) == np.argmax(value)
    computed = np.isfinite(screened)
    np.testing.assert_array_equal(screened[computed], value[computed])
    assert sum(bounding.asked) == HORIZONS * computed.sum() < HORIZONS * COUNT
    np.testing.assert_array_equal(bound.mean, predicted.mean)


def test_where_bounds_say_nothing_all_are_predicted():
    class Vague(Bounding):
        looseness = 1e6

    vague = Vague(0)
    value, _ = look(0).best(vague)
    np.testing.assert_array_equal(value, look(0).best(Plain(0))[0])
    assert sum(vague.asked) == HORIZONS * COUNT


def test_of_equals_the_first_wins_as_without_bounds(monkeypatch):
    monkeypatch.setattr(lookahead, "SURELY_CONTENDERS", 3)
    same = Bounding(0)
    same.mean[:], same.std[:] = 0.5, 0.1
    equal = replace(look(0), seconds=np.ones(COUNT), survival=np.ones(COUNT), done=np.zeros(COUNT, dtype=int))
    equal = replace(equal, ends=np.tile([1, 3, 8, 20], (COUNT, 1)))
    value, _ = equal.best(same)
    assert np.argmax(value) == 0
    assert np.isfinite(value).all()


def test_few_pipelines_are_not_screened():
    bounding = Bounding(0)
    few = look(0)._only(np.arange(SCREENED))
    few.best(bounding)
    assert bounding.asked == [HORIZONS * SCREENED]
