"""Opening the files of a source, with errors that say what is missing or malformed."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from qtt.errors import ConfigError, CurveTableError
from qtt.support.files import read_json
from qtt.types import MetaFeatures


def require(folder: Path, names: Iterable[str], layout: str) -> None:
    """Check that a source's files are there.

    Raises:
        CurveTableError: the folder or a file is missing; layout: what was expected, in words.
    """
    if not folder.is_dir():
        raise CurveTableError(f"There is no folder {folder}, where {layout} is expected.")
    lacking = [name for name in names if not (folder / name).is_file()]
    if lacking:
        raise CurveTableError(f"{folder} lacks {', '.join(lacking)}: it does not hold {layout}.")


def json_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file, where NaN may stand for missing numbers.

    Raises:
        CurveTableError: the file holds something else.
    """
    try:
        data = read_json(path, nan=True)
    except ValueError as error:
        raise CurveTableError(f"{path} is not JSON: {error}.") from error
    if not isinstance(data, dict):
        raise CurveTableError(f"{path} must hold a JSON object, not a {type(data).__name__}.")
    return data


def csv_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file as texts; a first column without a name is called `run_id`.

    Raises:
        CurveTableError: the file is no table, or a row has another number of cells than the header.
    """
    import csv

    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        if not header:
            raise CurveTableError(f"{path} is empty.")
        header[0] = header[0] or "run_id"
        rows = []
        for row in reader:
            if len(row) != len(header):
                raise CurveTableError(
                    f"{path}, line {reader.line_num}: {len(row)} cells instead of {len(header)}."
                )
            rows.append(dict(zip(header, row, strict=True)))
    return rows


def metafeatures(descriptors: Any, where: str) -> MetaFeatures:
    """Meta-features from a list [training images, classes, image size, channels].

    Raises:
        CurveTableError: the list is of another form.
    """
    try:
        train_images, num_classes, image_size, channels = (int(value) for value in descriptors)
        return MetaFeatures(train_images, num_classes, image_size, channels)
    except (TypeError, ValueError, ConfigError) as error:
        raise CurveTableError(
            f"{where}: {descriptors!r} is not [training images, classes, image size, channels]: {error}"
        ) from error
