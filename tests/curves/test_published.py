import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qtt.curves.importers.__main__ import main
from qtt.curves.table import CurveTable
from qtt.types import MetaFeatures

PNU, APL = "mtlbm/micro/set1/PNU", "mtlbm/micro/set1/APL"
RISING = [float(epoch) for epoch in range(1, 51)]
Files = dict[str, Any]


def _arguments(dataset: str, **changes: Any) -> dict[str, Any]:
    """Arguments of a run as the authors' training script wrote them, most of them no hyperparameters."""
    return {
        "dataset": dataset,
        "project": "none",
        "device": "cuda:0",
        "epochs": 50,
        "num_classes": 20,
        "model": "tf_efficientnet_b4",
        "amp": True,
        "linear_probing": False,
        "opt": "sgd",
        "opt_betas": "None",
        "momentum": 0.9,
        "lr": 0.001,
        "sched": "cosine",
        "decay_epochs": 90,
        "decay_rate": 0.1,
        "patience_epochs": 10,
        "clip_grad": "None",
        "layer_decay": None,
        "auto_augment": "None",
        "trivial_augment": False,
        "random_augment": True,
        "ra_num_ops": 3,
        "ra_magnitude": 17,
        "max_memory_allocated": 2.0**30,
        **changes,
    }


def _files() -> Files:
    """Version micro with the oddities of the real data."""
    top1 = {
        PNU: {
            "11": RISING,
            "12": [5.0],  # a single point
            "13": [10.0, 20.0, None, 40.0],  # a missing value
            "14": [*RISING[:25], 3.0],  # the 26th epoch collapses under amp
            "15": [*RISING[:25], 3.0],  # the same without amp
            "16": [7.0],  # linear probing
        },
        APL: {"21": [0.0, math.nan], "22": [None], "23": 50.0},
    }

    def same(value: float) -> Files:
        """The same shape, with this value everywhere."""
        return {
            key: {run: [value] * (len(c) if isinstance(c, list) else 1) for run, c in runs.items()}
            for key, runs in top1.items()
        }

    args = {run: _arguments(dataset) for dataset, runs in top1.items() for run in runs}
    args["11"] |= {"opt": "adam", "opt_betas": [0, 0.999], "random_augment": False, "model": "dla46x_c"}
    args["15"] |= {"amp": False}
    args["16"] |= {"linear_probing": True}
    args["21"] |= {"sched": "step", "decay_epochs": 20, "auto_augment": "v0", "random_augment": False}
    losses = same(0.5)
    losses[PNU]["14"][-1] = math.nan
    meta = {
        "hessians": [],
        "dataset_names": ["micro/set1/PNU", "micro/set1/APL", "mini/set1/PNU"],
        "dataset_descriptors": [[456, 19, 128, 3], [480, 20, 128, 3], [456, 19, 128, 3]],
    }
    return {
        "micro/eval_top1.json": top1,
        "micro/train_time.json": same(2.0),
        "micro/eval_time.json": same(0.5),
        "micro/eval_loss.json": losses,
        "micro/args.json": args,
        "dataset-meta-features/meta-album/meta-features.json": meta,
    }


def _import(folder: Path, files: Files) -> int:
    for name, content in files.items():
        path = folder / "qt_metadataset" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    source = str(folder / "qt_metadataset")
    return main(["published", "--source", source, "--version", "micro", "--out", str(folder / "table")])


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> CurveTable:
    folder = tmp_path_factory.mktemp("published")
    assert _import(folder, _files()) == 0
    return CurveTable.load(folder / "table")


def test_datasets(table: CurveTable) -> None:
    assert table.datasets == ("APL", "PNU")
    assert table.metafeatures("PNU") == MetaFeatures(456, 19, 128, 3)
    assert table.read("datasets")["set"].tolist() == ["set1", "set1"]
    assert "version micro" in table.manifest.source


def test_statuses(table: CurveTable) -> None:
    assert table.read("runs").set_index("run_id")["status"].to_dict() == {
        "11": "finished",
        "12": "failed",
        "13": "failed",
        "14": "failed",
        "15": "failed",
        "16": "unusable",
        "21": "failed",
        "22": "failed",
        "23": "failed",
    }


def test_curves(table: CurveTable) -> None:
    pnu = table.curves("PNU")
    assert pnu.run_ids == ("11", "12", "13", "14", "15")
    assert pnu.scores[0].tolist() == [score / 100 for score in RISING]
    assert set(pnu.seconds[0]) == {2.5}
    assert pnu.lengths.tolist() == [50, 1, 2, 25, 26]
    apl = table.curves("APL")
    assert apl.lengths.tolist() == [1, 0, 1]
    assert apl.scores[:, 0].tolist()[::2] == [0.0, 0.5]


def test_notes_say_what_was_left_out(table: CurveTable) -> None:
    notes = table.read("runs").set_index("run_id")["note"]
    assert notes["13"] == "epoch 3 has no score or no seconds"
    assert notes["14"] == "broke off in epoch 26 under mixed precision"
    assert "single epoch" in notes["16"]
    assert table.read("runs")["max_memory"].tolist() == [2.0**30] * 9


def test_configs(table: CurveTable) -> None:
    first, second = table.curves("PNU").configs[:2]
    assert first == {
        "model": "dla46x_c",
        "amp": True,
        "linear_probing": False,
        "opt": "adam",
        "opt_betas": (0.0, 0.999),
        "lr": 0.001,
        "sched": "cosine",
        "clip_grad": None,
        "layer_decay": None,
        "data_augmentation": None,
    }
    assert second["model"] == "tf_efficientnet_b4_ns"
    assert second["data_augmentation"] == "random_augment" and second["ra_magnitude"] == 17
    step = table.configs("APL")["21"]
    assert step["auto_augment"] == "v0" and step["decay_epochs"] == 20 and "ra_magnitude" not in step


def test_losses(table: CurveTable) -> None:
    assert table.read("curves")["loss"].unique().tolist() == [0.5]


def _without(name: str) -> Callable[[Files], object]:
    return lambda files: files.pop(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f["micro/args.json"].pop("12"), "run 12 has no arguments in args.json"),
        (
            lambda f: f["micro/args.json"]["12"].update(lr="fast"),
            "run 12, column 'lr': 'fast' is not a number",
        ),
        (lambda f: f["micro/args.json"]["12"].update(dataset=APL), f"run 12: args.json says .* {APL}"),
        (lambda f: f["micro/args.json"]["12"].pop("model"), "run 12 has no column 'model'"),
        (lambda f: f["micro/train_time.json"][PNU].pop("12"), "eval_top1 1, train_time 0, eval_time 1"),
        (
            lambda f: f["micro/eval_top1.json"][PNU].update({"11": [*RISING, 1]}),
            "numbers of epochs: eval_top1 51",
        ),
        (
            lambda f: f["micro/eval_top1.json"].update({"PNU": {}}),
            "'PNU' is not called mtlbm/micro/<set>/<name>",
        ),
        (
            lambda f: f["dataset-meta-features/meta-album/meta-features.json"]["dataset_names"].pop(),
            "dataset_names and as many dataset_descriptors",
        ),
        (
            lambda f: f["dataset-meta-features/meta-album/meta-features.json"].update(
                dataset_names=["micro/set1/PNU", "x", "y"]
            ),
            f"does not describe the dataset {APL}",
        ),
    ],
)
def test_contradictions_are_explained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Callable[[Files], object], message: str
) -> None:
    files = _files()
    change(files)
    assert _import(tmp_path, files) == 1
    assert re.search(message, capsys.readouterr().err)


def test_losses_may_be_missing_and_other_files_must_be_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = _files()
    del files["micro/eval_loss.json"]
    assert _import(tmp_path, files) == 0
    (tmp_path / "qt_metadataset/micro/eval_time.json").unlink()
    assert _import(tmp_path, {}) == 1
    assert "lacks micro/eval_time.json" in capsys.readouterr().err
