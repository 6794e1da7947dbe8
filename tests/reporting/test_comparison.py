"""Several runs: their groups, bands and pages."""

import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qtt.errors import ConfigError
from qtt.reporting.comparison import (
    band,
    bootstrap_interval,
    common_folder,
    find_runs,
    group_labels,
    grouped,
)
from qtt.reporting.comparison_page import comparison_report
from qtt.reporting.run_view import RunView
from qtt.types import Result

WriteRun = Callable[..., RunView]


def _told(*steps: tuple[float, float]) -> list[tuple[float, Result]]:
    """Results of one pipeline from (seconds, score)."""
    return [(t, Result(0, e, score, 1.0)) for e, (t, score) in enumerate(steps, start=1)]


def test_mean_and_band_are_those_of_a_hand_computation(tmp_path: Path, write_run: WriteRun) -> None:
    first = write_run(tmp_path / "a", _told((10, 0.5), (20, 0.4), (30, 0.7)))
    second = write_run(tmp_path / "b", _told((15, 0.3), (25, 0.9)))
    found = band([first, second])
    assert found.times.tolist() == [15, 25, 30]
    np.testing.assert_allclose(found.mean, [0.4, 0.7, 0.8])
    # of two runs, a quarter of all resamples are one run alone, and a quarter the other
    np.testing.assert_allclose(found.low, [0.3, 0.5, 0.7])
    np.testing.assert_allclose(found.high, [0.5, 0.9, 0.9])


def test_one_run_has_no_band(tmp_path: Path, write_run: WriteRun) -> None:
    found = band([write_run(tmp_path / "a", _told((10, 0.5), (30, 0.7)))])
    assert (found.low, found.high) == (None, None)
    assert found.mean.tolist() == [0.5, 0.7]


def test_the_bootstrap_counts_all_resamples() -> None:
    values = np.random.default_rng(3).normal(size=(5, 3))
    means = np.array([values[list(rows)].mean(0) for rows in itertools.product(range(5), repeat=5)])
    exact = np.percentile(means, [2.5, 97.5], axis=0, method="inverted_cdf")
    np.testing.assert_allclose(bootstrap_interval(values), exact)


def test_of_many_runs_the_interval_is_the_normal_one() -> None:
    values = np.random.default_rng(3).normal(size=(200, 2))
    low, high = bootstrap_interval(values)
    error = values.std(0) / np.sqrt(200)
    np.testing.assert_allclose(low, values.mean(0) - 1.96 * error, atol=0.15 * error.max())
    np.testing.assert_allclose(high, values.mean(0) + 1.96 * error, atol=0.15 * error.max())


def test_labels_name_what_differs_but_the_seed() -> None:
    quick = {
        "optimizer._target_": "qtt.artifacts.pretrained.quick_tune",
        "optimizer.weights": None,
        "optimizer.patience": 5,
    }
    shared = {"dataset.path": "data/leaves", "budget.seconds": 60}
    learned = quick | {"optimizer.weights": "mtlbm/micro"}
    random = {"optimizer._target_": "qtt.optimizers.random.RandomOptimizer"}
    runs = [
        {**shared, **settings, "seed": seed, "run_dir": f"runs/{i}"}
        for i, (settings, seed) in enumerate(itertools.product((quick, learned, random), (0, 1)))
    ]
    assert group_labels(runs) == [
        "quick_tune, weights = none",
        "quick_tune, weights = none",
        "quick_tune, weights = mtlbm/micro",
        "quick_tune, weights = mtlbm/micro",
        "RandomOptimizer",
        "RandomOptimizer",
    ]
    assert group_labels(runs[:2]) == ["all runs", "all runs"]
    other = [runs[0], runs[0] | {"dataset.path": "data/birds"}]
    assert group_labels(other) == ["path = data/leaves", "path = data/birds"]


def test_labels_are_the_options_that_were_chosen() -> None:
    quick = {"optimizer._target_": "qtt.quick_tune", "optimizer.weights": "mtlbm/micro", "lr": 1}
    random = {"optimizer._target_": "qtt.RandomOptimizer", "lr": 1}
    chosen = [{"optimizer": name, "dataset": "digits"} for name in ("quick_pretrained", "random")]
    assert group_labels([quick, random], chosen) == ["optimizer=quick_pretrained", "optimizer=random"]
    other = quick | {"optimizer.weights": "mtlbm/mini"}
    labels = group_labels([quick, random, other, random | {"lr": 2}], [*chosen, *chosen])
    assert labels == [
        "optimizer=quick_pretrained, lr = 1, weights = mtlbm/micro",
        "optimizer=random, lr = 1",
        "optimizer=quick_pretrained, lr = 1, weights = mtlbm/mini",
        "optimizer=random, lr = 2",
    ]
    # the same settings by another name are no difference; without choices all is as before
    assert group_labels([quick, quick], chosen) == ["all runs", "all runs"]
    assert group_labels([quick, random], [chosen[0], {}]) == ["quick_tune", "RandomOptimizer"]


def test_paths_with_the_same_end_are_told_apart() -> None:
    runs = [{"dataset.path": f"/data/{name}/images/train"} for name in ("cats", "dogs")]
    assert group_labels(runs) == ["path = cats/images/train", "path = dogs/images/train"]


def test_searches_for_different_metrics_are_said_not_to_compare(tmp_path: Path, write_run: WriteRun) -> None:
    views = [write_run(tmp_path / name, _told((1, 0.5))) for name in "ab"]
    other = replace(views[1].record, task=replace(views[1].record.task, metric="macro_f1"))
    html = comparison_report([views[0], replace(views[1], record=other)]).html
    assert "different metrics, accuracy and macro_f1" in html


def test_settings_that_only_some_have_do_not_vanish() -> None:
    assert group_labels([{"a.b": 1, "seed": 0}, {"seed": 0}]) == ["b = 1", "all runs"]


def test_without_configurations_folders_are_groups(tmp_path: Path, write_run: WriteRun) -> None:
    names = ("quick-seed0", "quick-seed1", "seed=3,random", "resnet-18", "resnet-50")
    views = [write_run(tmp_path / name, _told((1, 0.5))) for name in names]
    assert [group.label for group in grouped(views)] == ["quick", ",random", "resnet-18", "resnet-50"]


def test_run_folders_are_found_below_and_once(tmp_path: Path, write_run: WriteRun, results: list) -> None:  # type: ignore[type-arg]
    for name in ("sweep/b", "sweep/a", "other"):
        write_run(tmp_path / name, results)
    (tmp_path / "sweep" / "notes").mkdir()
    sweep = tmp_path / "sweep"
    assert find_runs([sweep, sweep / "b"]) == [sweep / "a", sweep / "b"]
    assert find_runs([tmp_path]) == [tmp_path / "other", sweep / "a", sweep / "b"]
    assert common_folder([sweep / "a", sweep / "b"], [sweep / "a", sweep / "b"]) == sweep
    assert common_folder([sweep / "a", tmp_path / "other"], [sweep, tmp_path / "other"]) == tmp_path
    for nothing in (sweep / "notes", tmp_path / "nowhere"):
        with pytest.raises(ConfigError, match=r"candidates\.json"):
            find_runs([nothing])


def test_a_comparison_says_what_there_is(tmp_path: Path, write_run: WriteRun) -> None:
    views = []
    for seed, (quick, random) in enumerate([(0.9, 0.6), (0.7, 0.4)]):
        for name, score in (("<Quick>", quick), ("Random", random)):
            config = {"optimizer": {"_target_": f"x.{name}"}, "seed": seed}
            views.append(write_run(tmp_path / f"{name}-{seed}", _told((5, 0.1), (60, score)), config=config))
    views.append(write_run(tmp_path / "empty", [], config={"optimizer": {"_target_": "x.Random"}, "seed": 9}))
    report = comparison_report(views)
    text = re.sub(r"<[^>]+>", " ", report.html)
    assert "5 searches in 2 groups" in text
    assert "0.8000 ± 0.1414" in text
    assert "0.5000 ± 0.1414" in text
    assert "2 of 3" in text
    assert "left out of all means: empty." in text
    assert "<Quick>" not in report.html
    assert "&lt;Quick&gt;" in report.html
    assert [c.name for c in report.charts] == ["compare-incumbent", "compare-final"]
    assert "95 % bootstrap" in report.charts[0].note
    assert comparison_report(views) == report


def test_runs_without_any_result_compare_too(tmp_path: Path, write_run: WriteRun) -> None:
    views = [write_run(tmp_path / name, []) for name in "ab"]
    report = comparison_report(views)
    assert "No search has finished an epoch yet" in report.html
    assert report.charts == ()


def test_more_groups_than_a_chart_can_tell_apart_are_said_so(tmp_path: Path, write_run: WriteRun) -> None:
    views = [write_run(tmp_path / f"run-{i}", _told((1 + i, i / 20), (60, i / 15))) for i in range(14)]
    report = comparison_report(views)
    assert "The figures show the best 12 of 14 groups." in report.html
    assert "run-13 (" in report.charts[0].svg
    assert "run-0 (" not in report.charts[0].svg
