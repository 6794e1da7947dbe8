"""Writing curve tables: checked as a whole, then put in place as a whole."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from qtt.curves.manifest import MANIFEST, Manifest
from qtt.curves.schema import ARROW, FILES, Frames
from qtt.curves.table import ROW_GROUPS, CurveTable
from qtt.curves.validation import Values, checked
from qtt.errors import CurveTableError
from qtt.support.files import write_json


def write_table(
    folder: Path | str,
    frames: Frames,
    *,
    source: str,
    licence: str | None = None,
    notes: Sequence[str] = (),
    all_epochs: bool = True,
) -> CurveTable:
    """Check `frames` and write them as the curve table `folder`, in place of a curve table that is there.

    The files are written beside `folder` and then renamed, so that a crash leaves the old table, the new one,
    or (between two renames) none, and never half of one. Equal contents give equal bytes.

    source, licence, notes: for the manifest and people; no licence: "unstated".
    all_epochs: False where only the last recorded epoch of each run is known.

    Raises:
        CurveTableError: the contents are invalid, or `folder` is something else than a curve table.
    """
    values, kinds = checked(frames, all_epochs)
    place = Path(folder).resolve()
    if place.exists() and not (place / MANIFEST).is_file() and (place.is_file() or any(place.iterdir())):
        raise CurveTableError(
            f"{folder} exists and is no curve table; nothing was written. Give another folder."
        )
    fresh = place.with_name(f".{place.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for name in FILES:
        _write(fresh / f"{name}.parquet", *_sorted(name, values), kinds[name])
    manifest = Manifest.of(
        values,
        fresh,
        source=source,
        licence=licence or "unstated",
        notes=tuple(notes),
        all_epochs=all_epochs,
    )
    write_json(fresh / MANIFEST, manifest.to_dict())
    _replace(place, fresh)
    return CurveTable.load(folder)


def _sorted(name: str, values: Mapping[str, Values]) -> tuple[Values, list[str]]:
    """The columns of a file in the table's order of rows, and the row group of every row."""
    own = values[name]
    if name == "datasets":
        datasets = [""] * len(own["dataset"])  # one row group
        order = sorted(range(len(datasets)), key=own["dataset"].__getitem__)
    else:
        of_run = dict(zip(values["configs"]["run_id"], values["configs"]["dataset"], strict=True))
        runs = own["run_id"]
        datasets = [of_run[run] for run in runs]
        epochs = own.get("epoch", [0] * len(runs))
        order = sorted(range(len(runs)), key=lambda row: (datasets[row], runs[row], epochs[row]))
    columns = {column: [cells[row] for row in order] for column, cells in own.items()}
    return columns, [datasets[row] for row in order]


def _write(path: Path, columns: Values, datasets: Sequence[str], kinds: Mapping[str, str]) -> None:
    """One Parquet file with a row group per dataset, whose names are in the file's metadata."""
    groups = [(name, len(list(rows))) for name, rows in groupby(datasets)]
    metadata = {ROW_GROUPS: json.dumps([name for name, _ in groups])}
    schema = pa.schema([(name, ARROW[kind]) for name, kind in kinds.items()], metadata=metadata)
    start = 0
    with path.open("wb") as file:
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            for _, rows in groups:
                part = {name: cells[start : start + rows] for name, cells in columns.items()}
                writer.write_table(_arrow(part, schema), row_group_size=rows)
                start += rows
        file.flush()
        os.fsync(file.fileno())


def _arrow(columns: Mapping[str, list[Any]], schema: pa.Schema) -> pa.Table:
    arrays = [pa.array(columns[field.name], field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _replace(folder: Path, fresh: Path) -> None:
    """Put `fresh` in the place of `folder`."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
