"""The manifest of a curve table: where it comes from, what it holds, and the sha256 of its files."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from qtt.curves.schema import FILES, STATUSES
from qtt.curves.validation import Values
from qtt.errors import ConfigError, CurveTableError
from qtt.json_rules import Kinds, check_fields
from qtt.support.files import file_sha256, read_json

MANIFEST = "manifest.json"
FORMAT = 1
ALL_EPOCHS, LAST_EPOCH = "all", "last"

LONGEST = 1_000_000
"""No run has more epochs."""

KINDS: Kinds = {
    **dict.fromkeys(("source", "licence", "epochs"), str),
    **dict.fromkeys(("counts", "sha256"), dict),
    "longest": int,
    "seconds": float,
    "notes": list,
    "format": int,
}
"""Of the values of a manifest."""


@dataclass(frozen=True)
class Manifest:
    """What is known of a curve table without opening its files.

    epochs: "all", or "last" where only each run's last recorded epoch is known; those runs are no curves.
    counts: datasets, runs, runs of each status, and `epochs`, the rows of curves.
    longest: the largest epoch of the table.
    seconds: of all recorded epochs.
    notes: what a user of the table must know.
    sha256: of every file.
    """

    source: str
    licence: str
    epochs: str
    counts: Mapping[str, int]
    longest: int
    seconds: float
    notes: tuple[str, ...]
    sha256: Mapping[str, str]
    format: int = FORMAT

    def to_dict(self) -> dict[str, Any]:
        """JSON-able dict; inverse of `read`."""
        return asdict(self)

    @classmethod
    def of(
        cls,
        values: Mapping[str, Values],
        folder: Path,
        *,
        source: str,
        licence: str,
        notes: tuple[str, ...],
        all_epochs: bool,
    ) -> Self:
        """The manifest of valid contents, whose files have been written to `folder`."""
        curves, statuses = values["curves"], Counter(values["runs"]["status"])
        return cls(
            source=source,
            licence=licence,
            epochs=ALL_EPOCHS if all_epochs else LAST_EPOCH,
            counts={
                "datasets": len(set(values["configs"]["dataset"])),
                "runs": len(values["runs"]["run_id"]),
                **{status: statuses[status] for status in STATUSES},
                "epochs": len(curves["epoch"]),
            },
            longest=max(curves["epoch"], default=0),
            seconds=math.fsum(curves["seconds"]),
            notes=notes,
            sha256={f"{name}.parquet": file_sha256(folder / f"{name}.parquet") for name in FILES},
        )

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The manifest of a table, whose files are there and are those that were written.

        Raises:
            CurveTableError: no table, one of another format, or files that are missing or changed.
        """
        path = folder / MANIFEST
        if not path.is_file():
            raise CurveTableError(f"{folder} is no curve table: it has no {MANIFEST}.")
        try:
            data = check_fields(read_json(path), KINDS, "It")
            if data["format"] != FORMAT:
                raise CurveTableError(f"{path} has format {data['format']}; this version reads {FORMAT}.")
            manifest = cls(
                **{field.name: data[field.name] for field in fields(cls)} | {"notes": (*data["notes"],)}
            )
            if not 0 <= manifest.longest <= LONGEST:
                raise ValueError(f"longest is {manifest.longest}")
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise CurveTableError(f"{path} cannot be read: {type(error).__name__}: {error}.") from error
        for name in FILES:
            file = folder / f"{name}.parquet"
            if not file.is_file():
                raise CurveTableError(f"The curve table {folder} lacks {file.name}.")
            if file_sha256(file) != manifest.sha256.get(file.name):
                raise CurveTableError(
                    f"{file} is not the file that {MANIFEST} describes; write the table anew."
                )
        return manifest
