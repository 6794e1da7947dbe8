"""A folder with train.csv and, where there are any, val.csv and test.csv; the last column is the class."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from qtt.data.user_cache import user_cache
from qtt.errors import DatasetError

LAYOUT = """Expected:
  {root}/train.csv    one row per example, numbers, and the class in the last column
  {root}/val.csv      optional: a share of train is used where it is absent
  {root}/test.csv     optional"""


@dataclass(frozen=True, eq=False)
class Split:
    """Rows with labels. x: (n, d). y: (n,) positions in the class names; -1 where a class is unknown."""

    x: NDArray[np.float64]
    y: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, eq=False)
class Tables:
    """A dataset. columns: names of the d features. test: None where there is none."""

    columns: tuple[str, ...]
    class_names: tuple[str, ...]
    train: Split
    val: Split
    test: Split | None


def read_tables(root: Path | str, val_fraction: float, seed: int) -> Tables:
    """Read a dataset, and split a validation share off train where there is no val.csv.

    Raises:
        DatasetError: a file is missing, or holds no table of numbers with at least two classes.
    """
    root = Path(root)
    if not (root / "train.csv").is_file():
        raise DatasetError(f"There is no train.csv in {root}.\n{LAYOUT.format(root=root)}")
    train = read_rows(root / "train.csv")
    label, columns = train.columns[-1], tuple(train.columns[:-1])
    names = tuple(sorted(train[label].astype(str).unique()))
    if len(names) < 2:
        raise DatasetError(f"{root / 'train.csv'} has one class alone in its last column, '{label}'.")
    held_out = root / "val.csv"
    if held_out.is_file():
        val = read_rows(held_out)
    else:
        train, val = train_test_split(train, test_size=val_fraction, random_state=seed, stratify=train[label])
    test = read_rows(root / "test.csv") if (root / "test.csv").is_file() else None
    found = [None if rows is None else labelled(rows, columns, names) for rows in (train, val, test)]
    assert found[0] is not None and found[1] is not None
    return Tables(columns, names, found[0], found[1], found[2])


def read_rows(path: Path) -> pd.DataFrame:
    """The table of a CSV file.

    Raises:
        DatasetError: it cannot be read.
    """
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read as a table: {error}") from error


def numbers(rows: pd.DataFrame, columns: tuple[str, ...]) -> NDArray[np.float64]:
    """The features of rows, (n, d).

    Raises:
        DatasetError: a column is missing, or holds something else than numbers.
    """
    missing = [name for name in columns if name not in rows]
    if missing:
        raise DatasetError(
            f"The table lacks the columns {', '.join(missing)}; it has {', '.join(rows.columns)}."
        )
    try:
        values = rows[list(columns)].to_numpy(float)
    except ValueError as error:
        raise DatasetError(f"The table holds what is no number: {error}") from error
    if not np.isfinite(values).all():
        raise DatasetError("The table has empty cells; fill them first.")
    return values


def labelled(rows: pd.DataFrame, columns: tuple[str, ...], class_names: tuple[str, ...]) -> Split:
    """Rows of which the last column that is no feature is the class."""
    label = next(name for name in reversed(rows.columns) if name not in columns)
    place = {name: i for i, name in enumerate(class_names)}
    y = np.array([place.get(str(value), -1) for value in rows[label]], dtype=np.int64)
    return Split(numbers(rows, columns), y)


def wine(cache_dir: str | None = None) -> Path:
    """Chemical analyses of 178 wines of three cultivars, which scikit-learn ships, as a folder of tables."""
    from sklearn.datasets import load_wine

    folder = Path(cache_dir or user_cache()) / "wine"
    rows = load_wine(as_frame=True).frame
    train, test = train_test_split(rows, test_size=0.3, random_state=0, stratify=rows["target"])
    folder.mkdir(parents=True, exist_ok=True)
    train.to_csv(folder / "train.csv", index=False)
    test.to_csv(folder / "test.csv", index=False)
    return folder
