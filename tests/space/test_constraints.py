"""Bounds on models, and fronts of accuracy and cost."""

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qtt.errors import ConfigError
from qtt.hub.model_hub import ModelHub
from qtt.optimizers.random import EpochwiseRandomOptimizer
from qtt.runs.record import RunRecord
from qtt.search.tuner import QuickTuner
from qtt.space.constraints import Constraints, Footprint, feasible, pareto
from qtt.statistics.fronts import cheapest, cost_table, front
from qtt.support.files import write_json
from qtt.types import Candidates, Result, TaskInfo, Trial

HUB = ModelHub.load("tiny")
FOOTPRINTS = {name: Footprint(10 * i + 10, 64, 5.0 * (i + 1)) for i, name in enumerate(HUB.names)}


def test_models_beyond_a_bound_are_left_out() -> None:
    assert feasible(HUB, FOOTPRINTS, Constraints()) == HUB
    assert feasible(HUB, FOOTPRINTS, Constraints(max_params=30)).names == HUB.names[:3]
    assert feasible(HUB, FOOTPRINTS, Constraints(max_latency_ms=10.0)).names == HUB.names[:2]
    assert feasible(HUB, FOOTPRINTS, Constraints(30, 5.0)).names == HUB.names[:1]


def test_where_none_is_left_the_nearest_are_named() -> None:
    message = rf"max_params=9\. The smallest is {HUB.names[0]} with 10 parameters, the fastest .* with 5 ms"
    with pytest.raises(ConfigError, match=message):
        feasible(HUB, FOOTPRINTS, Constraints(max_params=9))


@pytest.mark.parametrize("bound", [0, -1.0, float("nan"), float("inf"), True, "5M"])
def test_impossible_bounds_are_refused(bound: float) -> None:
    with pytest.raises(ConfigError, match=r"constraints\.max_params must be a positive number"):
        Constraints(max_params=bound)


def test_a_typo_is_explained() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'max_params'"):
        Constraints.from_mapping({"max_param": 1e6})


def test_latency_must_be_known() -> None:
    unmeasured = {name: replace(f, latency_ms=None) for name, f in FOOTPRINTS.items()}
    with pytest.raises(ConfigError, match="latencies that were measured"):
        feasible(HUB, unmeasured, Constraints(max_latency_ms=1.0))


def test_the_front_is_what_no_other_point_beats() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        score, cost = rng.integers(0, 6, 12).astype(float), rng.integers(0, 6, 12).astype(float)
        found = pareto(score, cost)
        for i in range(12):
            beaten = any(
                score[j] >= score[i] and cost[j] <= cost[i] and (score[j], cost[j]) != (score[i], cost[i])
                for j in range(12)
            )
            if found[i]:
                assert not beaten
        values = {(s, c) for s, c, on in zip(score, cost, found, strict=True) if on}
        best = {
            (s, c)
            for s, c in zip(score, cost, strict=True)
            if not any((a >= s and b <= c and (a, b) != (s, c)) for a, b in zip(score, cost, strict=True))
        }
        assert values == best
        assert len(values) == found.sum()


def test_unknown_costs_are_never_on_the_front() -> None:
    assert list(pareto(np.array([0.9, 0.5]), np.array([np.nan, 1.0]))) == [False, True]


SCORES = {0: 0.90, 1: 0.895, 2: 0.88, 3: 0.60, 4: 0.70}


def _scored(trial: Trial, task: TaskInfo) -> Result:
    return Result(trial.config_id, trial.fidelity, SCORES[trial.config_id], 1.0 + trial.config_id)


@pytest.fixture
def record(tmp_path: Path) -> RunRecord:
    """Five pipelines of five models; 0 is the best and the largest."""
    optimizer = EpochwiseRandomOptimizer(seed=0, max_fidelity=1)
    cards = tuple(replace(card, params=float(10 - i)) for i, card in enumerate(HUB.cards[:5]))
    optimizer.setup(Candidates(tuple({"model": card.name} for card in cards), cards))
    tuner = QuickTuner(optimizer, _scored, tmp_path, trackers=(), isolation="inline")
    tuner.run(TaskInfo(path=Path("x"), class_names=("a", "b")), evaluations=5)
    return tuner.record()


def test_the_front_of_a_search(record: RunRecord) -> None:
    assert list(cost_table(record)["config_id"]) == [0, 1, 2, 4, 3]
    points = front(record, "params")
    assert list(points["config_id"]) == [0, 1, 2, 4]
    assert list(points["params"]) == [10e6, 9e6, 8e6, 6e6]
    assert list(front(record, "seconds")["config_id"]) == [0]


def test_measured_footprints_come_before_cards(record: RunRecord) -> None:
    with pytest.raises(ConfigError, match=r"known latency_ms.*max_latency_ms"):
        front(record, "latency_ms")
    names = [card.name for card in record.candidates.models]
    needs = {name: Footprint(7, 64, float(i)).to_dict() for i, name in enumerate(names)}
    write_json(record.path / "footprints.json", needs)
    assert list(front(record, "latency_ms")["config_id"]) == [0]
    assert list(front(record, "params")["params"]) == [7.0]
    with pytest.raises(ConfigError, match="Did you mean 'params'"):
        front(record, "param")


def test_the_cheapest_that_is_nearly_as_good(record: RunRecord) -> None:
    for within, best in ((0.0, [0]), (0.006, [1, 0]), (0.03, [2, 1, 0]), (1.0, [4, 2, 1, 0])):
        assert cheapest(record, "params", within, count=9) == best
        assert cheapest(record, "params", within) == best[:1]
    with pytest.raises(ConfigError, match="within must be"):
        cheapest(record, "params", -0.1)


def test_any_point_of_the_front_can_be_finetuned(record: RunRecord) -> None:
    trained: list[int] = []

    def objective(trial: Trial, task: TaskInfo) -> Result:
        trained.append(trial.config_id)
        return _scored(trial, task)

    file = record.path / "task.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"max_fidelity": 2}))
    tuner = QuickTuner.load(record.path, objective)
    tuner.finetune(k=1, prefer="params", within=0.03)
    tuner.finetune(pipelines=[4])
    assert trained == [2, 4]
    assert list(itertools.chain(trained)) == [e.result.config_id for e in tuner.record().finetuning]
