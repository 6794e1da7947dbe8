"""One model with default hyperparameters against a search: distances, chosen runs, and their regret."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from qtt.benchmarking.runner import Problem
from qtt.curves.table import DatasetCurves
from qtt.optimizers.rivals.positions import Nearest, Positions
from qtt.testing import METAFEATURES
from qtt.types import Candidates

SCRIPTS = Path(__file__).parents[2] / "experiments" / "default_or_search"


@pytest.fixture
def recorded_defaults(load: Any) -> ModuleType:
    return load("recorded_defaults")


@pytest.fixture
def defaults(load: Any) -> ModuleType:
    return load("defaults")


def problem_of(recorded_defaults: ModuleType) -> Problem:
    """Four runs of two of the models: one of the defaults, one without a schedule, two far off."""
    large, small = recorded_defaults.LARGE, recorded_defaults.SMALL
    near = {**recorded_defaults.DEFAULTS, "lr": 0.01, "weight_decay": 1e-5}
    adam = {**near, "opt": "adam", "opt_betas": (0.9, 0.999), "lr": 1e-4}
    del adam["momentum"]
    configs = (
        {"model": small, **adam},
        {"model": small, **near},
        {"model": small, **near, "sched": None},
        {"model": large, **adam, "lr": 0.001, "weight_decay": 0.0},
    )
    scores = np.array([[0.2, 0.1, 0.4], [0.1, 0.3, np.nan], [0.5, np.nan, np.nan], [0.2, 0.9, 0.8]])
    return Problem(
        DatasetCurves(
            dataset="D",
            run_ids=("10", "11", "12", "13"),
            configs=configs,
            scores=scores,
            seconds=np.where(np.isfinite(scores), 100.0, np.nan),
            lengths=np.isfinite(scores).sum(axis=1),
            statuses=("finished", "failed", "finished", "capped"),
        ),
        METAFEATURES,
        Candidates(configs),
    )


def test_distances_are_sums_of_differences(recorded_defaults: ModuleType) -> None:
    rows = {row["run"]: row for row in recorded_defaults.described(problem_of(recorded_defaults))}
    assert rows["11"]["distance"] == 0.0 and rows["11"]["apart"] == 0
    assert rows["12"]["distance"] == 1.0, "no schedule instead of a cosine"
    # opt, its momentum and its betas; learning rates .0001, .001, .01 are places 0, ½, 1
    assert rows["10"]["distance"] == pytest.approx(1 + 1 + 1 + 1) and rows["10"]["apart"] == 4
    assert rows["13"]["distance"] == pytest.approx(1 + 1 + 1 + 0.5 + 1), "and weight decay 0"
    assert (rows["13"]["epochs"], rows["13"]["seconds"], rows["13"]["status"]) == (3, 300.0, "capped")


def test_the_nearest_run_is_that_of_the_optimizers_adapters(recorded_defaults: ModuleType) -> None:
    problem = problem_of(recorded_defaults)
    positions = Positions.of_candidates(problem.candidates, 0)
    nearest = Nearest(positions, problem.candidates)
    default = recorded_defaults.default_places(positions)
    places = np.array([positions.places(config) for config in problem.curves.configs])
    distance = recorded_defaults.differences(positions, places, default).sum(axis=1)
    snapped = {**recorded_defaults.DEFAULTS, "lr": 0.01, "weight_decay": 1e-5}
    for ids in ([0, 1, 2, 3], [0, 2], [0, 3]):
        model = problem.curves.configs[ids[0]]["model"]
        same = [i for i in ids if problem.curves.configs[i]["model"] == model]
        expected = nearest.among(same, {"model": model, **snapped})
        assert same[int(np.argmin(distance[same]))] == expected


def test_regret_of_a_run_is_that_of_its_best_epoch_so_far(recorded_defaults: ModuleType) -> None:
    problem = problem_of(recorded_defaults)
    seconds, regret = recorded_defaults.regret(problem, 0)
    assert seconds.tolist() == [100.0, 300.0]
    assert regret == pytest.approx([0.7 / 0.8, 0.5 / 0.8]), "best .9 and worst .1 are those of all runs"
    runs, steps = recorded_defaults.collected([problem])
    assert len(runs) == 4
    assert steps[steps["run"] == "13"]["regret"].tolist() == pytest.approx([0.7 / 0.8, 0.0])


def write(recorded_defaults: ModuleType, folder: Path, levels: dict[str, float]) -> Path:
    """Raw results of the four runs on two datasets, and of a quick that is at `levels` from second 50 on."""
    parts = [recorded_defaults.collected([problem_of(recorded_defaults)]) for _ in levels]
    for name, tables in zip(("runs.csv", "regret.csv"), zip(*parts, strict=True), strict=True):
        named = [table.assign(dataset=dataset) for table, dataset in zip(tables, levels, strict=True)]
        pd.concat(named).to_csv(folder / name, index=False)
    quick = [("quick", dataset, seed, 50.0, level) for dataset, level in levels.items() for seed in (0, 1)]
    columns = ["policy", "dataset", "seed", "seconds", "regret"]
    pd.DataFrame(quick, columns=columns).to_csv(folder / "quick.csv", index=False)
    return folder


def test_which_runs_stand_for_a_model(load: Any, tmp_path: Path) -> None:
    recorded_defaults, defaults = load("recorded_defaults"), load("defaults")
    folder = write(recorded_defaults, tmp_path, {"D": 0.2, "E": 0.4})
    recorded = defaults.Recorded.read(folder, folder / "quick.csv")
    small, large = recorded_defaults.SMALL, recorded_defaults.LARGE
    nearest, everyone, best = defaults.CHOICES
    assert recorded.chosen(nearest, small, "D") == ["12"], "the run of the defaults itself has failed"
    assert sorted(recorded.chosen(everyone, small, "D")) == ["10", "12"]
    assert recorded.chosen(best, small, "D") == ["12"], ".5 is more than .4"
    times = np.array([99.0, 100.0, 300.0])
    assert recorded.regret(nearest, small, times)[0] == pytest.approx([1.0, 0.5, 0.5])
    assert recorded.regret(everyone, small, times)[0] == pytest.approx([1.0, 0.6875, 0.5625])
    theirs, ours = recorded.at_end(nearest, large)
    assert theirs == pytest.approx([0.0, 0.0]) and ours == pytest.approx([0.2, 0.4])

    found = defaults.table(recorded).set_index(["model", "run"])
    row = found.loc[(small, nearest)]
    assert (row["1 h"], row["quick 1 h"]) == pytest.approx((0.5, 0.3))
    assert (row["quick is better 1 h"], row["quick is worse 1 h"], row["datasets"]) == (2, 0, 2)
    assert found.loc[(large, best), "quick is worse end"] == 2
    text = defaults.results_table(defaults.table(recorded))
    assert f"| `{small}` | {nearest} | 2 | .500 / .300 (2) |" in text
    assert "1.0 (1), momentum 0.01, 0.0 h, 1 of 2" in defaults.distances_table(recorded)


def test_the_page_shows_what_the_results_say(defaults: ModuleType) -> None:
    page = defaults.page()
    assert page.out_of_date() == [], "run experiments/pages.py default_or_search"
    recorded = defaults.Recorded.read()
    assert len(recorded.quick) == 18
    assert [len(recorded.datasets(model)) for model in recorded.models] == [14, 18, 18]
    for path, draw in page.figures.items():
        assert path.with_suffix(".png").exists() and path.with_suffix(".svg").exists()
        assert len(draw().axes) == 2
