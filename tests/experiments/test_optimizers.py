"""The comparison of optimizers: what becomes of the regret of searches."""

import sys
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
    searches, milliseconds = compare.read([ours, theirs]), pd.Series({"optuna": 8.0})
    table = compare.table_of(searches, milliseconds)
    assert table["policy"].tolist() == ["quick", "optuna", "random"]
    assert table["mean rank"].tolist() == [1.0, 2.0, 3.0]
    assert table["auc"].to_numpy() == pytest.approx(np.array([0.125, 0.325, 0.625]))
    assert table["ms a decision"].tolist()[1] == 8.0
    paired = compare.paired_of(searches).set_index("policy")
    assert paired.loc["optuna", "auc less quick's"] == pytest.approx(0.2)
    assert paired.loc["random", "quick is better on"] == 6
    text = compare.readme_table(searches, milliseconds)
    assert "| optuna | .325 | .325 | .325 | .325 |" in text and "| .200 (.200 to .200) | 8.0 |" in text


def test_the_last_table_that_has_a_policy_counts_and_ablations_do_not(
    compare: ModuleType, tmp_path: Path
) -> None:
    old = regret(tmp_path / "old.csv", {"quick": 0.1, "random": 0.9, "no_cost": 0.2})
    new = regret(tmp_path / "new.csv", {"random": 0.6})
    searches = compare.read([old, new])
    assert searches.policies == ("quick", "random")
    assert searches.auc.mean(axis=1) == pytest.approx(np.array([0.125, 0.625]))


def test_a_search_that_is_missing_is_named(compare: ModuleType, tmp_path: Path) -> None:
    ours = regret(tmp_path / "ours.csv", {"quick": 0.1})
    theirs = regret(tmp_path / "theirs.csv", {"optuna": 0.3}, datasets=5)
    with pytest.raises(ValueError, match=r"2 searches missing, the first of them \('optuna', 'D5', 0\)"):
        compare.read([ours, theirs])


def test_the_readme_shows_what_the_results_say(compare: ModuleType) -> None:
    page = compare.page()
    assert {path.name for path in page.texts} == {"README.md", "table.csv", "paired.csv"}
    assert page.out_of_date() == [], "run experiments/optimizers/compare.py"


def test_figures_have_all_policies_and_the_band_of_quick_alone(compare: ModuleType) -> None:
    drawn = {path.name: draw() for path, draw in compare.page().figures.items()}
    assert set(drawn) == {"regret", "ranks"}
    names = [text.get_text() for text in drawn["regret"].legends[0].get_texts()]
    assert (names[0], len(names), len(drawn["regret"].axes[0].collections)) == ("quick", 12, 1)
    told = " ".join(text.get_text() for text in drawn["ranks"].axes[0].texts)
    assert all(name in told for name in names)


def test_other_tables_are_named_on_the_command_line(
    compare: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("# Mine\n<!-- table results: written by `make tables` -->\n<!-- end of results -->\n")
    monkeypatch.setattr(compare, "README", readme)
    monkeypatch.setattr(compare, "RESULTS", tmp_path / "results")
    file = regret(tmp_path / "r.csv", {"quick": 0.1, "random": 0.6})
    monkeypatch.setattr(sys, "argv", ["compare.py", str(file)])
    compare.main()
    assert "| random | .625 |" in readme.read_text()
    assert {path.name for path in (tmp_path / "results").iterdir()} == {
        *("table.csv", "paired.csv", "regret.png", "regret.svg", "ranks.png", "ranks.svg")
    }
    assert "random" in capsys.readouterr().out
