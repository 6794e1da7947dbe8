"""Which layout a dataset has: recognised once, and then written down, so that no process guesses again."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qtt.data.sources.columns import NAMES, SPLIT_NAMES, TABLES, find_columns, read_table
from qtt.data.sources.saved import is_saved_dataset
from qtt.data.sources.source import Source
from qtt.data.sources.table import ImageFinder
from qtt.data.trees import TREES
from qtt.data.walking import LATEST, entries, holds_images, shown, subfolders
from qtt.errors import DatasetError, QTTError

DEPTH = 4
"""Folders with nothing but one folder in them that are entered."""

PROBED = 20
"""Rows of a table whose files must be there for it to count as the labels of a folder."""

Layout = dict[str, Any]
"""JSON-able: `layout` (splits, classes, table, saved) and what that needs; see `qtt.data.sources.opening`."""


def detect(source: Source) -> tuple[Path, Layout]:
    """The dataset's own path and its layout.

    Raises:
        DatasetError: there is nothing, or nothing that is understood.
        ConfigError: a column that was named is not there.
    """
    path = source.path
    if path.is_file():
        if path.suffix.lower() not in TABLES:
            raise DatasetError(
                f"{path} is neither a folder nor a table ({', '.join(TABLES)}).\n"
                f"{TREES.format(root=path.parent)}"
            )
        return path, _table(path, source)
    if not path.is_dir():
        raise DatasetError(f"There is no dataset folder at {path}.\n{TREES.format(root=path)}")
    if source.needs_table:
        return _labelled_folder(path, source)
    root = path
    for _ in range(DEPTH):
        found = _of_folder(root)
        if found is not None:
            return found
        inner = [folder for folder in subfolders(root, LATEST) if holds_images(folder) or _is_deep(folder)]
        if len(inner) != 1:
            break
        root = inner[0]
    raise DatasetError(f"{shown(root)}: {_what_it_holds(root)}.\n{TREES.format(root=shown(path))}")


def split_folders(root: Path) -> dict[str, str]:
    """Names of the folders of splits by split; the plain names before others."""
    found: dict[str, str] = {}
    known = list(SPLIT_NAMES)
    folders = [folder.name for folder in subfolders(root, LATEST) if folder.name.lower() in known]
    for name in sorted(folders, key=lambda name: (name not in known, known.index(name.lower()), name)):
        found.setdefault(SPLIT_NAMES[name.lower()], name)
    return found


def _of_folder(root: Path) -> tuple[Path, Layout] | None:
    """The layout of a folder itself, None where it may be that of a folder within."""
    if is_saved_dataset(root):
        return root, {"layout": "saved", "columns": {}}
    names = split_folders(root)
    if "train" in names and subfolders(root / names["train"], LATEST):
        return root, {"layout": "splits", "names": names}
    table = _table_in(root)
    if table is not None:
        return table, _table(table, Source(table))
    siblings = [f for f in subfolders(root, LATEST) if f.name not in names.values() and holds_images(f)]
    if "train" in names and not siblings:
        return root, {"layout": "splits", "names": names}  # which says what is wrong with it
    classes = [folder for folder in subfolders(root, LATEST) if holds_images(folder)]
    return (root, {"layout": "classes"}) if len(classes) >= 2 else None


def _is_deep(folder: Path) -> bool:
    """Whether a folder may be the root of something that holds no image files: a saved dataset."""
    return is_saved_dataset(folder)


def _table(path: Path, source: Source) -> Layout:
    columns = find_columns(read_table(path), source.columns, path)
    images = None if source.images is None else os.path.relpath(source.images, path.parent.resolve())
    return {"layout": "table", "columns": columns, "images": images}


def _labelled_folder(path: Path, source: Source) -> tuple[Path, Layout]:
    """A folder with options of tables: the one table in it, or a saved dataset."""
    if is_saved_dataset(path):
        return path, {"layout": "saved", "columns": source.columns}
    tables = _tables(path)
    if len(tables) == 1:
        return tables[0], _table(tables[0], source)
    several = f"several tables: {', '.join(table.name for table in tables)}" if tables else "no table"
    raise DatasetError(
        f"{path} holds {several}, but dataset.images and columns are of one. "
        f"Name it: dataset.path={path}/TABLE.csv"
    )


def _table_in(root: Path) -> Path | None:
    """The table that labels the images of a folder: its columns are known, and its files are there.

    Raises:
        DatasetError: there are several.
    """
    found = [table for table in _tables(root) if _labels(table)]
    if len(found) > 1:
        commands = "".join(f"\n  dataset.path={table}" for table in found)
        raise DatasetError(f"{root} holds several tables of images and labels. Name one:{commands}")
    return found[0] if found else None


def _tables(root: Path) -> list[Path]:
    names = [e.name for e in entries(root, LATEST) if not e.is_dir() and e.name.lower().endswith(TABLES)]
    return [root / name for name in names]


def _labels(table: Path) -> bool:
    try:
        frame = read_table(table)
        columns = find_columns(frame, {}, table)
    except QTTError:
        return False
    label = columns["label"].lower().replace(" ", "_").replace("-", "_")
    if label not in NAMES["label"] and len(frame.columns) != 2:
        return False
    finder = ImageFinder(table.parent)
    files = [name for name in frame[columns["file"]][:PROBED].tolist() if name]
    return bool(files) and all(finder.find(name) is not None for name in files)


def _what_it_holds(path: Path) -> str:
    """What is there in place of a dataset, in words."""
    listed = entries(path, LATEST)
    images = sum(entry.name.lower().endswith(LATEST.extensions) for entry in listed if not entry.is_dir())
    folders = [Path(entry.path) for entry in listed if entry.is_dir()]
    if images and not folders:
        return (
            f"{images} images without labels: they lie in no class folders, and no table gives their classes"
        )
    filled = [folder.name for folder in folders if holds_images(folder)]
    if not images and not filled:
        return f"no images ({', '.join(LATEST.extensions)})"
    places = ", ".join(map(shown, filled[:5])) or "the folder itself"
    return f"images in {places}, in no layout that is understood"


def names_of(layout: Mapping[str, Any]) -> dict[str, str]:
    """Folder names of the splits of a layout."""
    return dict(layout.get("names") or {name: name for name in ("train", "val", "test")})
