import dataclasses
from functools import cache

import numpy as np
import pytest
from scipy.stats import norm

from qtt.errors import ConfigError
from qtt.metatraining import fit as fitting
from qtt.metatraining import fit_prior, fit_residual
from qtt.metatraining.fit import FOLDS, fit
from qtt.metatraining.fit_prior import STARTS, Task, fit_moments, folds, moment_points, standing_data
from qtt.metatraining.fit_residual import fit_kernel, residual_sets
from qtt.predictors.dynamics import Encoded
from qtt.predictors.failure import FailureRate
from qtt.predictors.meta import MetaPerformance, residual_points
from qtt.predictors.meta_cost import MetaCost
from qtt.predictors.prior import HORIZONS, Standing, logit
from qtt.predictors.residual import ResidualPosterior
from synthetic_runs import TASK, PlainStages, datasets, fitted, quick_settings

RUNS = datasets()
SPEC = fitting.feature_spec(RUNS)
TASKS = [Task.of(part, SPEC) for part in RUNS]


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    quick_settings(monkeypatch)


@cache
def few_steps():
    """What is fitted to all runs under the settings of this module."""
    return fit(RUNS, seed=0, stages=PlainStages())


def test_a_dataset_is_in_one_fold_from_whichever_table_it_comes():
    names = [*"ABCDEF", *"FEDCBA", "G"]
    fold = folds(names, FOLDS)
    for name in set(names):
        assert len({int(f) for f, other in zip(fold, names, strict=True) if other == name}) == 1
    assert np.unique(fold).tolist() == [0, 1, 2, 3]


def test_held_out_standings_come_from_models_that_never_saw_the_dataset(monkeypatch):
    twice = [*RUNS, RUNS[1], RUNS[4]]
    learned_from, asked = {}, []
    fit_standing, predict = fit_prior.fit_standing, Standing.predict

    def noting_fit(tasks, seed):
        standing = fit_standing(tasks, seed)
        learned_from[standing.trees.value.tobytes()] = {task.runs.dataset for task in tasks}
        return standing

    def noting_predict(self, encoded):
        asked.append((learned_from[self.trees.value.tobytes()], encoded))
        return predict(self, encoded)

    monkeypatch.setattr(fit_prior, "fit_standing", noting_fit)
    monkeypatch.setattr(Standing, "predict", noting_predict)
    made = []
    of = Encoded.of
    monkeypatch.setattr(Encoded, "of", lambda spec, task: made.append(of(spec, task)) or made[-1])
    fit(twice, seed=0, stages=PlainStages())
    assert [encoded for _, encoded in asked] == made, "each table's part of a dataset is asked about once"
    for (seen, _), part in zip(asked, twice, strict=True):
        assert part.dataset not in seen
        assert len(seen) >= 3
    assert set("ABCDE") in learned_from.values(), "what is shipped has seen everything"


def test_validation_figures_are_of_datasets_left_out(monkeypatch):
    """What is noise can be learned by heart, and is not predicted where it is held out."""
    rng = np.random.default_rng(0)
    parts = []
    for part in RUNS:
        known = np.isfinite(part.scores)
        scores = rng.uniform(0.1, 0.9, (len(part), 1)) + rng.uniform(0.0, 0.02, known.shape)
        seconds = np.exp(rng.normal(size=(len(part), 1)))
        noise = {"scores": np.where(known, scores, np.nan), "seconds": np.where(known, seconds, np.nan)}
        parts.append(dataclasses.replace(part, **noise))
    quick_settings(monkeypatch, trees=15)
    figures = fit(parts, seed=0, stages=PlainStages()).validation
    assert figures["fresh_r2"] < 0.1
    assert figures["cost_log_std"] > 0.95


def test_the_residual_kernel_is_validated_on_datasets_it_is_not_trained_on(monkeypatch):
    points = [moment_points(TASKS, standings(), fresh) for fresh in (True, False)]
    residuals = [np.random.default_rng(0).normal(size=len(part.target)) for part in points]
    sets = residual_sets(TASKS, points, residuals)
    drawn = []
    batch = fit_residual._batch
    monkeypatch.setattr(fit_residual, "_batch", lambda part, rng: drawn.append(part) or batch(part, rng))
    monkeypatch.setattr(fit_residual, "STEPS", 20)
    held_out = np.array([True, False, False, True, False])
    fit_kernel(TASKS, sets, held_out, seed=0)
    checks = 2 * fit_residual.BATCHES_PER_CHECK
    position = {id(part): k for k, part in enumerate(sets)}
    assert {position[id(part)] for part in drawn[:checks]} == {0, 3}
    assert {position[id(part)] for part in drawn[checks:]} == {1, 2, 4}


def standings():
    return [np.random.default_rng(k).normal(size=(len(t.runs), len(HORIZONS))) for k, t in enumerate(TASKS)]


def test_failed_runs_rank_last_and_runs_that_ended_are_not_ranked_beyond():
    task = TASKS[0]
    _, target = standing_data([task])
    known = np.isfinite(task.best[:, HORIZONS - 1].T)
    table = np.full(known.shape, np.nan)
    table[known] = target
    failed = task.runs.failed
    assert failed.sum() == 2
    for row, values, epoch in zip(table, known, HORIZONS, strict=True):
        np.testing.assert_array_equal(values, failed | (task.runs.lengths >= epoch))
        assert np.nanmax(row[failed]) < np.nanmin(row[~failed])
        best = int(np.nanargmax(row))
        assert task.runs.scores[best, :epoch].max() == np.nanmax(
            task.runs.scores[:, :epoch][values].max(axis=1)
        )


def test_standings_are_normal_scores_within_a_dataset():
    _, target = standing_data([TASKS[1]])
    best = TASKS[1].best[:, 0]
    below = (best < best[:, None]).sum(axis=1)
    equal = (best == best[:, None]).sum(axis=1)
    assert (equal == 2).any(), "there are ties"
    np.testing.assert_allclose(target[: len(best)], norm.ppf((below + equal / 2) / len(best)))


def test_points_predict_the_best_score_to_come_and_never_one_that_was_not_recorded():
    for fresh in (True, False):
        points = moment_points(TASKS, standings(), fresh)
        assert set(points.start) == ({0.0} if fresh else set(map(float, STARTS[1:])))
        for k in np.random.default_rng(0).choice(len(points.target), 200, replace=False):
            runs, run = RUNS[points.task[k]], points.run[k]
            start, end = int(points.start[k]), int(points.end[k])
            assert start < end <= runs.lengths[run]
            curve = runs.scores[run]
            known = logit(curve[:start].max()) if start else 0.0
            assert points.target[k] == pytest.approx(logit(curve[start:end].max()) - known)


def test_residuals_are_in_held_out_standard_deviations():
    points = moment_points(TASKS, standings(), True)
    fold = folds([part.dataset for part in RUNS], FOLDS)[points.task]
    moments, residual, r2 = fit_moments(points, fold, fit_prior.FRESH_MEAN, seed=0)
    assert residual.shape == points.target.shape
    assert np.mean(residual**2) == pytest.approx(1.0)
    _, std = moments.predict(points.rows)
    held_out = points.target - residual * std
    assert r2 == pytest.approx(1.0 - np.mean((points.target - held_out) ** 2) / points.target.var())
    for k in np.unique(fold):
        model = fit_prior.boosted(fit_prior.FRESH_MEAN, 0, points.rows[fold != k], points.target[fold != k])
        np.testing.assert_allclose(held_out[fold == k], model.predict(points.rows[fold == k]))


def test_residual_sets_are_compared_where_a_search_compares():
    points = [moment_points(TASKS, standings(), fresh) for fresh in (True, False)]
    sets = residual_sets(TASKS, points, [np.arange(len(part.target), dtype=float) for part in points])
    assert len(sets) == len(RUNS)
    for part, runs in zip(sets, RUNS, strict=True):
        for run in range(len(runs)):
            mine = part.run == run
            expected = set(zip(*residual_points(int(runs.lengths[run])), strict=True))
            assert set(zip(part.start[mine], part.end[mine], strict=True)) == expected
            assert mine.sum() == len(expected)


def test_fitting_is_a_function_of_the_seed():
    one = few_steps()
    again, other = (fit(RUNS, seed=seed, stages=PlainStages()) for seed in (0, 1))
    for part in ("performance", "cost"):
        arrays, same = getattr(one, part), getattr(again, part)
        assert arrays.keys() == same.keys()
        for name in arrays:
            np.testing.assert_array_equal(arrays[name], same[name])
    assert one.validation == again.validation
    assert any(not np.array_equal(array, other.performance[k]) for k, array in one.performance.items())


def test_stages_run_as_planned_and_figures_are_no_weights():
    stages = PlainStages()
    result = fit(RUNS, seed=0, stages=stages)
    assert stages.ran == list(stages.planned)
    arrays = result.performance | result.cost
    assert not any(name.startswith("figure") or name == "residual" for name in arrays)
    assert set(result.validation) >= {"fresh_r2", "started_r2", "residual_nll", "cost_log_std"}
    performance = MetaPerformance.from_tensors(result.spec, result.performance)
    assert performance.tensors().keys() == result.performance.keys()


def test_what_is_fitted_serves_a_dataset_it_has_not_seen():
    performance = MetaPerformance.from_tensors(fitted().spec, fitted().performance)
    cost = MetaCost.from_tensors(fitted().spec, fitted().cost)
    for predictor in (performance, cost):
        predictor.setup(TASK)
    everyone = range(len(TASK.candidates))
    assert performance.predict(everyone, [50] * len(everyone)).mean.std() > 0.5
    assert (cost.predict(everyone) > 0).all()
    assert fitted().validation["fresh_r2"] > 0.5
    assert fitted().validation["started_r2"] > 0.7
    assert fitted().validation["cost_log_std"] < 0.2


def test_runs_that_failed_teach_no_cost():
    slow = [dataclasses.replace(part, seconds=part.seconds.copy()) for part in RUNS]
    for part in slow:
        part.seconds[part.failed, 0] = 1e6
    one, other = few_steps().cost, fit(slow, seed=0, stages=PlainStages()).cost
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def test_failures_are_learned_where_there_are_enough_of_them():
    broken = []
    for part in RUNS:
        large = np.array([config["model"] == "large" for config in part.candidates.configs])
        broken.append(dataclasses.replace(part, failed=large))
    result = fit(broken, seed=0, stages=PlainStages())
    assert result.validation["failure_auc"] > 0.95
    rate = FailureRate.from_tensors(result.spec, result.cost)
    rate.setup(TASK)
    predicted = rate.predict(range(len(TASK.candidates)))
    large = np.array([config["model"] == "large" for config in TASK.candidates.configs])
    assert predicted[large].min() > 0.5 > predicted[~large].max()
    assert "failure_auc" not in few_steps().validation
    assert not any(name.startswith("failure") for name in few_steps().cost)


def last_epochs_only(runs):
    kept = np.arange(runs.scores.shape[1]) == runs.lengths[:, None] - 1
    return dataclasses.replace(
        runs, scores=np.where(kept, runs.scores, np.nan), seconds=np.where(kept, runs.seconds, np.nan)
    )


def test_datasets_of_last_epochs_help_beside_curves_and_are_not_enough():
    mixed = [*RUNS[:4], last_epochs_only(RUNS[4])]
    result = fit(mixed, seed=0, stages=PlainStages())
    assert all(np.isfinite(value) for value in result.validation.values())
    with pytest.raises(ConfigError, match="only last epochs"):
        fit([last_epochs_only(part) for part in RUNS], seed=0, stages=PlainStages())


def test_too_few_datasets_are_named():
    with pytest.raises(ConfigError, match=r"at least 4 datasets; got 3: \['A', 'B', 'C'\]"):
        fit([*RUNS[:3], RUNS[0]], seed=0, stages=PlainStages())


def test_the_shared_kernel_learns_what_datasets_have_in_common(monkeypatch):
    """Residuals that follow the model: after a few of a dataset, the others of that model are known."""
    monkeypatch.setattr(fit_residual, "STEPS", 80)
    monkeypatch.setattr(fit_residual, "CHECK_EVERY", 40)
    rng = np.random.default_rng(0)
    points = [moment_points(TASKS, standings(), fresh) for fresh in (True, False)]
    effect = [dict.fromkeys(("small", "medium", "large"), 0.0) for _ in TASKS]
    for shifts in effect:
        shifts.update({name: rng.normal() * 2.0 for name in shifts})
    configs = [part.candidates.configs for part in RUNS]
    residuals = [
        np.array([effect[t][configs[t][r]["model"]] for t, r in zip(part.task, part.run, strict=True)])
        + 0.1 * rng.normal(size=len(part.target))
        for part in points
    ]
    sets = residual_sets(TASKS, points, residuals)
    kernel, loss = fit_kernel(TASKS, sets, np.arange(5) == 0, seed=0)
    untrained = fit_residual._initial(TASKS[0], 0)
    errors = {}
    for name, one in (("trained", kernel), ("untrained", untrained)):
        posterior = ResidualPosterior(one, TASKS[0].encoded.features)
        part = sets[0]
        for run in np.unique(part.run)[:8]:
            mine = part.run == run
            points = type(part)(part.run[mine], part.start[mine], part.end[mine], part.residual[mine])
            posterior.replace({int(run): points})
        rest = (part.run > np.unique(part.run)[7]) & (part.end == 5.0) & (part.start == 0.0)
        mean, _ = posterior.shift(part.run[rest], part.start[rest], part.end[rest])
        errors[name] = np.abs(mean - part.residual[rest]).mean()
    assert errors["trained"] < 0.5 * errors["untrained"]
    assert np.isfinite(loss)
