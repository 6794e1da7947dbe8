"""Syne Tune behind the protocol."""

import logging
import math
import subprocess
import sys
from collections import Counter
from functools import cache
from typing import Any

import ConfigSpace as Cs
import numpy as np
import pytest

from optimizers.rivals.library_contract import LibraryContract
from qtt.errors import ConfigError
from qtt.optimizers.asha import ASHAOptimizer
from qtt.optimizers.base import CandidateOptimizer
from qtt.optimizers.rivals.positions import Positions, Values
from qtt.optimizers.rivals.syne_tune import SyneTuneOptimizer, _estimator
from qtt.space.config_manager import ConfigManager
from qtt.testing.contracts import play
from qtt.testing.synthetic import METAFEATURES, SyntheticCurves, SyntheticSpace
from qtt.types import Result, Status

pytest.importorskip("syne_tune", reason="needs the extra optimizers")

SPACE = Cs.ConfigurationSpace(
    {
        "x": Cs.Float("x", (1e-4, 1.0), log=True),
        "n": Cs.Integer("n", (8, 128)),
        "layers": Cs.OrdinalHyperparameter("layers", [2, 4, 6, 8]),
        "kind": ["a", "b", "c"],
        "on": [True, False],
        "child": (1.0, 2.0),
    }
)
SPACE.add(
    Cs.AndConjunction(
        Cs.InCondition(SPACE["child"], SPACE["kind"], ["a", "b"]),
        Cs.EqualsCondition(SPACE["child"], SPACE["on"], True),
    )
)


class TestASHA(LibraryContract):
    def make(self, seed: int, **settings: Any) -> SyneTuneOptimizer:
        return SyneTuneOptimizer(SyntheticSpace(), seed=seed, **settings)


class TestBOHB(LibraryContract):
    def make(self, seed: int, **settings: Any) -> SyneTuneOptimizer:
        return SyneTuneOptimizer(SyntheticSpace(), seed=seed, kind="bohb", brackets=4, **settings)


@pytest.mark.parametrize("wrong", [{"kind": "dyhpo"}, {"eta": 1}, {"brackets": 0}, {"proposals": 2}])
def test_settings_that_are_none_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"bohb|{next(iter(wrong))}"):
        SyneTuneOptimizer(**wrong)


def test_pipelines_are_stopped_by_the_rule_of_the_stopping_type() -> None:
    """At epochs 1, 3 and 9: where of those that came there, with itself, more than a third are better."""
    optimizer = SyneTuneOptimizer(SyntheticSpace(), max_fidelity=20)
    optimizer.setup(SyntheticSpace().sample(200, 3), METAFEATURES)
    play(optimizer, 250)
    curves = [optimizer.history.curve(i) for i in optimizer.history.observed]  # in the order of their begin
    rungs: dict[int, list[float]] = {1: [], 3: [], 9: []}
    for curve in curves[:-1]:
        for result in curve:
            reached = rungs.get(result.fidelity)
            if reached is None:
                continue
            reached.append(result.score)
            above = sum(score > result.score for score in reached) / len(reached)
            assert (result is curve[-1]) == (above > 1 / 3)
    assert {curve[-1].fidelity for curve in curves} >= {1, 3, 20}
    assert 15 < len(curves) < 200


def test_brackets_begin_to_stop_later_and_are_drawn_by_their_number_of_rungs() -> None:
    """Each pipeline is worse than all before: none but the first of a bracket gets over its first rung."""
    optimizer = SyneTuneOptimizer(SyntheticSpace(), max_fidelity=27, brackets=9)
    optimizer.setup(SyntheticSpace().sample(300, 3), METAFEATURES)
    while len(optimizer.history.observed) < 250:
        trial = optimizer.ask()
        assert trial is not None
        begun = len(optimizer.history.observed)
        optimizer.tell(Result(trial.config_id, trial.fidelity, -float(begun), 1.0))
    ends = Counter(optimizer.history.fidelity(i) for i in optimizer.history.observed)
    assert set(ends) == {1, 3, 9, 27}
    total = sum(math.exp(rungs) for rungs in (4, 3, 2, 1))
    for epoch, rungs in ((1, 4), (3, 3), (9, 2)):
        share = math.exp(rungs) / total
        assert ends[epoch] / 250 == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 250))


def test_asha_and_our_promotion_type_find_equally_good_pipelines() -> None:
    """After many epochs; after few the stopping type is behind, as its first pipelines go to their end."""
    differences = []
    for seed in range(12):
        ours, theirs = (_best(kind, seed, epochs=450) for kind in (ASHAOptimizer, SyneTuneOptimizer))
        differences.append(theirs - ours)
    error = np.std(differences, ddof=1) / math.sqrt(len(differences))
    assert abs(np.mean(differences)) < 3 * error
    assert error < 0.02


@pytest.mark.parametrize("kind", ["asha", "bohb"])
def test_every_kind_of_hyperparameter_is_proposed_in_all_its_range(kind: Any) -> None:
    found = [config for config, _ in _search(kind, 90)]
    manager = ConfigManager(SPACE)
    assert all(manager.validate(config) == config for config in found)
    assert all(("child" in c) == (c["kind"] in ("a", "b") and c["on"]) for c in found)
    assert {c["kind"] for c in found} == {"a", "b", "c"}
    assert {c["layers"] for c in found} == {2, 4, 6, 8}
    assert min(c["n"] for c in found) < 30 and max(c["n"] for c in found) > 106
    first = np.log10([c["x"] for c in found[:14]])
    assert first.min() < -3 and first.max() > -1


def test_density_estimators_propose_better_than_chance() -> None:
    """The best is x = 0.01, n = 64 and kind b."""
    chance, estimated = (
        np.array([score for _, score in _search(kind, 90)][30:]) for kind in ("asha", "bohb")
    )
    error = math.hypot(*(scores.std() / math.sqrt(len(scores)) for scores in (chance, estimated)))
    assert estimated.mean() - chance.mean() > 3 * error


def test_estimates_are_a_function_of_what_was_told() -> None:
    searches = [_search("bohb", 25, seed, again) for seed, again in ((1, False), (1, True), (2, False))]
    assert searches[0] == searches[1] != searches[2]


def test_where_there_is_no_density_it_is_zero() -> None:
    """At an option that no point has, far from all of them: infinity times nothing, for statsmodels."""
    from syne_tune.config_space import choice, uniform

    space = {"kind": choice(range(3)), "x": uniform(0.0, 1.0)}
    estimator = _estimator()(space, num_min_data_points=3, random_seed=0)
    points = np.array([(0.0, 0.5 + i * 1e-6) for i in range(10)])
    _, good = estimator._train_kde(points, np.arange(10.0))
    assert good.pdf([1 / 3, 0.9]) == 0
    assert 0 < good.pdf([1 / 3, 0.5]) < math.inf
    assert 0 < good.pdf([0.0, 0.5]) < math.inf


def test_nothing_is_drawn_from_numpys_global_state_and_nothing_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    state = str(np.random.get_state(legacy=False))
    with caplog.at_level(logging.INFO):
        _search("bohb", 25, seed=3)
        optimizer = SyneTuneOptimizer(SyntheticSpace(), brackets=3, max_fidelity=9)
        optimizer.setup(SyntheticSpace().sample(20, 3), METAFEATURES)
        play(optimizer, 20)
        trial = optimizer.ask()
        assert trial is not None
        optimizer.tell(Result(trial.config_id, trial.fidelity, math.nan, 0.1, Status.FAILED))
        play(optimizer, 5)
    assert str(np.random.get_state(legacy=False)) == state
    assert caplog.records == []


def test_the_root_logger_stays_as_it_was() -> None:
    code = (
        "import logging; from qtt.optimizers.rivals.syne_tune import SyneTuneOptimizer as S\n"
        "from qtt.testing.synthetic import SyntheticSpace\n"
        "S(SyntheticSpace(), kind='bohb').setup(9); print(logging.root.handlers, logging.root.level)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (ran.stdout.strip(), ran.stderr) == ("[] 30", "")


def _best(kind: type[CandidateOptimizer], seed: int, epochs: int) -> float:
    optimizer = kind(SyntheticSpace(), seed=seed, max_fidelity=27)
    optimizer.setup(SyntheticSpace().sample(200, 100 + seed), METAFEATURES)
    return max(result.score for result in play(optimizer, epochs, SyntheticCurves(seed)))


@cache
def _search(kind: Any, trials: int, seed: int = 0, again: bool = False) -> list[tuple[Values, float]]:
    """Pipelines that the library itself proposes, each for one epoch, and their scores; `again`: afresh."""
    positions = Positions.of_manager(ConfigManager(SPACE), seed)
    library = SyneTuneOptimizer(seed=seed, kind=kind, max_fidelity=1).build(positions)
    found = []
    for _ in range(trials):
        proposal = library.propose()
        assert proposal is not None
        config = positions.config(proposal.values)
        assert ("child" in proposal.values) == ("child" in config)
        score = -abs(math.log10(config["x"]) + 2) - abs(config["n"] - 64) / 64 + (config["kind"] == "b")
        assert not library.goes_on(proposal, [score])
        library.finish(proposal, [score], 1.0)
        found.append((config, score))
    return found
