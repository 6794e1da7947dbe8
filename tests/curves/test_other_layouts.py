"""Importers of the last epochs and of plain CSV files, and the summary."""

import csv
import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from curve_frames import small_frames
from qtt.curves import summary
from qtt.curves.importers.__main__ import main
from qtt.curves.summary import print_summary
from qtt.curves.table import CurveTable
from qtt.curves.writing import write_table
from qtt.types import MetaFeatures

FINAL = """\
run_id,dataset,model,num_classes,opt,opt_betas,momentum,lr,clip_grad,trivial_augment,random_augment,ra_num_ops,\
ra_magnitude,auto_augment,epochs,last_epoch,eval_top1,eval_loss,train_time,eval_time
71,DOG,edgenext_small,19,adam,"[0.9,0.999]",0.9,1e-05,,True,False,2,8,,50,50,62.5,0.7,1.5,0.5
72,DOG,edgenext_small,19,momentum,,0.99,0.01,10.0,False,False,2,8,v0,50,26,5.0,,2.0,1.0
"""
CSV = {
    "config.csv": ",dataset,model,lr,opt,momentum,depth\n1,A,m,0.1,sgd,,2\n2,B,m,0.01,momentum,0.9,2.5\n"
    "3,A,m,1,sgd,,4\n",
    "meta.csv": ",train_images,num_classes,image_size,channels\n1,10,2,64,3\n2,20,4,32,1\n3,10,2,64,3\n",
    "curve.csv": ",1,2,3\n1,10,20,30\n2,5,,\n3,,,\n",
    "cost.csv": ",1,2,3\n1,1.5,2,2\n2,7,,\n3,,,\n",
}


def test_last_epochs(tmp_path: Path) -> None:
    (tmp_path / "final_scores.csv").write_text(FINAL)
    assert main(["final", "--source", str(tmp_path), "--out", str(tmp_path / "table")]) == 0
    table = CurveTable.load(tmp_path / "table")
    points = table.read("curves")
    assert points[["epoch", "score", "seconds"]].to_numpy().tolist() == [[50, 0.625, 2.0], [26, 0.05, 3.0]]
    assert points["loss"].isna().tolist() == [False, True]
    assert table.read("runs")["status"].tolist() == ["finished", "failed"]
    assert table.metafeatures("DOG") == MetaFeatures(24 * 19, 19, 128, 3)
    first, second = table.configs("DOG").values()
    assert first["opt_betas"] == (0.9, 0.999) and first["clip_grad"] is None and "momentum" not in first
    assert second["momentum"] == 0.99 and second["auto_augment"] == "v0"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("eval_time", "evaluation", "line 2: there is no column 'eval_time'"),
        ("lr,", "rate,", "line 2: Unknown column 'rate'"),
        (",62.5,", ",,", "line 2, column 'eval_top1' has no value"),
        (",62.5,", ",much,", "line 2, column 'eval_top1': 'much' is not a number"),
        (
            "edgenext_small,19,momentum",
            "edgenext_small,20,momentum",
            "line 3, column 'num_classes': 20, not 19",
        ),
        (",1e-05,", ",small,", "line 2, column 'lr': 'small' is not a number"),
    ],
)
def test_last_epochs_that_are_malformed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, message: str
) -> None:
    (tmp_path / "final_scores.csv").write_text(FINAL.replace(old, new, 1))
    assert main(["final", "--source", str(tmp_path), "--out", str(tmp_path / "table")]) == 1
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.shared
def test_real_last_epochs(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "quicktune_micro_final"
    assert main(["final", "--source", str(source), "--out", str(tmp_path / "table")]) == 0
    table = CurveTable.load(tmp_path / "table")
    with (source / "final_scores.csv").open(newline="") as file:
        raw = {row["run_id"]: row for row in csv.DictReader(file)}
    points = table.read("curves").set_index("run_id")
    assert len(points) == len(raw) == 938
    for run, row in raw.items():
        assert points["score"][run] == float(row["eval_top1"]) / 100
        assert points["epoch"][run] == int(row["last_epoch"])
    assert table.manifest.counts["finished"] == sum(row["last_epoch"] == "50" for row in raw.values())


def _csv(folder: Path, files: dict[str, str], *options: str) -> int:
    for name, text in files.items():
        (folder / name).write_text(text)
    return main(["csv", "--source", str(folder), "--out", str(folder / "table"), *options])


def test_csv_files(tmp_path: Path) -> None:
    assert _csv(tmp_path, CSV, "--percent", "--licence", "mine") == 0
    table = CurveTable.load(tmp_path / "table")
    assert table.manifest.licence == "mine"
    a, b = table.curves("A"), table.curves("B")
    assert a.run_ids == ("1", "3") and a.lengths.tolist() == [3, 0]
    assert a.scores[0].tolist() == [0.1, 0.2, 0.3] and a.seconds[0].tolist() == [1.5, 2.0, 2.0]
    assert a.statuses == ("finished", "capped") and b.statuses == ("capped",)
    assert b.configs == ({"model": "m", "lr": 0.01, "opt": "momentum", "momentum": 0.9, "depth": 2.5},)
    assert table.metafeatures("B") == MetaFeatures(20, 4, 32, 1)


def test_csv_files_with_statuses_and_the_seconds_of_whole_runs(tmp_path: Path) -> None:
    files = {
        **CSV,
        "config.csv": ",model,status\n1,m,finished\n2,m,failed\n3,m,unusable\n",
        "meta.csv": CSV["meta.csv"].replace("\n", ",A\n").replace("channels,A", "channels,dataset"),
        "cost.csv": ",cost\n1,6\n2,7\n3,\n",
    }
    files["meta.csv"] = files["meta.csv"].replace("2,20,4,32,1", "2,10,2,64,3")
    assert _csv(tmp_path, files, "--percent") == 0
    curves = CurveTable.load(tmp_path / "table").curves("A")
    assert curves.statuses == ("finished", "failed")
    assert curves.seconds[0].tolist() == [2.0, 2.0, 2.0] and curves.seconds[1, 0] == 7.0


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("config.csv", "\n3,", "\n4,", "Run 3 is in only one of config.csv and meta.csv"),
        ("config.csv", "\n3,", "\n2,", "config.csv, line 4: the run '2' has no name, or appears twice"),
        ("config.csv", "dataset", "data", "run 1: there is no dataset; add a column 'dataset'"),
        ("config.csv", "0.01", "slow", "config.csv, run 2, column 'lr': 'slow' is not a number"),
        ("config.csv", "0.9", "", "run 2, column 'momentum' has no value"),
        ("meta.csv", "3,10,2", "3,11,2", "meta.csv, run 3: dataset A was described differently"),
        ("meta.csv", "channels", "colours", "meta.csv, run 1, column 'channels' has no value"),
        ("meta.csv", "20,4", "20,four", "meta.csv, run 2: .*four"),
        ("curve.csv", "10,20,30", "10,,30", "column '2': a value is missing within the curve"),
        ("curve.csv", "10,20,30", "10,x,30", "column '2': 'x' is not a number"),
        ("curve.csv", "10,20,30", "10,inf,30", "column '2': 'inf' is not finite"),
        ("cost.csv", "7,,", "7,7,", "cost.csv, run 2: 2 costs for 1 epochs"),
    ],
)
def test_csv_files_that_are_malformed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str, old: str, new: str, message: str
) -> None:
    assert old in CSV[file]
    assert _csv(tmp_path, {**CSV, file: CSV[file].replace(old, new, 1)}, "--percent") == 1
    assert re.search(message, capsys.readouterr().err)


def test_scores_in_percent_are_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _csv(tmp_path, CSV) == 1
    assert "column 'score': 10.0 lies outside 0 to 1" in capsys.readouterr().err


def test_a_file_of_datasets_must_be_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "list.yaml").write_text("datasets: 3")
    options = [
        "--source",
        str(tmp_path),
        "--out",
        str(tmp_path / "t"),
        "--datasets",
        str(tmp_path / "list.yaml"),
    ]
    assert main(["final", *options]) == 1
    assert "is no list of datasets" in capsys.readouterr().err


def test_the_summary_shows_a_line_a_dataset_in_terminals(tmp_path: Path) -> None:
    table = write_table(tmp_path / "table", small_frames(), source="x")
    shown = io.StringIO()
    print_summary(table, Console(file=shown, force_terminal=True, width=120, color_system=None))
    text = shown.getvalue()
    assert "2 datasets, 5 runs (1 finished, 1 capped, 2 failed, 1 unusable), 7 epochs, 0.0 hours" in text
    row = next(line for line in text.splitlines() if "APL" in line)
    assert re.findall(r"[\w.]+", row) == ["APL", "set1", "1", "0", "2", "1", "4", "0.0", "1.000"]


def test_the_summary_is_one_line_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_table(tmp_path / "table", small_frames(), source="x")
    assert summary.main([str(tmp_path / "table"), "--check"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert summary.main([str(tmp_path)]) == 1
    assert "is no curve table" in capsys.readouterr().err
