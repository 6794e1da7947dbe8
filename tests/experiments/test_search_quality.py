"""The scripts behind the figures of search quality, in miniature."""

import math
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from scipy.special import expit

from metatrained import DATASETS, call, few_steps, write_tables
from qtt.artifacts.files import read_artifact
from qtt.artifacts.pretrained import quick_tune
from qtt.benchmarking.regret import grid, regret_at
from qtt.benchmarking.runner import Job
from qtt.hub.model_hub import ModelHub
from qtt.metatraining.runs import read_runs
from qtt.runs.history import History
from qtt.runs.journal import Journal
from qtt.support.files import write_json
from qtt.testing import METAFEATURES, SyntheticSpace
from qtt.types import Prediction, Result, Status

SCRIPTS = Path(__file__).parents[2] / "experiments" / "search_quality"
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_tables(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="module")
def artifact(tables: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        few_steps(patch)
        out = tmp_path_factory.mktemp("artifact") / "all"
        call(*tables, out, "paper_steps=2")
    return out


def make_study(protocol: ModuleType, tables: tuple[Path, Path], out: Path) -> Any:
    table, hub = tables
    artifacts = {"all": (), "unseen": ("exclude_models=[medium]",)}
    return protocol.Study(out, table, str(hub), folds=(("B",), ("E",)), artifacts=artifacts)


def test_the_folds_part_the_datasets_and_the_unseen_models_exist(load: Any) -> None:
    protocol = load("protocol")
    folds = protocol.read_folds()
    assert [len(fold) for fold in folds] == [6, 6, 6]
    assert len({dataset for fold in folds for dataset in fold}) == 18
    hub = ModelHub.load("table4")
    assert len({hub[name].family for name in protocol.UNSEEN}) == len(protocol.UNSEEN) == 6


def test_folds_make_one_comparison_that_is_not_run_twice(
    load: Any, tables: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_steps(monkeypatch)
    folds = load("folds")
    study = make_study(load("protocol"), tables, tmp_path / "out")
    chosen = [entry for entry in folds.CONTESTANTS if entry.name in ("quick", "random")]
    trials = folds.prepare(study, chosen, (0, 1), None, 2, 800.0, QUIET)
    for fold, left_out in enumerate("BE"):
        facts = read_artifact(study.out / f"fold{fold}" / "all").facts
        assert facts.datasets == tuple(name for name in DATASETS if name != left_out)
    assert not (study.out / "fold0" / "unseen").exists(), "nobody asked for it"

    comparison = folds.run(trials, study.out, processes=1)
    assert (comparison.datasets, comparison.seeds) == (("B", "E"), (0, 1))
    policies = trials.policies[0]["quick"], trials.policies[1]["quick"]
    assert policies[0].settings["weights"] != policies[1].settings["weights"]
    monkeypatch.setattr(Job, "run", lambda job: pytest.fail(f"{job.name} was replayed before"))
    again = folds.run(trials, study.out, processes=1)
    assert all(np.array_equal(again.curves[name], comparison.curves[name]) for name in comparison.names)

    folds.write_results(comparison, study.out, tmp_path / "kept")
    whole, kept = (pd.read_csv(f / "regret.csv") for f in (study.out, tmp_path / "kept"))
    assert len(kept) < len(whole)
    times = np.geomspace(1.0, 800.0, 80)
    for name, curve in whole.groupby(["policy", "dataset", "seed"]):
        steps = kept[(kept[["policy", "dataset", "seed"]] == list(name)).all(axis=1)]
        expected = regret_at(times, curve["seconds"].to_numpy(), curve["regret"].to_numpy())
        found = regret_at(times, steps["seconds"].to_numpy(), steps["regret"].to_numpy())
        assert found == pytest.approx(expected, abs=1e-4)

    auc = pd.read_csv(tmp_path / "kept" / "auc.csv").set_index(["policy", "dataset"])["auc"]
    by_hand = [
        regret_at(
            grid(800.0),
            comparison.replays["random", "E", seed].seconds,
            comparison.curves["random", "E", seed],
        )
        for seed in (0, 1)
    ]
    assert auc["random", "E"] == pytest.approx(np.mean(by_hand), abs=1e-5)
    paired = pd.read_csv(tmp_path / "kept" / "paired.csv").set_index("policy")
    first, second = (auc["random", d] - auc["quick", d] for d in "BE")
    assert paired.loc["random", "auc - quick"] == pytest.approx((first + second) / 2, abs=1e-5)
    assert paired.loc["random", "stderr"] == pytest.approx(abs(first - second) / 2, abs=1e-5)
    assert paired.loc["random", "quick is better on"] == int(first > 0) + int(second > 0)


def test_policies_that_count_as_the_same_for_all_seeds_are(
    load: Any, tables: tuple[Path, Path], artifact: Path, tmp_path: Path
) -> None:
    folds = load("folds")
    problem = make_study(load("protocol"), tables, tmp_path).problems(0)[0]
    folders = {"all": artifact, "unseen": artifact}
    for contestant in folds.CONTESTANTS:
        if contestant.seeded:
            continue
        job = Job(contestant.policy(folders), problem, 0, 400.0)
        first, second = job.run(), replace(job, seed=1).run()
        assert len(first.scores) > 5
        assert np.array_equal(first.scores, second.scores), contestant.name


def test_policies_without_artifacts_need_no_folder(
    load: Any, tables: tuple[Path, Path], tmp_path: Path
) -> None:
    folds = load("folds")
    study = make_study(load("protocol"), tables, tmp_path / "out")
    chosen = [entry for entry in folds.CONTESTANTS if entry.name == "random"]
    trials = folds.prepare(study, chosen, (0,), None, 1, 800.0, QUIET)
    assert not study.out.exists()
    assert folds.run(trials, study.out, processes=1).policies == ("random",)


def test_switches_reach_the_optimizer(load: Any, artifact: Path) -> None:
    made = {
        contestant.name: contestant.policy({"all": artifact, "unseen": artifact}).make(0, 50)
        for contestant in load("folds").CONTESTANTS
    }
    assert [name for name, o in made.items() if not getattr(o, "cost_aware", True)] == ["no_cost"]
    assert [name for name, o in made.items() if not getattr(o, "gray_box", True)] == ["no_graybox"]
    assert made["quick_paper"].acquisition == "multi_fidelity"
    assert made["quick_paper"].performance.weights == made["quick_paper"].cost.weights == artifact


def test_agreement_of_scores_that_are_drawn_as_predicted(load: Any) -> None:
    calibration = load("calibration")
    generator = np.random.default_rng(0)
    mean, std = generator.normal(0.0, 1.0, 20_000), generator.uniform(0.2, 0.8, 20_000)
    figures = calibration.agreement(mean, std, expit(mean + std * generator.normal(size=20_000)))
    for level in calibration.LEVELS:
        assert figures[f"coverage {level:.0%}"] == pytest.approx(level, abs=0.015)
    score, step = 0.7, 1e-5
    inside = [
        0.5 * math.erf((math.log(p / (1 - p)) - 0.3) / 0.6 / math.sqrt(2))
        for p in (score - step, score + step)
    ]
    density = (inside[1] - inside[0]) / (2 * step)
    one = calibration.agreement(np.array([0.3]), np.array([0.6]), np.array([score]))
    assert one["nll"] == pytest.approx(-math.log(density), rel=1e-4)


class Oracle:
    """Knows the scores; `sign` -1: the wrong way round."""

    def __init__(self, runs: Any, sign: float) -> None:
        self.runs, self.sign = runs, sign
        self.asked: list[tuple[int, int]] = []

    def setup(self, task: Any) -> None:
        pass

    def condition(self, history: Any) -> None:
        self.history = history

    def predict(self, ids: list[int], ends: list[int]) -> Prediction:
        self.asked = list(zip(ids, ends, strict=True))
        best = [
            np.nanmax(self.runs.scores[i, self.history.fidelity(i) : end])
            for i, end in zip(ids, ends, strict=True)
        ]
        return Prediction(
            self.sign * np.log(np.array(best) / (1 - np.array(best))), np.ones(len(ids)), "logit"
        )


def test_what_is_known_and_asked_of_held_out_datasets(load: Any, tables: tuple[Path, Path]) -> None:
    calibration = load("calibration")
    table, hub = tables
    runs = read_runs(table, ModelHub.load(str(hub)), ["A"])[0]
    right, wrong = Oracle(runs, 1.0), Oracle(runs, -1.0)
    assert calibration.ranking(right, runs, 0)["spearman"] == pytest.approx(1.0)
    assert calibration.ranking(wrong, runs, 0)["spearman"] == pytest.approx(-1.0)
    longer = [i for i in range(len(runs)) if runs.lengths[i] > 5]
    assert len(longer) < len(runs), "some end early"
    assert calibration.ranking(right, runs, 5)["pipelines"] == len(longer)
    assert right.asked == [(i, runs.lengths[i]) for i in longer]
    assert [right.history.fidelity(i) for i in range(len(runs))] == [min(5, n) for n in runs.lengths]
    rows = calibration.calibration(right, runs, 5)
    assert [row["horizon"] for row in rows] == ["next epoch", "to the end"]
    assert all(row["coverage 50%"] == 1.0 for row in rows)


def test_decisions_are_all_timed_and_bare_gpytorch_agrees(load: Any, artifact: Path) -> None:
    decisions, bare = load("decisions"), load("bare_gp")
    optimizer = quick_tune(weights=artifact)
    optimizer.setup(SyntheticSpace().sample(24, 0), METAFEATURES)
    curves = decisions.MadeUpCurves.draw(24, optimizer.max_fidelity, seed=0)
    times = decisions.search(optimizer, curves, optimizer.ask(), 60)
    assert times.shape == (60, 2) and (times[:, 0] > 0).all()
    assert optimizer.history.evaluations == 60
    situation = bare.Situation.of(optimizer)
    begun = {i for i in range(24) if optimizer.history.fidelity(i)}
    assert 0 < len(begun) < 24
    assert set(situation.points.run) == begun
    mean, std = bare.decide(optimizer.performance.kernel, situation)
    ours = optimizer.performance.predict(list(situation.ids), list(situation.end.astype(int)))
    fresh = situation.start == 0
    assert mean[fresh] == pytest.approx(ours.mean[fresh], abs=1e-4)
    assert std[fresh] == pytest.approx(ours.std[fresh], rel=1e-4)
    assert not np.allclose(ours.mean, situation.mean, atol=1e-3), "observations have moved predictions"


def test_what_is_told_at_once_is_a_record_of_the_search_that_is_measured(load: Any) -> None:
    curves = load("decisions").MadeUpCurves.draw(400, 50, seed=0)
    for wide, pipelines in ((False, 100), (True, 300)):
        record = curves.record(300, wide)
        assert len(record) == len({(result.config_id, result.fidelity) for result in record}) == 300
        assert len({result.config_id for result in record}) == pipelines
        epochs = [History(record[:k]).fidelity(result.config_id) for k, result in enumerate(record)]
        assert [result.fidelity for result in record] == [epoch + 1 for epoch in epochs]


def test_a_large_case_is_measured_in_a_process_of_its_own(load: Any, artifact: Path) -> None:
    decisions = load("decisions")
    case = decisions.Case("small", 60, 45, 5, told=40)
    (row,) = decisions.measure(case, str(artifact))
    assert row["observed"] == "40 to 45"
    assert row["memory MB"] >= row["imports MB"] > 0
    assert {"median ms", "99 % ms", "set-up s", "resume s", "resume s CPU"} < set(row)
    assert decisions.as_table([row]).row_count == 1


def test_the_incumbent_over_time(load: Any, tmp_path: Path) -> None:
    searches = load("searches")
    settings = searches.Settings("a", tmp_path, tmp_path, 128, tmp_path)
    search = searches.Search("digits", 100.0, "cold", 3, settings)
    search.folder.mkdir()
    journal = Journal(search.folder / "journal.jsonl")
    journal.append(Result(0, 1, 0.5, 9.0), 10.0)
    journal.append(Result(1, 1, math.nan, 1.0, Status.FAILED, {"reason": "no memory"}), 12.0)
    journal.append(Result(2, 1, 0.4, 9.0), 30.0)
    journal.append(Result(2, 2, 0.75, 9.0), 50.0)
    journal.append(Result(0, 2, 0.9, 9.0), 50.5)
    assert not search.finished
    assert math.isnan(search.figures()["test"])
    write_json(search.folder / "incumbent" / "test.json", {"test accuracy": 0.8})
    assert search.finished
    assert search.figures() == {
        "task": "digits",
        "policy": "cold",
        "seed": 3,
        "seconds": 100.0,
        "val 25%": 0.5,
        "val 50%": 0.75,
        "val 100%": 0.9,
        "test": 0.8,
        "epochs": 4,
        "pipelines": 2,
        "failed": 1,
    }
    found = searches.incumbent_at(search.entries(), np.array([0.0, 9.9, 10.0, 40.0, 50.0, 99.0]))
    assert found.tolist() == [0.0, 0.0, 0.5, 0.5, 0.75, 0.9]
    searches.plot([search], tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 5000


def test_a_search_that_cannot_start_is_an_error_and_one_without_an_epoch_is_none(
    load: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searches = load("searches")
    settings = searches.Settings("a", tmp_path, tmp_path, 128, tmp_path)
    search = searches.Search("dtd", 100.0, "weights", 0, settings)
    command = search.command()
    assert "optimizer.weights='a'" in command and f"dataset.path='{tmp_path / 'dtd'}'" in command
    monkeypatch.setattr(searches.Search, "command", lambda self: ["false"])
    with pytest.raises(searches.subprocess.CalledProcessError):
        search.run()
    write_json(search.folder / "candidates.json", {})
    search.run()
    assert search.figures()["val 100%"] == 0.0
