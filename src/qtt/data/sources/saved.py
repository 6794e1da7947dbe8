"""Hugging Face datasets saved on disk (`save_to_disk`): their images are written out once, with a table."""

import csv
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from qtt.data.cached_folder import cached_folder
from qtt.data.sources.columns import NAMES
from qtt.errors import ConfigError, DatasetError, unknown

MARKS = ("dataset_dict.json", "state.json")
TABLE = "labels.csv"
COLUMNS = {"file": "file", "label": "label", "split": "split", "group": "group"}
"""Of the table that is written."""

NEEDED = (
    "{path} is a saved Hugging Face dataset, and the package that reads those is not installed: "
    "pip install 'qtt[datasets]'"
)


def is_saved_dataset(path: Path) -> bool:
    """Whether a folder was written by `save_to_disk`."""
    return any((path / mark).is_file() for mark in MARKS)


def exported_table(path: Path, named: Mapping[str, str]) -> Path:
    """The table of a saved dataset's images, which are in files beside it, below the user's cache.

    Written at the first call, and whole or not at all. Images stay encoded as they are. The folder's name
    follows from what the dataset holds and from the columns, and times of the files are the dataset's, so
    that the same dataset gives the same list in every process.

    named: columns, see `Source.columns`.

    Raises:
        DatasetError: the extra `datasets` is missing, the dataset is damaged, or has no images or labels.
        ConfigError: a column that was named is not there, or the user's cache cannot be written to.
    """
    name = f"datasets/{path.name}-{_key(path, named)}"
    return cached_folder(name, lambda folder: _write(path, named, folder)) / TABLE


def _key(path: Path, named: Mapping[str, str]) -> str:
    """A hash of the dataset's fingerprints, the names and sizes of its files, and the columns."""
    parts = [repr(sorted(named.items()))]
    for file in sorted(file for file in path.rglob("*") if file.is_file()):
        parts.append(f"{file.relative_to(path).as_posix()} {file.stat().st_size}")
        if file.name == "state.json":
            parts.append(file.read_text(encoding="utf-8"))
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _write(path: Path, named: Mapping[str, str], folder: Path) -> None:
    """Write the images and the table into an empty folder."""
    splits = _load(path)
    time = max(file.stat().st_mtime_ns for file in path.rglob("state.json"))
    with (folder / TABLE).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        columns = _columns(next(iter(splits.values())), named, path)
        writer.writerow([COLUMNS[role] for role in COLUMNS if role in columns or role == "split"])
        for split, data in splits.items():
            writer.writerows(_rows(data, split, columns, folder, path))
    for written in folder.rglob("*"):
        if written.is_file():
            os.utime(written, ns=(time, time))


def _load(path: Path) -> dict[str, Any]:
    """The dataset's splits by name."""
    try:
        from datasets import DatasetDict, load_from_disk
    except ImportError as error:
        raise DatasetError(NEEDED.format(path=path)) from error
    try:
        found = load_from_disk(str(path))
    except Exception as error:  # of Arrow, JSON, the file system and of datasets itself
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DatasetError(f"{path} cannot be read as a saved Hugging Face dataset: {reason}.") from error
    splits = dict(found) if isinstance(found, DatasetDict) else {"train": found}
    splits = {name: data for name, data in splits.items() if len(data)}
    if not splits:
        raise DatasetError(f"{path} is a saved Hugging Face dataset without rows.")
    return splits


def _columns(data: Any, named: Mapping[str, str], path: Path) -> dict[str, str]:
    """Columns of image, label and group by role."""
    from datasets import ClassLabel, Image

    features = dict(data.features)
    for role, name in named.items():
        if name not in features:
            raise ConfigError(f"dataset.{role}_column: {unknown(f'column of {path}', name, features)}")
    pictures = [name for name, kind in features.items() if isinstance(kind, Image)]
    classes = [name for name, kind in features.items() if isinstance(kind, ClassLabel)]
    by_name = [name for known in NAMES["label"] for name in features if name.lower() == known]
    found = dict(named)
    if "file" not in found and pictures:
        found["file"] = pictures[0]
    if "label" not in found and (classes or by_name):
        found["label"] = (classes + by_name)[0]
    if "group" not in found and "group" in features:
        found["group"] = "group"
    for role, kind in (("file", "images"), ("label", "labels")):
        if role not in found:
            raise DatasetError(
                f"{path} has no column that is known to hold {kind}; it has {', '.join(features)}. "
                f"Name it: dataset.{role}_column=NAME"
            )
    return found


def _rows(data: Any, split: str, columns: Mapping[str, str], folder: Path, path: Path) -> Iterator[list[str]]:
    """Rows of the table; the image of each is written."""
    from datasets import Image

    image, label = columns["file"], columns["label"]
    if not isinstance(data.features[image], Image):
        raise DatasetError(f"Column '{image}' of {path} holds no images: its type is {data.features[image]}.")
    kept = data.select_columns(list(dict.fromkeys(columns.values()))).cast_column(image, Image(decode=False))
    name_of = getattr(data.features[label], "int2str", str)
    (folder / split).mkdir()
    for number, row in enumerate(kept):
        content = (row[image] or {}).get("bytes")
        if content is None:
            raise DatasetError(
                f"Row {number} of '{split}' in {path} names an image file and does not hold it. "
                "Save the dataset again with its images: load it and call save_to_disk."
            )
        suffix = Path(row[image]["path"] or "").suffix or ".img"
        file = folder / split / f"{number:07d}{suffix}"
        file.write_bytes(content)
        value = row[label]
        unlabelled = value is None or (isinstance(value, int) and value < 0)
        cells = {"file": f"{split}/{file.name}", "label": "" if unlabelled else name_of(value)}
        cells["split"] = row[columns["split"]] if "split" in columns else split
        if "group" in columns:
            cells["group"] = str(row[columns["group"]])
        yield [cells[role] for role in COLUMNS if role in cells]
