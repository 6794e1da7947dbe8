"""The command: its files against the protocol written again, resuming, and what goes wrong."""

import csv
import io
import json
import math
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from rich.console import Console

import waiting
from qtt import benchmark
from qtt.cli.configuration import config_directory
from qtt.curves.table import CurveTable
from qtt.curves.writing import write_table
from qtt.errors import ArtifactError, ConfigError
from recorded import frames, recompute, recorded

LIMIT = 2000.0
TIMES = [LIMIT / 64, LIMIT / 16, LIMIT / 4, LIMIT]
GRID = [LIMIT / 960 * 960 ** (i / 49) for i in range(50)]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables") / "small"
    curves = [recorded(name, n=24, seed=seed) for seed, name in enumerate("ABC")]
    write_table(folder, frames(curves), source="synthetic")
    return folder


def _compare(table, out, *overrides):
    with initialize_config_dir(config_directory(), version_base="1.3"):
        settings = [f"table={table}", f"out={out}", f"seconds={LIMIT}", "hub=null", "seeds=2", "processes=1"]
        config = compose("benchmark", [*settings, *overrides])
        console = Console(record=True, width=120, file=io.StringIO())
        comparison, _ = benchmark.compare(config, console)
    return comparison, console.export_text()


def _rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def _step(rows, time):
    """Regret at a time, from rows (seconds, regret)."""
    return next((regret for seconds, regret in reversed(rows) if seconds <= time), 1.0)


def _mean_and_error(values):
    mean = sum(values) / len(values)
    return mean, math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values))


def test_the_tables_agree_with_the_protocol_written_again(table, tmp_path):
    _compare(table, tmp_path, "policies=[random,asha]")
    searches = defaultdict(list)
    for row in _rows(tmp_path / "regret.csv"):
        key = row["policy"], row["dataset"], int(row["seed"])
        searches[key].append((float(row["seconds"]), float(row["regret"])))
    assert set(searches) == {(p, d, s) for p in ("random", "asha") for d in "ABC" for s in (0, 1)}
    for (policy, dataset, seed), rows in searches.items():
        curves = CurveTable.load(table).curves(dataset)
        assert len(curves) == 24  # without the unusable one
        ends = curves.lengths.tolist()
        scores = [row[:end].tolist() for row, end in zip(curves.scores, ends, strict=True)]
        seconds = [row[:end].tolist() for row, end in zip(curves.seconds, ends, strict=True)]
        expected = recompute(policy, scores, seconds, seed, LIMIT)
        np.testing.assert_allclose(rows, expected, atol=1e-3, rtol=0)
        np.testing.assert_allclose([r for _, r in rows], [r for _, r in expected], atol=1e-7)
    for row in _rows(tmp_path / "summary.csv"):
        times = GRID if row["seconds"] == "auc" else [float(row["seconds"])]
        regrets, ranks = [], []
        for dataset in "ABC":
            by_seed = []
            for seed in (0, 1):
                mine, theirs = (
                    [_step(searches[policy, dataset, seed], time) for time in times]
                    for policy in (row["policy"], {"random": "asha", "asha": "random"}[row["policy"]])
                )
                by_seed.append(sum(mine) / len(mine))
                ranks += [1.5 + 0.5 * ((m > o) - (m < o)) for m, o in zip(mine, theirs, strict=True)]
            regrets.append(sum(by_seed) / 2)
        mean, error = _mean_and_error(regrets)
        assert float(row["mean_regret"]) == pytest.approx(mean, abs=1e-4)
        assert float(row["stderr"]) == pytest.approx(error, abs=1e-4)
        assert float(row["mean_rank"]) == pytest.approx(sum(ranks) / len(ranks), abs=1e-4)
    labels = [row["seconds"] for row in _rows(tmp_path / "summary.csv") if row["policy"] == "asha"]
    assert labels == [f"{time:g}" for time in TIMES] + ["auc"]


def test_decisions_ranks_and_plots_are_written(table, tmp_path):
    _compare(table, tmp_path, "policies=[random,asha]")
    decisions = _rows(tmp_path / "decisions.csv")
    assert list(decisions[0]) == ["policy", "n_observed", "seconds"]
    assert len(decisions) >= len(_rows(tmp_path / "regret.csv"))
    assert all(0 < float(row["seconds"]) < 10 for row in decisions)
    ranks = _rows(tmp_path / "ranks.csv")
    assert len(ranks) == 2 * 50
    for one, other in zip(ranks[:50], ranks[50:], strict=True):
        assert float(one["mean_rank"]) + float(other["mean_rank"]) == pytest.approx(3)
    for name in ("regret.png", "ranks.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_the_page_shows_what_the_tables_hold(table, tmp_path):
    _compare(table, tmp_path, "policies=[random,asha]")
    html = (tmp_path / "benchmark.html").read_text(encoding="utf-8")
    for text in (
        f"random and asha on {table.name}",
        str(table),
        "model hub</dt><dd>none",
        "33.3 min (2000 s)",
    ):
        assert text in html
    for row in _rows(tmp_path / "summary.csv"):
        mean, error = float(row["mean_regret"]), float(row["stderr"])
        assert (f"{mean:.3f} ± {error:.3f}" if row["seconds"] == "auc" else f">{mean:.3f}<") in html


def test_nothing_is_replayed_twice_and_more_policies_and_seeds_add_up(table, tmp_path):
    _, first = _compare(table, tmp_path, "policies=[random]")
    assert "Replaying 6 searches" in first
    before = (tmp_path / "regret.csv").read_text()
    _, again = _compare(table, tmp_path, "policies=random")
    assert "6 of 6 searches are kept from before" in again
    assert (tmp_path / "regret.csv").read_text() == before
    assert not (tmp_path / "ranks.png").exists()
    _, more = _compare(table, tmp_path, "policies=[random,asha]", "seeds=[1,4]")
    assert "Replaying 9 searches" in more
    assert "3 of 12 searches are kept from before" in more
    store = tmp_path / "replays.jsonl"
    store.write_text("\n".join(store.read_text().splitlines()[:-1]) + '\n{"key": "to')  # killed while writing
    _, third = _compare(table, tmp_path, "policies=[random,asha]", "seeds=[1,4]")
    assert "Replaying 1 search, 1 at a time" in third
    _, fresh = _compare(table, tmp_path, "policies=[random]", "fresh=true")
    assert "Replaying 6 searches" in fresh
    assert (tmp_path / "regret.csv").read_text() == before


def test_quick_and_an_optimizer_of_ones_own_take_part(table, tmp_path):
    names = "policies=[quick,recorded.MyOptimizer,random]"
    comparison, _ = _compare(table, tmp_path, names, "datasets=[B]", "seeds=1", "seconds=60")
    assert comparison.policies == ("quick", "MyOptimizer", "random")
    mine, random = (comparison.replays[policy, "B", 0] for policy in ("MyOptimizer", "random"))
    assert mine.seconds.tolist() == random.seconds.tolist()
    assert len(comparison.replays["quick", "B", 0].scores) > 0
    assert (tmp_path / "summary.csv").read_text().count("\n") == 1 + 3 * 5


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("policies=[asah]", "Did you mean 'asha'"),
        ("policies=[]", "policies is empty"),
        ("policies=[random,random]", "different names"),
        ("weights=cold", "policy 'quick'"),
        ("datasets=[D]", "Unknown dataset 'D'"),
        ("hub=table4", "has no model"),
        ("seeds=0", "seeds must be"),
        ("seeds=[0,0]", "seeds must be"),
        ("workers=0", "workers must be"),
        ("workers=[2,2]", "workers must be"),
        ("seconds=-1", "seconds must be positive"),
        ("policies=[recorded.Broken]", "no idea"),
    ],
)
def test_mistakes_are_explained(table, tmp_path, override, message):
    with pytest.raises(ConfigError, match=message):
        _compare(table, tmp_path, override)


def test_weights_that_do_not_exist_are_explained(table, tmp_path):
    with pytest.raises(ArtifactError, match="mtlbm/micri"):
        _compare(table, tmp_path, "policies=[quick]", "weights=mtlbm/micri")


def test_the_command_shows_a_table_and_what_to_do_next(table, tmp_path):
    overrides = [f"table={table}", "hub=null", "seeds=2", "out=results", "seconds=2000"]
    done = subprocess.run(
        [sys.executable, "-m", "qtt.benchmark", *overrides],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=waiting.LIMIT,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "mean (auc)" in done.stdout
    assert "Tables and plots are in results" in done.stdout
    assert f"The page that shows them is {Path('results') / 'benchmark.html'}" in done.stdout
    assert (tmp_path / "results" / "benchmark.html").resolve().as_uri() in done.stdout
    assert done.stdout.strip().endswith("'policies=[random,asha,quick]'")
    assert {path.name for path in (tmp_path / "results").iterdir()} == {
        *("regret.csv", "summary.csv", "decisions.csv", "ranks.csv", "regret.png", "ranks.png"),
        *("benchmark.html", "replays.jsonl", ".lock"),
    }
    lines = (tmp_path / "results" / "replays.jsonl").read_text().splitlines()
    assert [json.loads(line)["job"] for line in lines].count(["asha", "B", 1]) == 1


def test_the_command_explains_what_is_missing(tmp_path):
    command = [sys.executable, "-m", "qtt.benchmark"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=waiting.LIMIT)
    assert done.returncode == 1
    assert done.stderr == "Error: table has no value and needs one: add table=… to the command.\n"


def test_numbers_of_workers_are_compared(table, tmp_path):
    comparison, _ = _compare(table, tmp_path, "policies=[random,asha]", "workers=[1,3]")
    assert comparison.policies == ("random", "random × 3", "asha", "asha × 3")
    assert {row["policy"] for row in _rows(tmp_path / "summary.csv")} == set(comparison.policies)
    epochs = {name: len(replay.scores) for name, replay in comparison.replays.items()}
    alone = {name: count for name, count in epochs.items() if "×" not in name[0]}
    assert all(epochs[f"{p} × 3", d, s] > count for (p, d, s), count in alone.items())
    assert "<dt>workers</dt>" in (tmp_path / "benchmark.html").read_text()
    _, again = _compare(table, tmp_path, "policies=[random,asha]", "workers=3")
    assert "12 of 12 searches are kept" in again
