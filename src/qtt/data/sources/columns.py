"""Tables of images, and which of their columns hold file, label, split and group."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qtt.data.image_types import FIRST_EXTENSIONS, LATER_EXTENSIONS
from qtt.errors import ConfigError, DatasetError, unknown

TABLES = (".csv", ".tsv", ".parquet")
ROLES = ("file", "label", "split", "group")

NAMES: Mapping[str, tuple[str, ...]] = {
    "file": (
        *("file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "image_name"),
        *("imagename", "image_file", "img", "img_path", "img_name", "path", "image_id", "imageid", "id"),
    ),
    "label": (
        *("label", "labels", "class", "class_name", "classname", "category", "target", "species", "breed"),
        *("label_name", "diagnosis", "dx", "class_id", "label_id", "y"),
    ),
    "split": ("split", "set", "subset", "partition", "dataset_split"),
    "group": ("group", "group_id"),
}
"""Names of columns in lower case, with _ in place of spaces and hyphens, the likeliest first."""

SPLIT_NAMES: Mapping[str, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What splits are called, in lower case."""


def read_table(path: Path) -> Any:
    """A data frame of text, empty where a value is missing.

    Columns of a CSV file without a head are called "column 1", "column 2", ….

    Raises:
        DatasetError: the file is no table, or is no UTF-8.
    """
    import pandas as pd

    try:
        if path.suffix.lower() == ".parquet":
            frame = pd.read_parquet(path)
            return frame.apply(lambda column: column.map(_text)) if len(frame) else frame
        with path.open(encoding="utf-8-sig") as file:
            first = file.readline().rstrip("\r\n")
        separator = max(",;\t|", key=first.count)
        cells = [cell.strip().strip('"') for cell in first.split(separator)]
        headless = any(cell.lower().endswith(FIRST_EXTENSIONS + LATER_EXTENSIONS) for cell in cells)
        frame = pd.read_csv(
            path,
            sep=separator,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            header=None if headless else "infer",
        )
    except UnicodeDecodeError as error:
        raise DatasetError(f"Table {path} is no UTF-8 ({error.reason}). Save it as UTF-8.") from error
    except (OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DatasetError(f"Table {path} cannot be read: {reason}.") from error
    if headless:
        frame.columns = [f"column {number + 1}" for number in range(frame.shape[1])]
    frame.columns = [str(name).strip() for name in frame.columns]
    return frame.apply(lambda column: column.fillna("").str.strip())


def find_columns(frame: Any, named: Mapping[str, str], where: Path | str) -> dict[str, str]:
    """The columns of a table by role: `file` and `label`, and where there are any `split` and `group`.

    named: those that the user named.

    Raises:
        ConfigError: a named column is not there.
        DatasetError: file or label cannot be told.
    """
    names = list(map(str, frame.columns))
    for role, name in named.items():
        if name not in names:
            raise ConfigError(f"dataset.{role}_column: {unknown(f'column of {where}', name, names)}")
    found = dict(named)
    for role in ROLES:
        left = [name for name in names if name not in found.values()]
        guess = found.get(role) or _by_name(role, left)
        if guess is None and role == "file":
            guess = next((name for name in left if _are_files(frame[name])), None)
        if guess is None and role == "label" and len(left) == 1:
            guess = left[0]
        if role == "split" and role not in named and guess is not None and not _are_splits(frame[guess]):
            guess = None
        if guess is not None:
            found[role] = guess
    missing = [role for role in ("file", "label") if role not in found]
    if missing:
        raise DatasetError(
            f"Which column of {where} holds the {' and which the '.join(missing)}? It has "
            f"{', '.join(names[:20]) or 'no columns'}. Name it: "
            + " ".join(f"dataset.{role}_column=NAME" for role in missing)
        )
    return {role: found[role] for role in ROLES if role in found}


def _by_name(role: str, names: Sequence[str]) -> str | None:
    plain = {name.lower().replace(" ", "_").replace("-", "_"): name for name in reversed(names)}
    return next((plain[known] for known in NAMES[role] if known in plain), None)


def _are_files(column: Any) -> bool:
    values = [str(value).lower() for value in column[:20]]
    return bool(values) and all(value.endswith(FIRST_EXTENSIONS + LATER_EXTENSIONS) for value in values)


def _are_splits(column: Any) -> bool:
    values = {str(value).lower() for value in column.unique()} - {""}
    return bool(values & SPLIT_NAMES.keys())


def _text(value: Any) -> str:
    """A cell of a Parquet file as text; whole numbers without a point, nothing for what is missing."""
    if value is None or value != value:  # NaN differs from itself
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
