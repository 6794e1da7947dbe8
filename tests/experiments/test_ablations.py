"""The ablations: what is varied, how subsets are drawn, and what becomes of the regret of searches."""

from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from metatrained import DATASETS, few_steps, write_tables
from qtt.artifacts.files import read_artifact
from qtt.benchmarking.regret import grid, regret_at
from qtt.benchmarking.runner import Job
from qtt.hub.model_hub import ModelHub

SCRIPTS = Path(__file__).parents[2] / "experiments" / "ablations"
QUIET = Console(quiet=True)


@pytest.fixture
def variants(load: Any) -> ModuleType:
    return load("variants")


@pytest.fixture
def replay_variants(load: Any) -> ModuleType:
    return load("replay_variants")


@pytest.fixture
def ablations(load: Any) -> ModuleType:
    return load("ablations")


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_tables(tmp_path_factory.mktemp("tables"))


def make_study(variants: ModuleType, tables: tuple[Path, Path], out: Path) -> Any:
    return variants.Study(out, tables[0], str(tables[1]), folds=(("B",), ("A", "C", "D", "E")))


def test_every_variant_changes_what_its_name_says(variants: ModuleType) -> None:
    settings = {v.name: v.policy(None if not v.training else Path("a")).settings for v in variants.VARIANTS}
    assert len(settings) == len(variants.VARIANTS)
    for name, given in settings.items():
        assert given["cost_aware"] == (name != "none" and "no_cost" not in name), name
        assert given["gray_box"] == (name != "none" and "no_graybox" not in name), name
        assert (given["weights"] is None) == (name == "none" or "no_meta" in name), name
        step = int(name.removeprefix("step_")) if name.startswith("step_") else 1
        assert given["epochs_per_step"] == step
    trained = {v.name: v.training for v in variants.VARIANTS if v.name.startswith("trained")}
    assert trained == {f"trained_on_{count}": count for count in (4, 6, 9, 12)}


def test_switches_reach_a_cold_optimizer(variants: ModuleType) -> None:
    for variant in variants.CORNERS[1:]:
        made = variant.policy(None).make(3, 50)
        optimizer = getattr(made, "optimizer", made)
        assert optimizer.cost_aware == ("no_cost" not in variant.name and variant.name != "none")
        assert optimizer.gray_box == (made is optimizer)
        assert type(optimizer.performance).__name__ == "DeepKernelGP"
        assert optimizer.seed == 3


def test_training_datasets_are_nested_and_never_of_the_fold(variants: ModuleType) -> None:
    folds = variants.Study(Path("out")).folds
    for fold in range(3):
        sets = [set(variants.training_datasets(folds, fold, count)) for count in (4, 6, 9, 12)]
        assert [len(names) for names in sets] == [4, 6, 9, 12]
        assert sets[0] < sets[1] < sets[2] < sets[3]
        assert not sets[3] & set(folds[fold])
    with pytest.raises(ValueError, match="has 12 datasets to train on, not 13"):
        variants.training_datasets(folds, 0, 13)


def test_hubs_are_nested_and_differ_between_draws(variants: ModuleType) -> None:
    names = ModelHub.load("table4").names
    for draw in range(3):
        sets = [set(variants.hub_models(names, size, draw)) for size in (3, 6, 12, 24)]
        assert [len(models) for models in sets] == [3, 6, 12, 24]
        assert sets[0] < sets[1] < sets[2] < sets[3] == set(names)
    assert len({variants.hub_models(names, 3, draw) for draw in range(3)}) == 3
    with pytest.raises(ValueError, match="has 24 models, not 25"):
        variants.hub_models(names, 25, 0)


def test_a_smaller_hub_has_the_runs_of_its_models_and_the_regret_of_all(
    replay_variants: ModuleType, variants: ModuleType, tables: tuple[Path, Path], tmp_path: Path
) -> None:
    study = make_study(variants, tables, tmp_path)
    (problem,) = study.problems(0)
    models = [str(config["model"]) for config in problem.curves.configs]
    kept = models[:1]
    smaller = variants.restricted(problem, kept)
    assert {config["model"] for config in smaller.curves.configs} == set(kept)
    assert len(smaller.curves) == models.count(kept[0]) < len(models)
    assert [card.name for card in smaller.candidates.models] == kept
    row = [i for i, model in enumerate(models) if model in kept]
    assert np.array_equal(smaller.curves.scores, problem.curves.scores[row], equal_nan=True)
    with pytest.raises(ValueError, match="B has no run of nobody"):
        variants.restricted(problem, ["nobody"])

    policy = variants.Contestant("random", "optimizer=random").policy({})
    search = replay_variants.Search("hub", 2, problem, Job(policy, smaller, 0, 800.0))
    replay = search.job.run()
    rows = search.rows(replay)
    best, worst = np.nanmax(problem.curves.scores), np.nanmin(problem.curves.scores)
    assert rows["regret"].iloc[-1] == pytest.approx((best - replay.scores.max()) / (best - worst))
    assert set(rows["draw"]) == {2} and set(rows["variant"]) == {"hub"}


def test_deciding_once_a_pipeline_decides_the_same(
    variants: ModuleType, tables: tuple[Path, Path], tmp_path: Path
) -> None:
    (problem,) = make_study(variants, tables, tmp_path).problems(0)
    variant = next(v for v in variants.CORNERS if v.name == "no_meta_no_graybox")
    quick = variant.policy(None)
    assert quick.target == "variants.to_the_end"
    epochwise = replace(quick, target="qtt.artifacts.pretrained.quick_tune")
    fast, slow = (Job(policy, problem, 1, 300.0).run() for policy in (quick, epochwise))
    assert np.array_equal(fast.seconds, slow.seconds)
    assert np.array_equal(fast.scores, slow.scores)
    assert 1 < len(fast.decisions) < len(slow.decisions)


def test_one_command_trains_replays_and_goes_on(
    replay_variants: ModuleType,
    variants: ModuleType,
    tables: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few_steps(monkeypatch)
    study = make_study(variants, tables, tmp_path / "out")
    variant = replace(variants.VARIANTS[-1], training=4)
    arguments = Namespace(datasets=["B"], seeds=1, seconds=300.0)
    ((search, replay),) = replay_variants.replays(variant, study, arguments, QUIET)
    facts = read_artifact(study.out / "fold0" / "trained_on_4").facts
    assert facts.datasets == tuple(name for name in DATASETS if name != "B")

    monkeypatch.setattr(Job, "run", lambda job: pytest.fail(f"{job.name} was replayed before"))
    ((_, again),) = replay_variants.replays(variant, study, arguments, QUIET)
    assert np.array_equal(again.scores, replay.scores)

    rows = search.rows(replay)
    other = rows.assign(dataset="Z")
    replay_variants.enter([rows.assign(regret=0.5)], tmp_path / "results", study.out)
    replay_variants.enter([other], tmp_path / "results", study.out)
    replay_variants.enter([rows], tmp_path / "results", study.out)
    kept = pd.read_csv(tmp_path / "results" / "regret.csv")
    assert len(kept) == 2 * len(rows)
    first = kept[kept["dataset"] == "B"]["regret"].to_numpy()
    assert first == pytest.approx(rows["regret"].to_numpy(), abs=1e-5)


def write(path: Path, first: str, levels: dict[str, float], draws: int = 2) -> Path:
    """Searches whose regret falls at the first second to a level, a little higher from dataset to dataset."""
    rows = [
        (name, f"D{dataset}", draw, 1.0, level + 0.01 * dataset)
        for name, level in levels.items()
        for dataset in range(6)
        for draw in range(draws)
    ]
    columns = [first, "dataset", "draw" if first == "variant" else "seed", "seconds", "regret"]
    pd.DataFrame(rows, columns=columns).to_csv(path, index=False)
    return path


SHARED = {"quick": 0.1, "no_meta": 0.2, "no_cost": 0.3, "no_graybox": 0.15, "unseen": 0.12}
OURS = {"no_meta_no_cost": 0.6, "no_meta_no_graybox": 0.5, "no_cost_no_graybox": 0.4, "none": 0.8}


def test_eight_corners_and_what_each_switch_is_worth(ablations: ModuleType, tmp_path: Path) -> None:
    assert len(set(ablations.CORNERS)) == 8
    searches = ablations.Searches.read(
        write(tmp_path / "ours.csv", "variant", OURS), write(tmp_path / "shared.csv", "policy", SHARED)
    )
    found = ablations.effects(searches).set_index(["switch", "kind"])["gain"]
    assert found["meta", "alone"] == pytest.approx(0.8 - 0.4)
    assert found["cost", "alone"] == pytest.approx(0.8 - 0.5)
    assert found["graybox", "alone"] == pytest.approx(0.8 - 0.6)
    assert found["cost", "as the last"] == pytest.approx(0.3 - 0.1)
    four = [0.2 - 0.1, 0.6 - 0.3, 0.5 - 0.15, 0.8 - 0.4]
    assert found["meta", "mean of four pairs"] == pytest.approx(np.mean(four))
    rows = ablations.table(searches, ablations.CORNERS).set_index("variant")
    assert rows.loc["none", "auc"] == pytest.approx(0.825)
    assert rows.loc["none", "difference"] == pytest.approx(0.7)
    assert rows.loc["none", "quick is better on"] == 6
    assert rows.loc["none", "draws"] == 1, "both draws are the same search"
    text = ablations.cube_table(ablations.table(searches, ablations.CORNERS))
    assert "| yes | yes | yes | quick | 6 × 1 | .125 |" in text
    assert text.splitlines()[-1].startswith("|  |  |  | none (a plain Gaussian process) |")


def test_what_was_not_run_is_said_and_has_no_figures(ablations: ModuleType, tmp_path: Path) -> None:
    ours = {name: level for name, level in OURS.items() if name != "none"}
    searches = ablations.Searches.read(
        write(tmp_path / "ours.csv", "variant", {**ours, "step_5": 0.2, "trained_on_12": 0.12}),
        write(tmp_path / "shared.csv", "policy", SHARED),
    )
    assert ablations.effects(searches).empty
    names = [*ablations.CORNERS, "trained_on_12", "step_5", "step_2", "unseen"]
    found = ablations.table(searches, names)
    assert not {"none", "step_2"} & set(found["variant"])
    assert "| none | not run |" in ablations.cube_table(found)
    lines = ablations.series_table(found).splitlines()
    assert any("step_2 | not run |" in line for line in lines)
    assert any("step_5 | 6 × 1 | .225 |" in line and ".080 (.080 to .080), 6 of 6" in line for line in lines)
    assert ".020 (.020 to .020), 6 of 6" in lines[-1], "artifacts fitted anew, against those of quick"


def test_differences_are_on_the_datasets_that_were_searched(ablations: ModuleType, tmp_path: Path) -> None:
    ours = write(tmp_path / "ours.csv", "variant", {"step_2": 0.3, "trained_on_12": 0.12})
    rows = pd.read_csv(ours)
    rows[(rows["dataset"] != "D5") | (rows["variant"] != "step_2")].to_csv(ours, index=False)
    shared = write(tmp_path / "shared.csv", "policy", SHARED)
    searches = ablations.Searches.read(ours, shared)
    assert searches.apart("step_2") == pytest.approx(np.full(5, 0.3 - 0.12))
    write(ours, "variant", {"quick": 0.3})
    with pytest.raises(ValueError, match="Both tables have searches of quick"):
        ablations.Searches.read(ours, shared)


def test_the_page_shows_what_the_results_say(ablations: ModuleType) -> None:
    page = ablations.page()
    assert page.out_of_date() == [], "run experiments/pages.py ablations"
    rows = pd.read_csv(SCRIPTS / "results" / "regret.csv")
    one = rows[(rows["variant"] == "none") & (rows["dataset"] == "ACT_40") & (rows["draw"] == 0)]
    by_hand = regret_at(grid(), one["seconds"].to_numpy(), one["regret"].to_numpy()).mean()
    searches = ablations.Searches.read()
    assert searches.auc("none", ["ACT_40"]) == pytest.approx([by_hand])
    for path, draw in page.figures.items():
        assert path.with_suffix(".png").exists() and path.with_suffix(".svg").exists()
        assert draw().axes
