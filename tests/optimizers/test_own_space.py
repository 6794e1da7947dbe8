"""Every optimizer on a space of one's own, without a hub: searches, resumes, proposes."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from ConfigSpace import ConfigurationSpace

from own_spaces import everything, objective
from qtt import QuickTuner, get_pretrained_optimizer
from qtt.artifacts.pretrained import quick_tune
from qtt.optimizers import ASHAOptimizer, EpochwiseRandomOptimizer, RandomOptimizer
from qtt.optimizers.quick import QuickTune
from qtt.predictors.paper import PaperPerformance
from qtt.predictors.paper_cost import PaperCost
from qtt.space.config_manager import ConfigManager
from qtt.types import Result, TaskInfo


def paper(manager, **settings):
    performance = PaperPerformance(early_steps=3, steps=1)
    cost = PaperCost(early_steps=3, steps=1)
    return QuickTune(manager, performance=performance, cost=cost, acquisition="multi_fidelity", **settings)


MAKERS = {
    "quick": partial(quick_tune, proposals=2),
    "quick_pretrained": partial(quick_tune, weights="mtlbm/micro", proposals=2),
    "quick_paper": paper,
    "random": RandomOptimizer,
    "random_epochwise": EpochwiseRandomOptimizer,
    "asha": ASHAOptimizer,
}


def make(name):
    optimizer = MAKERS[name](ConfigManager(everything()), seed=1, max_fidelity=5)
    optimizer.setup(16)
    return optimizer


def play(optimizer, steps):
    """Asks, with what the objective gave."""
    asked = []
    for _ in range(steps):
        trial = optimizer.ask()
        asked.append((trial.config_id, trial.fidelity))
        optimizer.tell(objective(trial, TaskInfo(Path())))
    return asked


@pytest.mark.parametrize("name", MAKERS)
def test_searches_go_on_where_they_stopped(name):
    whole, first, second = make(name), make(name), make(name)
    asked = play(whole, 24)
    play(first, 14)
    # as a journal and candidates.json give them back
    told = json.loads(json.dumps([result.to_dict() for result in first.history]))
    second.tell(told)
    assert json.loads(json.dumps(second.candidates.to_dict())) == json.loads(
        json.dumps(first.candidates.to_dict())
    )
    assert play(second, 10) == asked[14:]
    assert second.candidates == whole.candidates
    if name in ("quick", "quick_pretrained"):
        assert whole.candidates.proposed
        manager = whole.config_manager
        assert all(manager.validate(config) == config for config in whole.candidates.configs)


def test_a_folder_is_resumed_to_the_bit(tmp_path):
    def search(folder, *budgets):
        for evaluations in budgets:
            optimizer = get_pretrained_optimizer("cold", search_space=everything(), max_fidelity=5)
            optimizer.proposals = 2
            optimizer.setup(16)
            tuner = QuickTuner(optimizer, objective, folder, trackers=[], isolation="inline")
            tuner.run(evaluations=evaluations)
        journal = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
        return [(entry["config_id"], entry["fidelity"], entry["score"]) for entry in journal]

    assert search(tmp_path / "parts", 9, 14, 20) == search(tmp_path / "whole", 20)
    one, other = ((tmp_path / name / "candidates.json").read_text() for name in ("parts", "whole"))
    assert one == other
    space = ConfigManager.from_json((tmp_path / "parts" / "search_space.json").read_text())
    for config in json.loads(one)["configs"]:
        space.validate(config)
    assert len(QuickTuner.load(tmp_path / "parts").statistics()) > 3


def test_a_training_process_gets_the_same_values(tmp_path):
    optimizer = get_pretrained_optimizer("cold", search_space=everything(), max_fidelity=3)
    optimizer.setup(8)
    summary = QuickTuner(optimizer, objective, tmp_path, trackers=[], isolation="process").run(evaluations=6)
    assert summary.history.evaluations == 6 and not summary.history.failed


@pytest.mark.parametrize("name", ["quick", "quick_paper", "quick_pretrained"])
def test_a_single_hyperparameter_will_do(name):
    space = ConfigurationSpace({"x": (0.0, 1.0)})
    optimizer = MAKERS[name](ConfigManager(space), max_fidelity=4)
    optimizer.setup(6)
    for _ in range(10):
        trial = optimizer.ask()
        optimizer.tell(Result(*(trial.config_id, trial.fidelity), 0.1 + 0.5 * trial.config["x"], 1.0))


def test_scores_below_zero_are_compared_with_the_best_of_them():
    """Losses with a minus: without a dataset there is no chance level of zero that all would miss."""
    space = ConfigurationSpace({"x": (0.0, 1.0)})
    best = []
    for shift in (0.0, -100.0):
        optimizer = quick_tune(ConfigManager(space), max_fidelity=1, seed=2)
        optimizer.setup(40)
        for _ in range(14):
            trial = optimizer.ask()
            optimizer.tell(Result(trial.config_id, 1, shift + 0.9 - (trial.config["x"] - 0.3) ** 2, 1.0))
        best.append(optimizer.history.incumbent.config_id)
        nearest = sorted((abs(c["x"] - 0.3), i) for i, c in enumerate(optimizer.candidates.configs))
        assert best[-1] in [i for _, i in nearest[:4]]
    assert np.isfinite(best).all()
