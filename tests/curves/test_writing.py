from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from curve_frames import small_frames, with_cell
from qtt.curves import writing
from qtt.curves.schema import COLUMNS, FILES, Frames
from qtt.curves.table import CurveTable
from qtt.curves.writing import write_table
from qtt.errors import CurveTableError


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_order_of_rows_and_types_of_frames_make_no_difference(tmp_path: Path) -> None:
    frames = small_frames()
    first = write_table(tmp_path / "first", frames, source="x")
    turned = Frames(*(getattr(frames, name).iloc[::-1].reset_index(drop=True) for name in FILES))
    write_table(tmp_path / "turned", turned, source="x")
    read = Frames(*(first.read(name) for name in FILES))  # categories, NaN for null, arrays for tuples
    write_table(tmp_path / "again", read, source="x")
    assert _bytes(tmp_path / "first") == _bytes(tmp_path / "turned") == _bytes(tmp_path / "again")


def test_a_table_replaces_a_table_and_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "table"
    write_table(folder, small_frames(), source="old")
    (folder.parent / ".table.new").mkdir()  # of a crash
    (folder.parent / ".table.new" / "curves.parquet").write_text("torn")
    write_table(folder, small_frames(), source="new")
    assert CurveTable.load(folder).manifest.source == "new"
    assert [path.name for path in folder.parent.iterdir()] == ["table"]
    assert {path.name for path in folder.iterdir()} == {"manifest.json", *(f"{n}.parquet" for n in FILES)}


def test_a_crash_while_writing_leaves_the_old_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "table"
    write_table(folder, small_frames(), source="old")

    def crash(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "write_json", crash)
    with pytest.raises(KeyboardInterrupt):
        write_table(folder, small_frames(), source="new")
    assert CurveTable.load(folder).manifest.source == "old"


def test_invalid_contents_leave_the_old_table(tmp_path: Path) -> None:
    write_table(tmp_path / "table", small_frames(), source="old")
    with pytest.raises(CurveTableError):
        write_table(tmp_path / "table", with_cell(small_frames(), "curves", 0, "score", 2.0), source="new")
    assert CurveTable.load(tmp_path / "table").manifest.source == "old"


def test_other_folders_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(CurveTableError, match="is no curve table; nothing was written"):
        write_table(tmp_path, small_frames(), source="x")
    assert (tmp_path / "thesis.tex").exists()


def test_a_table_without_runs(tmp_path: Path) -> None:
    empty = Frames(*(pd.DataFrame() for _ in FILES))
    table = write_table(tmp_path / "table", empty, source="x")
    assert table.datasets == ()
    assert table.manifest.counts["runs"] == 0
    assert set(table.read("runs").columns) == {n for n, c in COLUMNS["runs"].items() if not c.optional}
    described = replace(empty, datasets=small_frames().datasets)
    assert write_table(tmp_path / "table", described, source="x").datasets == ()
