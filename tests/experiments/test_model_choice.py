"""Joint search against two stages: transferability measures, the runner, and what the page says."""

import json
import math
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from images import write_image_folder
from qtt.hub.model_hub import ModelHub, load_hub

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
SCRIPTS = EXPERIMENTS / "model_choice"
BORROWED = EXPERIMENTS / "images"
Load = Callable[[str], ModuleType]


@pytest.fixture
def scripts(load: Load) -> Iterator[Load]:
    """Import modules of the experiment, and forget what they have imported from the images' folder."""
    before = set(sys.modules)
    yield load
    for name in {path.stem for path in (*BORROWED.glob("*.py"), EXPERIMENTS / "pages.py")}:
        if name not in before:
            sys.modules.pop(name, None)


@pytest.fixture
def measures(scripts: Load) -> ModuleType:
    return scripts("transferability")


def problem(n: int, d: int, classes: int = 3, seed: int = 0) -> tuple[Any, Any]:
    """Features (n, d) that know something of labels (n,), and much else."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    return rng.normal(size=(n, d)) + np.eye(classes, d)[labels], labels


def dense_evidence(features: Any, y: Any, alpha: float, beta: float) -> float:
    """Log density of y ~ N(0, FFᵀ/α + I/β), without any of LogME's algebra."""
    covariance = features @ features.T / alpha + np.eye(len(y)) / beta
    return float(multivariate_normal(np.zeros(len(y)), covariance).logpdf(y))


@pytest.mark.parametrize(("n", "d"), [(30, 4), (12, 12), (9, 20)])
def test_evidence_is_that_of_the_marginal_normal(measures: ModuleType, n: int, d: int) -> None:
    features, labels = problem(n, d)
    left, singular, _ = np.linalg.svd(features, full_matrices=False)
    spectrum = measures._spectrum(left, singular, labels == 1)
    for alpha, beta in ((1.0, 1.0), (0.1, 7.0), (50.0, 0.5)):
        expected = dense_evidence(features, 1.0 * (labels == 1), alpha, beta)
        assert spectrum.log_evidence(alpha, beta) == pytest.approx(expected)


@pytest.mark.parametrize(("n", "d"), [(30, 4), (12, 12), (9, 20)])
def test_logme_is_the_maximum_over_all_precisions(measures: ModuleType, n: int, d: int) -> None:
    features, labels = problem(n, d)

    def highest(y: Any) -> float:
        starts = [(a, b) for a in (-2.0, 1.0, 4.0) for b in (-1.0, 2.0)]
        loss = lambda x: -dense_evidence(features, y, *np.exp(x))  # noqa: E731
        return max(-minimize(loss, s, method="Nelder-Mead", options={"xatol": 1e-6}).fun for s in starts)

    expected = np.mean([highest(1.0 * (labels == k)) for k in range(3)]) / n
    assert measures.logme(features, labels) == pytest.approx(expected, abs=1e-5)


def test_logme_knows_no_basis_scale_order_or_names(measures: ModuleType) -> None:
    features, labels = problem(40, 6)
    rng = np.random.default_rng(1)
    turned = features @ np.linalg.qr(rng.normal(size=(6, 6)))[0]
    order = rng.permutation(40)
    expected = measures.logme(features, labels)
    same = (
        (turned, labels),
        (100 * features, labels),
        (features[order], labels[order]),
        (features, np.array([7, 2, 5])[labels]),
        (np.hstack([features, np.zeros((40, 3))]), labels),
        (features.astype(np.float32), labels),
    )
    for other in same:
        assert measures.logme(*other) == pytest.approx(expected, abs=1e-6)


def test_logme_prefers_features_that_know_the_labels(measures: ModuleType) -> None:
    features, labels = problem(60, 5)
    noise = np.random.default_rng(2).normal(size=(60, 5))
    perfect = np.eye(3)[labels]
    scores = [measures.logme(f, labels) for f in (noise, features, np.hstack([perfect, noise]))]
    assert scores == sorted(scores)
    assert math.isfinite(measures.logme(perfect, labels))
    for wrong in (np.zeros((60, 5)), np.full((60, 5), np.nan)):
        with pytest.raises(ValueError, match="finite features"):
            measures.logme(wrong, labels)


def test_leep_by_hand(measures: ModuleType) -> None:
    """P(0, ·) = (.9 + .6, .1 + .4) / 4 and P(1, ·) = (.2 + .3, .8 + .7) / 4, P(·) = (2, 2) / 4."""
    theta = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]])
    by_image = [
        0.75 * 0.9 + 0.25 * 0.1,
        0.75 * 0.6 + 0.25 * 0.4,
        0.25 * 0.2 + 0.75 * 0.8,
        0.25 * 0.3 + 0.75 * 0.7,
    ]
    assert measures.leep(theta, np.array([0, 0, 1, 1])) == pytest.approx(np.log(by_image).mean())


def test_leep_of_sources_that_know_all_or_nothing(measures: ModuleType) -> None:
    labels = np.array([0, 0, 0, 1, 2, 2])
    certain = np.eye(4)[[3, 3, 3, 0, 1, 1]]
    assert measures.leep(certain, labels) == pytest.approx(0.0)
    shares = np.array([3, 1, 2]) / 6
    blind = np.tile([0.2, 0.5, 0.3, 0.0], (6, 1))
    assert measures.leep(blind, labels) == pytest.approx((shares * np.log(shares)).sum())


def test_leep_knows_no_order_or_names(measures: ModuleType) -> None:
    rng = np.random.default_rng(0)
    theta, labels = rng.dirichlet(np.ones(5), size=30), rng.integers(3, size=30)
    expected, order = measures.leep(theta, labels), rng.permutation(30)
    assert measures.leep(theta[:, ::-1], labels) == pytest.approx(expected)
    assert measures.leep(theta[order], labels[order]) == pytest.approx(expected)
    assert measures.leep(theta, 10 - labels) == pytest.approx(expected)
    assert expected < 0
    with pytest.raises(ValueError, match="rows that sum to 1"):
        measures.leep(2 * theta, labels)


def make_weights(folder: Path) -> ModelHub:
    """Two networks of random weights; `blank` has a classifier of zeros."""
    folder.mkdir()
    for name, top1 in (("full", 70.0), ("blank", 60.0)):
        torch.manual_seed(0)
        network = timm.create_model("test_efficientnet", num_classes=7)
        if name == "blank":
            torch.nn.init.zeros_(network.get_classifier().weight)
        save_file(network.state_dict(), folder / f"test_efficientnet.{name}.safetensors")
        facts = {"timm_name": "test_efficientnet", "num_classes": 7, "input_size": [3, 32, 32], "top1": top1}
        (folder / f"test_efficientnet.{name}.json").write_text(json.dumps(facts))
    return load_hub("folder", weights_dir=folder)


def test_networks_are_scored_and_chosen(scripts: Load, tmp_path: Path) -> None:
    scores = scripts("choice_scores")
    hub, table = make_weights(tmp_path / "hub"), tmp_path / "scores.csv"
    images = write_image_folder(tmp_path / "images" / "small")
    scores.score_missing(tmp_path, hub, ["small"], table)
    text = table.read_text()
    rows = {row.model: row for row in scores.read_scores(table)}
    full, blank = rows["test_efficientnet.full"], rows["test_efficientnet.blank"]
    assert full.leep is not None and full.leep < 0 and blank.leep is None, "zeros are no source classifier"
    assert blank.logme == pytest.approx(full.logme), "features are the same"
    assert full.imagenet == 70.0 and all(0 <= row.probe_test <= 1 < row.seconds + 1 for row in rows.values())
    scores.score_missing(tmp_path, hub, ["small"], table)
    assert table.read_text() == text, "nothing is scored twice"
    assert scores.choose("imagenet", hub, tmp_path / "nowhere") == "test_efficientnet.full"
    assert scores.choose("leep", hub, images) == "test_efficientnet.full"
    assert scores.choose("logme", hub, images) in rows


def test_features_and_probabilities_are_those_of_the_network(scripts: Load, tmp_path: Path) -> None:
    scores = scripts("choice_scores")
    hub = make_weights(tmp_path / "hub")
    frozen = scores.Frozen.of(hub["test_efficientnet.full"], hub)
    pixels = torch.randint(
        0, 256, (5, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    features, probabilities = frozen.answers(pixels)
    with torch.inference_mode():
        classified = frozen.network.get_classifier()(torch.from_numpy(features)).softmax(1)
    assert np.allclose(classified.numpy(), probabilities, atol=1e-6)


def test_the_first_stage_takes_its_seconds_from_the_budget(
    scripts: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two_stage, points = scripts("two_stage"), scripts("points")
    hub, images = make_weights(tmp_path / "hub"), write_image_folder(tmp_path / "images" / "small")
    asked: list[tuple[float, list[str]]] = []

    def search(job: Any, source: Path, overrides: list[str]) -> Iterator[Any]:
        asked.append((job.seconds, overrides))
        yield points.Point(5.0, 0.5, 0.5, "w")

    monkeypatch.setattr(two_stage, "search", search)
    clock = iter([100.0, 100.0, 200.0, 230.0, 300.0, 359.5])
    monkeypatch.setattr(two_stage.time, "monotonic", lambda: next(clock))
    job = points.Job(images, hub.weights_dir, 60.0, 0, tmp_path, points.Clock(0.0))
    found = [[p.seconds for p in two_stage.method(job, tmp_path, by)] for by in ("joint", "imagenet", "leep")]
    assert found == [[5.0], [35.0], []], "with half a second left no search begins"
    assert asked == [(60.0, []), (30.0, ["model_hub.models=['test_efficientnet.full']"])]


FAKE = """
import json, sys
words = dict(zip(sys.argv[1::2], sys.argv[2::2]))
test = {"joint": 0.75, "logme": 0.5}[words["--by"]]
point = {"seconds": 9.0, "val": test, "test": test, "what": "net " + words["--source"]}
with open(words["--work"] + "/points.jsonl", "w") as file:
    file.write(json.dumps(point) + "\\n")
print("all is said")
sys.exit(3 if words["--images"].endswith("bad") else 0)
"""


def test_runs_in_the_results_are_not_repeated(scripts: Load, tmp_path: Path) -> None:
    runs, methods, results = scripts("choice_runs"), scripts("methods"), scripts("results")
    for name in ("good", "bad"):
        write_image_folder(tmp_path / "images" / name)
    fake = tmp_path / "fake.py"
    fake.write_text(FAKE)
    places = methods.Places(tmp_path / "hub", tmp_path, Path("checkout"))
    table = tmp_path / "results" / "runs.csv"
    bench = runs.Choices(tmp_path / "images", tmp_path / "out", places, table, fake)
    axes = {"set": ["good", "bad"], "method": ["joint", "logme"], "budget": ["60"], "seed": ["0", "1"]}
    keys = list(runs.grid(axes))
    assert [str(key) for key in keys[:3]] == ["good-joint-60s-0", "good-logme-60s-0", "bad-joint-60s-0"]
    scripts("run").run_missing(bench, keys[:3], retry=False)
    first = table.read_text()
    scripts("run").run_missing(bench, keys[:3], retry=False)
    assert table.read_text() == first
    good, _, bad = results.read_runs(table)
    assert [(p.test, p.what) for p in good.points] == [(0.75, "net checkout")]
    assert bad.note == "status 3: all is said"


def test_the_command_line_names_methods_and_axes(scripts: Load) -> None:
    axis = scripts("choice_runs")._axis
    assert axis("method=joint,leep") == ("method", ["joint", "leep"])
    for wrong in ("method=qtt", "seed=a", "network=x", "set="):
        with pytest.raises(
            ArgumentTypeError, match=r"method \(joint, imagenet, logme, leep\), budget or seed"
        ):
            axis(wrong)


def test_tables_of_partial_results(scripts: Load) -> None:
    page, results, points = scripts("model_choice"), scripts("results"), scripts("points")
    assert page.searches_table([]) == "*Not run.*" == page.ranks_table({}, {}) == page.choices_table({}, {})

    def run(name: str, method: str, seed: int, test: float, seconds: float = 9.0, note: str = "") -> Any:
        key = results.Key(name, method, 60.0, seed)
        return results.Run(key, 4, 1.0, note, (points.Point(seconds, 0.5, test, "w"),))

    rows = [run("a", "joint", 0, 0.8), run("a", "joint", 1, 0.9), run("b", "joint", 0, 0.5)]
    rows += [run("a", "logme", 0, 0.7), run("b", "logme", 0, 0.9, 61.0), run("b", "leep", 0, 0.1, note="why")]
    text = page.searches_table(rows)
    assert "| 60 | joint: none | 3 | 0 | .850 ± .050 | .500 | .733 ± .120 |  |" in text
    assert "| 60 | highest LogME | 2 | 1 | .700 | .250 | .475 ± .225 | +.175 ± .075 |" in text, (
        "a guess is 1/4"
    )
    assert "| 60 | highest LEEP | 0 | 0 | not run | not run | not run | not run |" in text
    assert "- b-leep-60s-0 failed: why" in text


def test_a_set_that_is_being_scored_is_left_out(scripts: Load, tmp_path: Path) -> None:
    page, table = scripts("model_choice"), tmp_path / "scores.csv"
    assert page.scores_by_set(table) == {}
    table.write_text("set,model,imagenet,leep\na,v,70.0,-1\na,w,,-2\nb,v,70.0,-1\n")
    assert page.scores_by_set(table) == {"a": {"v": {"imagenet": 70.0, "leep": -1.0}, "w": {"leep": -2.0}}}


def test_scores_are_held_against_what_was_found(scripts: Load) -> None:
    page = scripts("model_choice")
    networks = {
        name: {"probe_test": 0.1 * i, "probe_val": 0.1 * i, "seconds": 2.0} for i, name in enumerate("vwxyz")
    }
    for i, row in enumerate(networks.values()):
        row |= {"imagenet": 70.0 - i, "logme": 0.1 * i} | ({"leep": -1.0 + i} if i else {})
    sets = {"s": networks}
    tests = page.probes(sets)
    assert page.correlations("logme", sets, tests, common=False) == [pytest.approx(1.0)]
    assert page.correlations("imagenet", sets, tests, common=False) == [pytest.approx(-1.0)]
    assert page.correlations("leep", sets, {"s": {"w": 0.1, "x": 0.2, "y": 0.3}}, common=True) == [], (
        "too few"
    )
    table = page.ranks_table(sets, {}).splitlines()
    assert table[2] == "| ImageNet top-1 | 5 | -1.000 | -1.000 | not run | .400 |"
    assert table[4] == "| LEEP | 4 | 1.000 | 1.000 | not run | .000 |"
    assert "| s | v .000 | z .400 | z .400 | z .400 | z .400 | w .500 | 10 |" in page.choices_table(
        sets, {"s": {"v": 0.4, "w": 0.5}}
    )


def test_figures_of_partial_results(scripts: Load) -> None:
    page, results, points = scripts("model_choice"), scripts("results"), scripts("points")
    key = results.Key("a", "joint", 60.0, 0)
    run = results.Run(key, 4, 1.0, "", (points.Point(9.0, 0.5, 0.5, "w"),))
    for figure in (page.draw_searches(page.searches_of([run])), page.draw_ranks({"s": {}})):
        figure.canvas.draw()


def test_the_page_is_that_of_the_results(scripts: Load) -> None:
    page = scripts("model_choice").page()
    assert page.out_of_date() == [], "make tables"
    for path in page.figures:
        assert path.with_suffix(".png").exists() and path.with_suffix(".svg").exists()
