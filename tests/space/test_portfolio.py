import math
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pytest

from qtt.errors import ArtifactError, ConfigError
from qtt.hub.model_hub import load_hub
from qtt.space.config_manager import ConfigManager
from qtt.space.portfolio import (
    HORIZONS,
    Portfolio,
    PortfolioEntry,
    anytime_values,
    build_portfolio,
    explained,
)
from qtt.space.search_space import build_space
from qtt.testing import SyntheticCurves, SyntheticSpace
from qtt.testing.synthetic import CARDS
from qtt.types import Candidates

HUB = load_hub("table4")
FULL = ConfigManager(build_space("full", HUB), HUB)
NAN = math.nan


@dataclass
class Recorded:
    """What a portfolio reads of recorded runs."""

    dataset: str
    candidates: Candidates
    scores: np.ndarray
    seconds: np.ndarray
    failed: np.ndarray


def runs(dataset, configs, scores, seconds=None, cards=CARDS):
    scores = np.array(scores, dtype=float)
    seconds = np.full(scores.shape, 10.0) if seconds is None else np.array(seconds, dtype=float)
    return Recorded(dataset, Candidates(tuple(configs), cards), scores, seconds, np.isnan(scores).all(axis=1))


def synthetic(dataset, seed, n=40, epochs=8):
    configs = SyntheticSpace().sample(n, seed).configs
    curves = SyntheticCurves(seed)
    scores = [[curves.score(config, epoch + 1) for epoch in range(epochs)] for config in configs]
    seconds = [[curves.seconds(config)] * epochs for config in configs]
    return runs(dataset, configs, scores, seconds)


def test_values_are_relative_scores_reached_by_each_horizon():
    scores = np.array([[0.2, 0.6, 0.4], [0.7, NAN, NAN], [0.3, 0.5, NAN], [NAN, NAN, 0.7]])
    seconds = np.array([[800.0, 2000.0, 100.0], [20000.0, NAN, NAN], [10.0, 10.0, NAN], [NAN, NAN, 10000.0]])
    values = anytime_values(scores, seconds, np.array([False, False, True, False]))
    assert HORIZONS == (900.0, 3600.0, 14400.0, 57600.0)
    assert values == pytest.approx([3 * 0.8 / 4, 1 / 4, 0.0, 1 / 4])


def test_values_of_nothing_and_of_equal_scores_are_numbers():
    no = np.array([False, False])
    assert anytime_values(np.full((2, 3), NAN), np.full((2, 3), NAN), no).tolist() == [0.0, 0.0]
    assert anytime_values(np.full((2, 3), 0.5), np.ones((2, 3)), no).tolist() == [0.0, 0.0]


def test_explained_variance_against_its_definition():
    values = np.array([0.0, 1.0, 10.0, 11.0, 5.0, 6.0])
    groups = np.array([0, 0, 1, 1, 2, 2])
    within, total = 3 * 0.5, float(((values - 5.5) ** 2).sum())
    assert explained(groups, values) == pytest.approx(1 - (within / 3) / (total / 5))
    assert explained(np.array([0, 1, 0, 1, 0, 1]), np.array([1.0, 1.0, 2.0, 2.0, 3.0, 3.0])) == 0.0
    assert explained(np.arange(6), values) == 0.0
    assert explained(groups, np.ones(6)) == 0.0


def test_chance_explains_nothing_on_average():
    generator = np.random.default_rng(0)
    shares = [explained(generator.integers(0, 8, 200), generator.normal(size=200)) for _ in range(200)]
    assert np.mean(shares) < 0.02


def test_the_first_entry_does_well_everywhere_and_the_next_what_it_does_not():
    def config(model, lr):
        return {"model": model, "lr": lr}

    configs = [
        config(model, lr) for model in ("small", "large") for lr in (1e-4, 1e-3, 1e-2) for _ in range(8)
    ]
    good = {("small", 1e-3): (0.8, 0.8), ("large", 1e-4): (0.9, 0.1), ("large", 1e-2): (0.1, 0.9)}
    datasets = [
        runs(name, configs, [[good.get((c["model"], c["lr"]), (0.0, 0.0))[k]] for c in configs])
        for k, name in enumerate(("A", "B"))
    ]
    chosen = build_portfolio(datasets, size=3)
    assert [tuple(entry.config.values()) for entry in chosen.entries] == [
        ("small", 1e-3),
        ("large", 1e-4),
        ("large", 1e-2),
    ]
    assert [entry.dataset for entry in chosen.entries] == ["A", "A", "B"]
    assert [entry.score for entry in chosen.entries] == pytest.approx([0.8 / 0.9, 1.0, 1.0], abs=1e-4)


def test_entries_of_one_dataset_have_different_models_and_failures_are_left_out():
    datasets = [synthetic(name, seed) for seed, name in enumerate("ABC")]
    datasets[0].failed[:] = True
    chosen = build_portfolio(datasets, size=100).entries
    assert {entry.dataset for entry in chosen} == {"B", "C"}
    assert len(chosen) == 2 * len(CARDS)
    for first, second in combinations(chosen, 2):
        assert (first.dataset, first.config["model"]) != (second.dataset, second.config["model"])
    assert all(entry.card is not None and entry.card.name == entry.config["model"] for entry in chosen)


def test_a_portfolio_is_better_than_chance_on_a_dataset_left_out():
    curves, worth = SyntheticCurves(9), []
    for seed in range(6):
        others = [synthetic(name, 10 * seed + k) for k, name in enumerate("ABCDE")]
        portfolio = build_portfolio(others, size=4)
        drawn = SyntheticSpace().sample(4, 1000 + seed).configs
        ours, chance = (
            max(curves.score(config, 8) for config in configs)
            for configs in ((entry.config for entry in portfolio.entries), drawn)
        )
        worth.append(ours - chance)
    assert np.mean(worth) > 0.1
    assert min(worth) > -0.02


def test_the_same_runs_make_the_same_portfolio():
    datasets = [synthetic(name, seed) for seed, name in enumerate("ABC")]
    assert build_portfolio(datasets, 6) == build_portfolio(datasets, 6)
    assert build_portfolio(datasets, 6).entries[:3] == build_portfolio(datasets, 3).entries


def test_nothing_to_choose_from_is_an_error():
    empty = runs("A", [{"model": "small"}], [[NAN]])
    for datasets, size in (([empty], 3), ([], 3), ([synthetic("A", 0)], 0)):
        with pytest.raises(ConfigError, match="portfolio"):
            build_portfolio(datasets, size)


def portfolio(n=6):
    configs = FULL.sample(n, 0).configs
    return Portfolio(tuple(PortfolioEntry(c, HUB[c["model"]], "A", 0.1 * i) for i, c in enumerate(configs)))


def test_json_round_trip():
    before = portfolio()
    assert any(isinstance(value, tuple) for entry in before.entries for value in entry.config.values())
    before = replace(before, entries=(*before.entries, PortfolioEntry({"lr": 0.1}, None, "B", 1.0)))
    assert Portfolio.from_json(before.to_json()) == before


@pytest.mark.parametrize("text", ["", "[]", '{"format": 9, "entries": []}', '{"format": 1, "entries": [{}]}'])
def test_broken_portfolios_are_refused(text):
    with pytest.raises(ArtifactError, match="portfolio"):
        Portfolio.from_json(text)


def test_pipelines_are_the_first_distinct_ones_of_the_space_at_hand():
    before = portfolio()
    assert before.pipelines(FULL, 4) == [entry.config for entry in before.entries[:4]]
    twice = replace(before, entries=tuple(entry for entry in before.entries for _ in range(2)))
    assert twice.pipelines(FULL, 4) == before.pipelines(FULL, 4)
    assert len(twice.pipelines(FULL, 100)) == 6


def test_pipelines_are_rebuilt_for_another_hub():
    tiny = load_hub("tiny")
    manager = ConfigManager(build_space("quickstart", tiny), tiny)
    configs = portfolio().pipelines(manager, 6)
    assert 1 <= len(configs) <= 6
    assert all(manager.validate(config) == config for config in configs)


def test_models_of_a_smaller_hub_share_what_was_foreign():
    tiny = load_hub("tiny")
    manager = ConfigManager(build_space("quickstart", tiny), tiny)
    models = [config["model"] for config in portfolio(48).pipelines(manager, 24)]
    assert len(models) == 24
    assert len(set(models)) >= 4
    assert max(models.count(model) for model in tiny.names) <= 12
