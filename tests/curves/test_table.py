import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curve_frames import BETAS, frames_with, small_frames
from qtt.curves.table import CurveTable
from qtt.curves.writing import write_table
from qtt.errors import CurveTableError
from qtt.hub.model_hub import ModelHub
from qtt.space.config_manager import ConfigManager
from qtt.space.search_space import build_space
from qtt.types import MetaFeatures

NAN = math.nan


@pytest.fixture
def table(tmp_path: Path) -> CurveTable:
    return write_table(tmp_path / "table", small_frames(), source="made up", licence="none")


def test_candidates_are_the_runs_that_are_not_unusable(table: CurveTable) -> None:
    assert table.datasets == ("APL", "TEX")
    curves = table.curves("APL")
    assert curves.dataset == "APL"
    assert curves.run_ids == ("r1", "r2", "r3")
    assert curves.statuses == ("finished", "failed", "failed")
    assert curves.lengths.tolist() == [3, 1, 0]
    np.testing.assert_array_equal(curves.scores, [[0, 0.75, 1], [0.125, NAN, NAN], [NAN] * 3])
    np.testing.assert_array_equal(curves.seconds, [[1, 1.25, 1.5], [7, NAN, NAN], [NAN] * 3])


def test_the_width_is_that_of_the_longest_curve_of_all_datasets(table: CurveTable) -> None:
    np.testing.assert_array_equal(table.curves("TEX").scores, [[0.25, 0.5, NAN]])


def test_configs_are_native_and_hold_what_is_active(table: CurveTable) -> None:
    momentum, adamw, sgd = table.curves("APL").configs
    assert momentum == {
        "model": "dla46x_c",
        "lr": 1e-5,
        "clip_grad": 1.0,
        "opt": "momentum",
        "momentum": 0.9,
        "amp": False,
    }
    assert adamw["clip_grad"] is None  # an option, and so there
    assert adamw["opt_betas"] == (0.0, 0.999)
    assert "momentum" not in adamw and "opt_betas" not in sgd
    assert table.configs("TEX") == {
        "r5": {
            "model": "volo_d1_384",
            "lr": 0.01,
            "clip_grad": None,
            "opt": "adam",
            "opt_betas": BETAS,
            "amp": True,
            "drop_path": 0.5,
        }
    }
    assert list(table.configs("APL")) == ["r1", "r2", "r3", "r4"]


def test_every_config_of_the_full_space_survives(tmp_path: Path) -> None:
    hub = ModelHub.load("table4")
    configs = ConfigManager(build_space("full", hub), hub).sample(300, seed=1).configs
    table = write_table(tmp_path / "table", frames_with(configs), source="sampled")
    read = table.curves("D").configs
    assert [dict(config) for config in read] == [dict(config) for config in configs]
    for got, sampled in zip(read, configs, strict=True):
        assert {name: type(value) for name, value in got.items()} == {
            name: type(value) for name, value in sampled.items()
        }


def test_metafeatures(table: CurveTable) -> None:
    assert table.metafeatures("APL") == MetaFeatures(5775, 21, 128, 3)


def test_manifest_counts(table: CurveTable) -> None:
    manifest = table.manifest
    assert (manifest.source, manifest.licence) == ("made up", "none")
    assert dict(manifest.counts) == {
        "datasets": 2,
        "runs": 5,
        "finished": 1,
        "capped": 1,
        "failed": 2,
        "unusable": 1,
        "epochs": 7,
    }
    assert manifest.longest == 3
    assert manifest.seconds == 20 + 10.5 + 1 + 1.5 + 1.25 + 7 + 3


def test_raw_files_are_there_as_frames(table: CurveTable) -> None:
    assert table.read("curves", "TEX")["score"].tolist() == [0.25, 0.5]
    assert table.read("datasets", "TEX")["train_images"].tolist() == [5205]
    assert len(table.read("runs")) == 5
    table.check()


def test_unknown_names_are_explained(table: CurveTable) -> None:
    with pytest.raises(CurveTableError, match=r"'APLE'\. Did you mean 'APL'"):
        table.curves("APLE")
    with pytest.raises(CurveTableError, match="Unknown dataset 'x'"):
        table.metafeatures("x")
    with pytest.raises(CurveTableError, match="Unknown file of a curve table 'curve'"):
        table.read("curve")


def test_a_dataset_is_a_row_group_and_names_are_encoded(table: CurveTable) -> None:
    runs = {"APL": {"r1", "r2", "r3", "r4"}, "TEX": {"r5"}}
    for name in ("configs", "runs", "curves"):
        file = pq.ParquetFile(table.folder / f"{name}.parquet")
        assert file.num_row_groups == 2
        for group, dataset in enumerate(runs):
            column = file.read_row_group(group, ["run_id"])["run_id"]
            assert pa.types.is_dictionary(column.type)
            assert set(column.to_pylist()) <= runs[dataset]


def test_one_dataset_is_read_without_the_others(table: CurveTable) -> None:
    for name in ("configs", "runs", "curves"):
        path = table.folder / f"{name}.parquet"
        group = pq.read_metadata(path).row_group(0)  # APL
        columns = [group.column(i) for i in range(group.num_columns)]
        start = min(c.dictionary_page_offset or c.data_page_offset for c in columns)
        size = sum(c.total_compressed_size for c in columns)
        with path.open("r+b") as file:
            file.seek(start)
            file.write(bytes(size))
    assert table.curves("TEX").lengths.tolist() == [2]
    with pytest.raises(CurveTableError, match=r"cannot be read .*([Pp]age|deserialize)"):
        table.curves("APL")


def test_files_that_changed_are_noticed(table: CurveTable) -> None:
    path = table.folder / "curves.parquet"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(CurveTableError, match=r"curves.parquet is not the file that manifest.json describes"):
        CurveTable.load(table.folder)
    path.unlink()
    with pytest.raises(CurveTableError, match=r"lacks curves.parquet"):
        CurveTable.load(str(table.folder))


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "cannot be read"), ('{"format": 1}', "KeyError: 'source'"), ('{"format": 2}', "format 2")],
)
def test_broken_manifests_are_explained(table: CurveTable, text: str, message: str) -> None:
    (table.folder / "manifest.json").write_text(text)
    with pytest.raises(CurveTableError, match=message):
        CurveTable.load(table.folder)


def test_other_folders_are_no_tables(tmp_path: Path) -> None:
    with pytest.raises(CurveTableError, match=r"is no curve table: it has no manifest.json"):
        CurveTable.load(tmp_path)


def test_files_of_others_must_name_their_row_groups(table: CurveTable) -> None:
    path = table.folder / "configs.parquet"
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    manifest = table.folder / "manifest.json"
    data = json.loads(manifest.read_text())
    from qtt.support.files import file_sha256

    data["sha256"]["configs.parquet"] = file_sha256(path)
    manifest.write_text(json.dumps(data))
    with pytest.raises(CurveTableError, match="does not name its row groups' datasets"):
        _ = CurveTable.load(table.folder).datasets


def test_last_epochs_alone_are_no_curves(tmp_path: Path) -> None:
    frames = small_frames()
    last = frames.curves.groupby("run_id", as_index=False).last()
    frames = type(frames)(frames.configs, last, frames.datasets, frames.runs)
    table = write_table(tmp_path / "last", frames, source="made up", all_epochs=False)
    with pytest.raises(CurveTableError, match="only the last epoch"):
        table.curves("APL")
    assert len(table.read("curves")) == 4
    table.check()
