"""The comparison of optimizers: what becomes of the regret of searches."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

SCRIPTS = Path(__file__).parents[2] / "experiments" / "optimizers"


@pytest.fixture
def compare(load: Any) -> ModuleType:
    return load("compare")


def regret(path: Path, policies: dict[str, float], datasets: int = 6, seeds: int = 2) -> Path:
    """Searches whose regret falls at the first second to a level, a little higher from dataset to dataset."""
    rows = [
        (policy, f"D{dataset}", seed, 1.0, level + 0.01 * dataset)
        for policy, level in policies.items()
        for dataset in range(datasets)
        for seed in range(seeds)
    ]
    columns = ["policy", "dataset", "seed", "seconds", "regret"]
    pd.DataFrame(rows, columns=columns).to_csv(path, index=False)
    return path


def test_the_table_has_regret_ranks_and_paired_differences(compare: ModuleType, tmp_path: Path) -> None:
    ours = regret(tmp_path / "ours.csv", {"quick": 0.1, "random": 0.6})
    theirs = regret(tmp_path / "theirs.csv", {"optuna": 0.3})
    searches = compare.Searches.read([ours, theirs])
    table = searches.table(pd.Series({"optuna": 8.0}))
    assert table["policy"].tolist() == ["quick", "optuna", "random"]
    assert table["mean rank"].tolist() == [1.0, 2.0, 3.0]
    assert table["auc"].to_numpy() == pytest.approx(np.array([0.125, 0.325, 0.625]))
    assert table["ms a decision"].tolist()[1] == 8.0
    paired = searches.paired().set_index("policy")
    assert paired.loc["optuna", "auc less quick's"] == pytest.approx(0.2)
    assert paired.loc["random", "quick is better on"] == 6
    text = compare.markdown(table, searches.paired())
    assert "| optuna | .325 | .325 | .325 | .325 |" in text and "| 8.0 |" in text


def test_a_search_that_is_missing_is_named(compare: ModuleType, tmp_path: Path) -> None:
    ours = regret(tmp_path / "ours.csv", {"quick": 0.1})
    theirs = regret(tmp_path / "theirs.csv", {"optuna": 0.3}, datasets=5)
    with pytest.raises(ValueError, match=r"2 searches are missing, the first of them \('optuna', 'D5', 0\)"):
        compare.Searches.read([ours, theirs])


def test_critical_difference_is_that_of_the_literature(compare: ModuleType, tmp_path: Path) -> None:
    """Demšar 2006, section 3.2.3: four classifiers on 14 data sets, q = 2.569, CD = 1.25."""
    file = regret(tmp_path / "r.csv", dict.fromkeys(("quick", "a", "b", "c"), 0.1), datasets=14)
    assert compare.Searches.read([file]).critical_difference == pytest.approx(1.25, abs=0.005)


def test_groups_that_ranks_do_not_tell_apart(compare: ModuleType) -> None:
    assert compare.cliques(np.array([1.0, 1.5, 3.0, 3.2, 5.0]), 1.0) == [(0, 1), (2, 3)]
    assert compare.cliques(np.array([1.0, 2.0, 3.0]), 1.0) == [(0, 1), (1, 2)]
    assert compare.cliques(np.array([1.0, 3.0]), 1.0) == []


def test_the_readme_shows_what_the_results_say(compare: ModuleType, tmp_path: Path) -> None:
    assert compare.out_of_date() == [], "run experiments/optimizers/compare.py"
