"""The benchmark on real images: its parts on small data, and the whole with methods that only pretend."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from images import write_image_folder
from qtt.hub.model_hub import ModelHub, load_hub
from qtt.hub.weights import create_model

SCRIPTS = Path(__file__).parents[2] / "experiments" / "images"
Load = Callable[[str], ModuleType]

FAKE = """
import json, sys, time
words = dict(zip(sys.argv[1::2], sys.argv[2::2]))
with open(words["--work"] + "/points.jsonl", "w") as file:
    for n, test in enumerate((0.25, 0.75)):
        file.write(json.dumps({"seconds": n + 1.0, "val": test, "test": test, "what": "w"}) + "\\n")
print("all is said")
sys.exit(3 if words["--images"].endswith("bad") else 0)
"""


SEARCH = """
import json, os, sys, time
words = dict(word.split("=", 1) for word in sys.argv[1:])
folder = words["run_dir"].strip("'") + "/incumbent"
os.makedirs(folder)
for name in ("task.json", "candidates.json"):
    open(f"{folder}/../{name}", "w").write("{}")
for score in (0.25, 0.5) if words["optimizer"] == "good" else ():
    facts = {"score": score, "config": {"model": "net"}, "config_id": 4, "fidelity": 2}
    for name, text in (("weights.safetensors", str(score / 2)), ("model.json", json.dumps(facts))):
        open(f"{folder}/next", "w").write(text)
        os.replace(f"{folder}/next", f"{folder}/{name}")
    time.sleep(2.5)
sys.exit(words["optimizer"] != "good")
"""

EVALUATE = """
def evaluate_incumbent(folder):
    return {"test accuracy": float(open(folder + "/incumbent/weights.safetensors").read())}
"""
"""A `qtt` of another checkout, whose search and test only pretend."""


def write_weights(folder: Path) -> Path:
    """A network whose preprocessing and padding are its own, as its sidecar says."""
    folder.mkdir()
    torch.manual_seed(0)
    network = timm.create_model("test_efficientnet", num_classes=7, pad_type="same")
    save_file(network.state_dict(), folder / "test_efficientnet.odd.safetensors")
    facts = {
        "timm_name": "test_efficientnet",
        "num_classes": 7,
        "input_size": [3, 48, 48],
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
        "interpolation": "bilinear",
        "create_kwargs": {"pad_type": "same"},
    }
    (folder / "test_efficientnet.odd.json").write_text(json.dumps(facts))
    return folder


def assert_same(made: ModelHub, own: ModelHub, side: int) -> None:
    """The hub has the networks of another one, facts and functions."""
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    for card in own:
        mine = made[card.name]
        assert mine.params == pytest.approx(card.params)
        assert mine.macs == pytest.approx(card.macs)
        same = replace(mine, weights=card.weights, params=card.params, macs=card.macs, gated=card.gated)
        assert same == card
        networks = [create_model(c, None, weights_dir=h.weights_dir) for c, h in ((card, own), (mine, made))]
        with torch.inference_mode():
            theirs, ours = (network.eval()(x) for network in networks)
        assert torch.equal(theirs, ours)


def test_the_joint_hub_has_the_networks_of_both_hubs(load: Load, tmp_path: Path) -> None:
    weights = write_weights(tmp_path / "weights")
    hub = load("hub")
    made = hub.make_hub(weights, tmp_path / "hub")
    own = load_hub("folder", weights_dir=weights)
    assert len(made) == 4
    assert dict(made["test_efficientnet.odd"].create_kwargs) == {"pad_type": "same"}
    assert made["test_efficientnet.odd"].mean == (0.1, 0.2, 0.3)
    assert_same(made, own, 48)
    assert_same(made, load_hub("lite"), 64)
    before = {path: path.lstat() for path in (tmp_path / "hub").iterdir()}
    assert hub.make_hub(weights, tmp_path / "hub") == made
    assert {path: path.lstat() for path in (tmp_path / "hub").iterdir()} == before, "someone may read them"


@pytest.mark.shared
def test_the_joint_hub_has_the_shared_networks(load: Load, shared_data: Path, tmp_path: Path) -> None:
    made = load("hub").make_hub(shared_data / "weights", tmp_path / "hub")
    assert len(made) == 10
    assert_same(made, load_hub("folder", weights_dir=shared_data / "weights"), 128)


def make_bench(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A bench of two small sets and the methods `fake`, which is timed, and `once`, which is not."""
    methods = load("methods")
    script = tmp_path / "fake.py"
    script.write_text(FAKE)
    call = methods.Call(Path(sys.executable), script, None)
    made = {"fake": methods.Named(lambda places: call), "once": methods.Named(lambda places: call, True)}
    made["old"] = methods.METHODS["old"]
    for name in ("methods", "run"):
        monkeypatch.setattr(load(name), "METHODS", made)
    for name in ("good", "bad"):
        write_image_folder(tmp_path / "images" / name)
    return load("run").Bench(tmp_path / "images", tmp_path / "out", methods.Places(tmp_path, tmp_path))


def test_runs_in_the_results_are_not_repeated(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, run, results = make_bench(load, tmp_path, monkeypatch), load("run"), load("results")
    axes = {"set": ["good"], "method": ["fake", "once"], "budget": ["2", "9"], "seed": ["0", "1"]}
    keys = list(run.grid(axes))
    assert [str(key) for key in keys] == [
        *("good-fake-2s-0", "good-once-0", "good-fake-2s-1", "good-fake-9s-0", "good-fake-9s-1")
    ]
    run.run_missing(bench, keys[:2], retry=False)
    first = bench.results.read_text()
    run.run_missing(bench, keys, retry=False)
    assert bench.results.read_text().startswith(first)
    found = results.read_runs(bench.results)
    assert [one.key for one in found] == keys
    assert all(one.classes == 3 and [p.test for p in one.points] == [0.25, 0.75] for one in found)
    assert not any((tmp_path / "out" / "work").iterdir())


def test_a_failure_is_a_row_with_its_reason(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, run, results = make_bench(load, tmp_path, monkeypatch), load("run"), load("results")
    keys = [results.Key("bad", "fake", 1.0, 0), results.Key("good", "old", 1.0, 0)]
    run.run_missing(bench, keys, retry=False)
    notes = [one.note for one in results.read_runs(bench.results)]
    assert notes[0] == "status 3: all is said"
    assert notes[1].startswith("not run: The method 'old' needs --old-source")
    rows = bench.results.read_text().count("\n")
    run.run_missing(bench, keys, retry=False)
    assert bench.results.read_text().count("\n") == rows
    run.run_missing(bench, keys, retry=True)
    assert bench.results.read_text().count("\n") == rows + 2
    assert len(results.read_runs(bench.results)) == 2, "the last of a key counts"
    assert "bad-fake-1s-0: status 3" in load("summary").text(results.read_runs(bench.results))


def test_what_another_process_runs_is_left_to_it(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, run, results = make_bench(load, tmp_path, monkeypatch), load("run"), load("results")
    key = results.Key("good", "fake", 1.0, 0)
    claim = tmp_path / "out" / "claims" / f"{key}.lock"
    claim.parent.mkdir(parents=True)
    code = (
        f"import filelock, sys\nwith filelock.FileLock({str(claim)!r}): print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        run.run_missing(bench, [key], retry=False)
        assert not bench.results.exists()
        other.communicate()
    run.run_missing(bench, [key], retry=False)
    assert [one.key for one in results.read_runs(bench.results)] == [key]


def test_an_interrupt_ends_children_and_their_children(tmp_path: Path) -> None:
    child = f"echo $$ > {tmp_path}/child; sleep 600"
    code = (
        f"import os, run; run.watched(['sh', '-c', '(' + {child!r} + ') & wait'], dict(os.environ), 1, 600)"
    )
    caller = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    pid = tmp_path / "child"
    while not (pid.exists() and pid.read_text().strip()):
        time.sleep(0.05)
    group = os.getpgid(int(pid.read_text()))
    caller.send_signal(signal.SIGINT)
    _, said = caller.communicate(timeout=60)
    assert b"KeyboardInterrupt" in said
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)


def test_values_of_the_command_line_replace_an_axis(load: Load) -> None:
    run = load("run")
    only = [run._axis("set=flowers5"), run._axis("budget=30,90")]
    axes = run.axes_of(Namespace(long=False, old_source=None, only=only))
    assert (axes["set"], axes["budget"]) == (["flowers5"], ["30", "90"])
    assert "old" not in axes["method"]
    assert "old" in run.axes_of(Namespace(long=False, old_source=Path("x"), only=[]))["method"]
    assert run.axes_of(Namespace(long=True, old_source=None, only=[]))["method"] == [
        *("probe", "qtt", "autogluon")
    ]
    for wrong in ("colour=red", "method=magic", "seed", "budget=long"):
        with pytest.raises(Exception, match="AXIS=VALUE"):
            run._axis(wrong)


def test_a_set_that_is_not_there_is_told_at_once(load: Load, tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(SCRIPTS / "run.py"),
        "--shared",
        str(tmp_path),
        "--out",
        str(tmp_path / "out"),
    ]
    done = subprocess.run([*command, "--only", "set=moon", "--dry-run"], capture_output=True, text=True)
    assert done.returncode == 2
    assert f"{tmp_path / 'images'} has no moon" in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_clock_stands_while_it_is_told_to(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter((110.0, 110.0, 150.0, 151.0))
    clock = load("points").Clock(100.0)
    monkeypatch.setattr(load("points").time, "time", lambda: next(moments))
    assert clock.seconds == 10.0
    with clock.standing():
        pass
    assert clock.seconds == 11.0


def test_points_are_written_as_they_come_and_cut_lines_are_none(load: Load, tmp_path: Path) -> None:
    points = load("points")
    job = points.Job(tmp_path, tmp_path, 1.0, 0, tmp_path, points.Clock(0.0))
    first = points.Point(1.0, 0.5, 0.4, "a")

    def breaks(job: Any) -> Any:
        yield first
        assert points.read_points(tmp_path) == [first]
        raise RuntimeError("over")

    with pytest.raises(RuntimeError):
        points.answer(breaks, job)
    with (tmp_path / points.POINTS).open("a") as file:
        file.write('{"seconds": 2')
    assert points.read_points(tmp_path) == [first]
    assert points.last_within([first], 0.9) is None
    assert points.last_within([first, replace(first, seconds=3.0)], 2.0) == first


def publish(run_dir: Path, score: float, at: float) -> None:
    """Replace the incumbent as a search does."""
    folder = run_dir / "incumbent"
    folder.mkdir(parents=True, exist_ok=True)
    (run_dir / "task.json").write_text("{}")
    for name, text in (("weights.safetensors", str(score)), ("model.json", json.dumps({"score": score}))):
        (folder / "next").write_text(text)
        os.utime(folder / "next", (at, at))
        (folder / "next").replace(folder / name)


def test_incumbents_are_kept_whole_and_once(load: Load, tmp_path: Path) -> None:
    incumbents = load("kept").Incumbents(tmp_path / "run", tmp_path / "kept")
    incumbents.look()
    publish(tmp_path / "run", 0.5, 1000.0)
    incumbents.look()
    incumbents.look()
    announced = tmp_path / "run" / "incumbent" / ".model.next.json"
    announced.touch()
    publish(tmp_path / "run", 0.7, 1002.0)
    incumbents.look()
    assert len(incumbents.kept) == 1, "one that is on its way"
    announced.unlink()
    incumbents.look()
    assert [(one.published, one.facts["score"]) for one in incumbents.kept] == [(1000.0, 0.5), (1002.0, 0.7)]
    for one in incumbents.kept:
        assert (one.folder / "incumbent" / "weights.safetensors").read_text() == str(one.facts["score"])


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Of a `qtt` that pretends."""
    package = tmp_path / "checkout" / "src" / "qtt"
    task = package / "finetune" / "cv" / "classification"
    task.mkdir(parents=True)
    (task / "__init__.py").write_text(EVALUATE)
    (package / "run.py").write_text(SEARCH)
    for folder in (package, package / "finetune", package / "finetune" / "cv"):
        (folder / "__init__.py").touch()
    return tmp_path / "checkout"


def test_a_search_of_another_checkout_is_watched_and_tested(
    load: Load, tmp_path: Path, checkout: Path
) -> None:
    search, job = load("qtt_search").search, make_job(load, tmp_path, tmp_path)
    first, second = search(job, checkout, ["optimizer=good"])
    assert (first.val, first.test, first.what) == (0.25, 0.125, "net #4 epoch 2")
    assert (second.val, second.test) == (0.5, 0.25)
    assert second.seconds - first.seconds >= 2.5, "when it was there, not when it was looked at"


def test_a_search_without_a_finished_epoch_has_no_points(load: Load, tmp_path: Path, checkout: Path) -> None:
    search, job = load("qtt_search").search, make_job(load, tmp_path, tmp_path)
    assert list(search(job, checkout, ["optimizer=late"])) == []


def test_what_cannot_be_installed_is_told(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environments = load("environments")
    nowhere = tmp_path / "nowhere"
    monkeypatch.setattr(environments, "PACKAGES", {environments.OPTUNA: str(nowhere)})
    with pytest.raises(environments.NotInstalledError, match=str(nowhere)):
        environments.python_of(environments.OPTUNA, tmp_path / "environments")


class Chance:
    """A trial of Optuna that suggests anything."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def suggest_int(self, name: str, low: int, high: int, log: bool = False) -> int:
        return int(self._rng.integers(low, high + 1))

    def suggest_float(self, name: str, low: float, high: float, log: bool = False) -> float:
        return float(self._rng.uniform(low, high))

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        return choices[int(self._rng.integers(len(choices)))]


def test_optuna_searches_the_space_of_qtt(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    optuna = SimpleNamespace(Trial=Chance, TrialPruned=RuntimeError)
    monkeypatch.setitem(sys.modules, "optuna", optuna)  # type: ignore[arg-type]
    job = make_job(load, tmp_path, write_image_folder(tmp_path / "colours"))
    write_weights(tmp_path / "hub")
    search = load("optuna_search")
    manager, task = search.problem(job)
    assert (task.settings["image_size"], task.settings["device"]) == (128, "cpu")
    found = [search.suggest(Chance(seed), manager) for seed in range(100)]
    assert all(manager.validate(config) == config for config in found)
    assert {name for config in found for name in config} == set(manager.domains)
    chosen = {config["opt"] for config in found}
    assert chosen == set(manager.domains["opt"].all())


def make_runs(load: Load) -> list[Any]:
    """Two sets and seeds of `qtt` and `plain`, and a probe for both seeds; chance is a fifth."""
    results, point = load("results"), load("points").Point

    def run(name: str, method: str, seed: int, *points: tuple[float, float], note: str = "") -> Any:
        budget = results.NO_BUDGET if method == "probe" else 10.0
        made = tuple(point(seconds, 0.0, test, "w") for seconds, test in points)
        return results.Run(results.Key(name, method, budget, seed), 5, 1.0, note, made)

    return [
        run("a", "probe", 0, (4, 0.5), (12, 0.6)),
        run("b", "probe", 0, (4, 0.5)),
        run("a", "qtt", 0, (5, 0.4), (9, 0.7)),
        run("a", "qtt", 1, (5, 0.5)),
        run("b", "qtt", 0, (11, 0.9)),
        run("b", "qtt", 1, (5, 0.8)),
        run("a", "plain", 0, (5, 0.3), (8, 0.7)),
        run("a", "plain", 1, (5, 0.3)),
        run("b", "plain", 1, note="status 1: out of luck"),
    ]


def test_the_summary_counts_what_was_there_in_time(load: Load) -> None:
    text = load("summary").text(make_runs(load))
    qtt = np.array([0.7, 0.5, 0.2, 0.8])
    at_end = np.array([0.7, 0.5, 0.9, 0.8])
    shown = [f"{x.mean():.3f} ± {x.std(ddof=1) / 2:.3f}" for x in (qtt, at_end)]
    assert f"| 10 s | qtt | 4 | {shown[0]} | {shown[1]} | 1 |" in text, "none in time is a guess"
    assert "| 10 s | plain | 2 | 0.500 ± 0.200 | 0.500 ± 0.200 | 0 | 1 | 1 | 0 | +0.100 ± 0.100 |" in text
    leads = qtt - 0.5
    lead = f"{leads.mean():+.3f} ± {leads.std(ddof=1) / 2:.3f}"
    assert f"| 10 s | probe | 2 | 0.500 ± 0.000 | 0.550 ± 0.050 | 0 | 2 | 1 | 1 | {lead} |" in text
    assert "| probe | 0.500 | 0.500 |" in text, "one run is no spread"
    assert "| 10 s | qtt | 3 of 4 | 10 |" in text, "a: 9 and never; b: 11 and 5"
    assert "| 10 s | plain | 1 of 2 | never |" in text
    assert "- b-plain-10s-1: status 1: out of luck" in text


def test_curves_compare_the_runs_that_all_methods_have(load: Load) -> None:
    curves, summary = load("curves"), load("summary")
    table = summary.Table.of(make_runs(load))
    runs = {method: table.of_method(method, 10.0) for method in table.methods}
    assert curves.shared_keys(list(runs.values())) == {("a", 0), ("a", 1)}
    found = curves.over_time(runs["qtt"], np.array([0.0, 5.0, 10.0]))
    assert found.tolist() == [[0.2, 0.4, 0.7], [0.2, 0.5, 0.5], [0.2, 0.2, 0.2], [0.2, 0.8, 0.8]]
    middle, error = curves.band(np.array([[[0.2], [0.8]], [[0.4], [0.8]]]))
    assert middle.tolist() == pytest.approx(np.array([[0.5], [0.6]]))
    expected = np.std([-0.1, 0.0], ddof=1) / math.sqrt(2)
    assert np.allclose(error, expected), "what both find easy is taken off"
    figure = curves.draw({10.0: runs})
    (axes,) = figure.axes
    assert [line.get_label() for line in axes.lines] == ["probe", "qtt", "plain"]
    apart = {"qtt": runs["qtt"][:1], "plain": runs["plain"][1:]}
    (axes,) = curves.draw({10.0: apart}).axes
    assert not axes.lines
    assert "no runs in common" in axes.get_title()


def make_job(load: Load, tmp_path: Path, images: Path) -> Any:
    points = load("points")
    (tmp_path / "work").mkdir()
    return points.Job(images, tmp_path / "hub", 5.0, 0, tmp_path / "work", points.Clock(time.time()))


def test_the_probe_chooses_on_validation_alone(load: Load) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(20) % 2
    train, held = (rng.normal(size=(20, 5)) + 6 * labels[:, None] for _ in range(2))
    strength, score, model = load("probe").fitted(train, labels, held, labels)
    assert (strength, score) == (1e-5, 1.0), "the strongest regularisation among equals"
    assert model.score(held, 1 - labels) == 0.0


def test_the_rates_fall_after_the_first_epoch(load: Load) -> None:
    share = load("plain").share_of_rate
    assert [share(step, 10, 30) for step in (0, 10, 20, 30)] == pytest.approx([1, 1, 0.5, 0])
    assert share(5, 10, 10) == 1


def test_the_classifier_takes_larger_steps(load: Load) -> None:
    network = timm.create_model("test_efficientnet", num_classes=3)
    head, body = load("plain").optimizer_of(network).param_groups
    assert (head["lr"], body["lr"]) == (1e-3, 1e-4)
    assert {id(p) for p in head["params"]} == {id(p) for p in network.get_classifier().parameters()}
    assert len(head["params"]) + len(body["params"]) == len(list(network.parameters()))


@pytest.mark.shared
@pytest.mark.parametrize("method", ["probe", "plain"])
def test_a_method_learns_from_a_few_images(
    load: Load, shared_data: Path, tmp_path: Path, method: str
) -> None:
    images = write_image_folder(tmp_path / "colours")
    load("hub").make_hub(shared_data / "weights", tmp_path / "hub")
    found = list(getattr(load(method), method)(make_job(load, tmp_path, images)))
    seconds = [point.seconds for point in found]
    assert seconds == sorted(seconds)
    assert [point.val for point in found] == sorted(point.val for point in found)
    if method == "probe":
        assert len(found) == 10
        assert found[0].what.startswith("tf_mobilenetv3_small_100"), "the cheapest first"
        assert found[-1].test > 0.7
