import csv
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from qtt.curves.importers import extended
from qtt.curves.importers.__main__ import main
from qtt.curves.table import CurveTable
from qtt.errors import CurveTableError
from qtt.hub.model_hub import ModelHub
from qtt.space.config_manager import ConfigManager
from qtt.space.search_space import build_space
from qtt.types import MetaFeatures

HOUR = 3600.0
DATASETS = Path(__file__).parents[2] / "meta_dataset" / "datasets.yaml"


def _write(folder: Path) -> Path:
    """A miniature of the layout: one run of every status."""
    header = (
        *("", "lr", "batch_size", "clip_grad", "linear_probing", "momentum", "decay_epochs", "decay_rate"),
        *("cat:model:dla46x_c", "cat:model:tf_efficientnet_b4_ns", "cat:opt:adam", "cat:opt:momentum"),
        *("cat:opt_betas:None", "cat:opt_betas:[0.9, 0.99]", "cat:sched:cosine", "cat:sched:step"),
    )
    rows = [
        ("10", "0.01", "4", "-1.0", "0", "0.9", "90.0", "0.1", *"10", *"10", *"01", *"10"),
        ("9", "0.1", "8", "1.0", "0", "0.99", "20.0", "0.5", *"01", *"01", *"10", *"01"),
        ("8", "0.1", "8", "1.0", "0", "0.99", "20.0", "0.5", *"01", *"01", *"10", *"01"),
        ("7", "0.1", "8", "1.0", "1", "0.99", "20.0", "0.5", *"01", *"01", *"10", *"01"),
    ]
    scores = {
        "10": [1.0 + 0.5 * epoch for epoch in range(50)],
        "9": [20.0, 100.00000035],
        "8": [0.0],
        "7": [9.0],
    }
    seconds = {"10": [2.0] * 50, "9": [5 * HOUR, 5 * HOUR], "8": [5.9 * HOUR], "7": [3.0]}
    with (folder / "table.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    (folder / "perf.json").write_text(json.dumps({"APL": scores}))
    (folder / "cost.json").write_text(json.dumps({"APL": seconds}))
    (folder / "descriptors.json").write_text(json.dumps({"APL": [5775, 21, 128, 3]}))
    return folder


def _edit(path: Path, change: Callable[[str], str]) -> None:
    path.write_text(change(path.read_text()))


def test_a_miniature(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "table"
    source = str(_write(tmp_path))
    assert main(["extended", "--source", source, "--out", str(out), "--datasets", str(DATASETS)]) == 0
    table = CurveTable.load(out)
    runs = table.read("runs").set_index("run_id")
    assert runs["status"].to_dict() == {"10": "finished", "9": "capped", "8": "failed", "7": "unusable"}
    assert "single epoch" in runs["note"]["7"]
    curves = table.curves("APL")
    assert curves.run_ids == ("10", "8", "9")
    np.testing.assert_allclose(curves.scores[0], 0.01 + 0.005 * np.arange(50))
    assert curves.scores[2, :2].tolist() == [0.2, 1.0]
    assert curves.seconds[2, :2].tolist() == [5 * HOUR, 5 * HOUR]
    assert curves.configs[0] == {
        "model": "dla46x_c",
        "lr": 0.01,
        "batch_size": 4,
        "clip_grad": None,
        "linear_probing": False,
        "opt": "adam",
        "opt_betas": (0.9, 0.99),
        "sched": "cosine",
    }
    assert curves.configs[2]["momentum"] == 0.99 and curves.configs[2]["decay_epochs"] == 20
    assert table.metafeatures("APL") == MetaFeatures(5775, 21, 128, 3)
    assert table.read("datasets")[["set", "domain"]].to_numpy().tolist() == [["set1", "vehicles"]]
    said = capsys.readouterr().out
    assert "1 datasets, 4 runs (1 finished, 1 capped, 1 failed, 1 unusable), 54 epochs, 15.9 hours" in said


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("table.csv", "lr,", "rate,", "line 2 .run 10.: Unknown hyperparameter 'rate'"),
        (
            "table.csv",
            "0.01,4",
            "0.01,four",
            r"line 2 \(run 10\), column 'batch_size': 'four' is not an integer",
        ),
        ("table.csv", "1,0,1,0,0,1,1,0", "1,1,1,0,0,1,1,0", "another option of model is 1 too"),
        ("table.csv", "1,0,1,0,0,1,1,0", "0,0,1,0,0,1,1,0", "none of the options of model is 1"),
        ("table.csv", "1,0,1,0,0,1,1,0", "2,0,1,0,0,1,1,0", "column 'cat:model:dla46x_c': '2' is not 0 or 1"),
        ("table.csv", "\n9,", "\n10,", r"line 3 \(run 10\), column 'run_id': missing, or there twice"),
        ("table.csv", "\n9,", "\n99,", r"run 9 is not in table.csv"),
        ("table.csv", "10,0.01", "10,0.01,3", "line 2: 17 cells instead of 16"),
        ("perf.json", '"10": [1.0', '"10": [1.0, 1.0', "run 10: perf.json has 51 epochs, cost.json 50"),
        ("perf.json", '"7": [9.0]', '"7": [NaN]', r"curves, row 54 \(run_id 7, epoch 1\).*nan is missing"),
        ("perf.json", '"7": [9.0]', '"7": [900]', "9.0 lies outside 0 to 1"),
        ("perf.json", ', "7": [9.0]', "", "run 7 has no curve in perf.json"),
        ("cost.json", '"7": [3.0]', '"6": [3.0]', "run 7: perf.json has 1 epochs, cost.json none"),
        ("cost.json", "[3.0]", "[0.0]", r"column 'seconds': 0.0 must be positive"),
        ("cost.json", "{", "", "cost.json is not JSON"),
        ("descriptors.json", "APL", "TEX", "'APL' is not in datasets"),
        ("descriptors.json", "5775, ", "", r"descriptors.json, APL: \[21, 128, 3\] is not"),
    ],
)
def test_malformed_sources_are_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, old: str, new: str, message: str
) -> None:
    source = _write(tmp_path)
    assert old in (source / file).read_text()
    _edit(source / file, lambda text: text.replace(old, new, 1))
    out = tmp_path / "table"
    assert main(["extended", "--source", str(source), "--out", str(out)]) == 1
    assert not out.exists()
    assert re.search(message, capsys.readouterr().err)


def test_a_missing_source_is_explained(tmp_path: Path) -> None:
    with pytest.raises(CurveTableError, match="There is no folder"):
        extended.read(tmp_path / "none")
    with pytest.raises(CurveTableError, match=r"lacks perf.json, cost.json, table.csv, descriptors.json"):
        extended.read(tmp_path)


@pytest.fixture(scope="module")
def raw(shared_data: Path) -> dict[str, Any]:
    folder = shared_data / "quicktune_extended"
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in ("perf", "cost")}


@pytest.fixture(scope="module")
def imported(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CurveTable]:
    out = tmp_path_factory.mktemp("curves") / "table"
    source = str(shared_data / "quicktune_extended")
    assert main(["extended", "--source", source, "--out", str(out), "--datasets", str(DATASETS)]) == 0
    yield CurveTable.load(out)


@pytest.mark.shared
def test_counts_and_sums_of_the_real_data(imported: CurveTable, raw: dict[str, Any]) -> None:
    counts = imported.manifest.counts
    assert (counts["datasets"], counts["runs"], counts["unusable"]) == (18, 3214, 946)
    assert counts["finished"] == 1754
    assert counts["finished"] + counts["capped"] + counts["failed"] == 2268
    seconds = sum(sum(curve) for runs in raw["cost"].values() for curve in runs.values())
    assert imported.manifest.seconds == pytest.approx(seconds, rel=1e-12)
    assert imported.read("curves")["seconds"].sum() == pytest.approx(seconds, rel=1e-9)


@pytest.mark.shared
def test_best_scores_of_the_real_data(imported: CurveTable, raw: dict[str, Any]) -> None:
    assert set(imported.datasets) == set(raw["perf"])
    for dataset, curves in raw["perf"].items():
        best = max(max(curve) for curve in curves.values()) / 100
        assert imported.read("curves", dataset)["score"].max() == pytest.approx(best, abs=1e-8)


@pytest.mark.shared
def test_ten_random_curves_and_configs_of_the_real_data(
    imported: CurveTable, raw: dict[str, Any], shared_data: Path
) -> None:
    with (shared_data / "quicktune_extended" / "table.csv").open(newline="") as file:
        table = {row[""]: row for row in csv.DictReader(file)}
    usable = [
        (dataset, run)
        for dataset, runs in raw["perf"].items()
        for run in runs
        if table[run]["linear_probing"] == "0"
    ]
    for number in np.random.default_rng(4).choice(len(usable), 10, replace=False):
        dataset, run = usable[number]
        curves = imported.curves(dataset)
        row = curves.run_ids.index(run)
        length, config = curves.lengths[row], curves.configs[row]
        assert curves.scores[row, :length].tolist() == [score / 100 for score in raw["perf"][dataset][run]]
        assert curves.seconds[row, :length].tolist() == raw["cost"][dataset][run]
        assert table[run][f"cat:model:{config['model']}"] == "1"
        assert table[run][f"cat:opt:{config['opt']}"] == "1"
        for name in ("lr", "batch_size", "pct_to_freeze", "mixup", "amp", "warmup_lr", "stoch_norm"):
            assert float(table[run][name]) == config[name]


@pytest.mark.shared
def test_every_usable_config_of_the_real_data_is_one_of_the_space(imported: CurveTable) -> None:
    hub = ModelHub.load("table4")
    manager = ConfigManager(build_space("full", hub), hub)
    total = 0
    for dataset in imported.datasets:
        for config in imported.curves(dataset).configs:
            assert manager.validate(config) == config
            total += 1
    assert total == 2268


@pytest.mark.shared
def test_capped_and_failed_runs_of_the_real_data_lie_far_apart(imported: CurveTable) -> None:
    """Of the runs cut short, none was within 2.5 hours of the rule's border."""
    for dataset in imported.datasets:
        curves = imported.curves(dataset)
        for status, seconds in zip(curves.statuses, curves.seconds, strict=True):
            hours = (np.nansum(seconds) + np.nanmax(seconds)) / HOUR
            if status != "finished":
                assert hours > 12.7 if status == "capped" else hours < 10


@pytest.mark.shared
def test_sets_are_those_of_meta_album(imported: CurveTable) -> None:
    facts = yaml.safe_load(DATASETS.read_text())["datasets"]
    described = imported.read("datasets").set_index("dataset")
    assert {name: f"set{facts[name]['set']}" for name in described.index} == described["set"].to_dict()
