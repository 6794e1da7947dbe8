"""A table that names images and their labels, and where it says so their splits and groups."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qtt.data.image_types import image_extensions
from qtt.data.listed import (
    SPLITS,
    ImageFolder,
    check_classes,
    check_fraction,
    check_validation,
    listed_names,
)
from qtt.data.sources.columns import SPLIT_NAMES, find_columns, read_table
from qtt.data.splitting import Sample, split_off
from qtt.data.walking import LATEST, Stamp, name_within, same_name, shown, stamps_of, walk_images
from qtt.errors import DatasetError


@dataclass
class _Rows:
    """The rows of one split: samples, their groups, and labels by name."""

    paths: list[Path] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)

    def samples(self, class_names: Sequence[str]) -> tuple[Sample, ...]:
        """By class and file, as in folders."""
        index = {name: label for label, name in enumerate(class_names)}
        return tuple((path, index[label]) for path, label in zip(self.paths, self.labels, strict=True))


def scan_table(
    path: Path,
    val_fraction: float,
    seed: int,
    *,
    columns: Mapping[str, str],
    images: Path | None = None,
    skip: frozenset[str] = frozenset(),
) -> ImageFolder:
    """List the images of a table, and split a validation share off where no row is called validation.

    columns: see `find_columns`. images: folder that the files are relative to; None: the table's.
        A file may lack its extension, or the folders that it lies in where its name is there once.

    Raises:
        DatasetError: no table, columns that cannot be told, images that are not there, an image with two
            labels, fewer than two classes, or nothing to validate on.
        ConfigError: a column that was named is not there.
    """
    check_fraction(val_fraction)
    root = path.parent if images is None else images
    if not root.is_dir():
        raise DatasetError(f"There is no folder of images at {root}.")
    frame = read_table(path)
    columns = find_columns(frame, columns, path)
    finder = ImageFinder(root)
    reader = _Reader(path, finder, skip)
    splits = reader.rows(frame, columns)
    class_names = tuple(sorted(set(splits["train"].labels)))
    check_classes(path, class_names)
    strange = sorted(set(splits["val"].labels) - set(class_names))
    if strange:
        raise DatasetError(
            f"{path} has validation images of classes that it has no training images of: "
            f"{listed_names(strange)}."
        )
    train, groups = splits["train"].samples(class_names), splits["train"].groups
    val = splits["val"].samples(class_names)
    drawn = not val
    if drawn:
        train, val = split_off(train, val_fraction, seed, groups if "group" in columns else None)
    check_validation(path, val)
    test = _known(splits["test"], class_names, reader.notes)
    stamps = {**finder.stamps, str(path): _stamp(path)}
    return ImageFolder(
        root,
        class_names,
        train,
        val,
        test,
        stamps,
        layout="table " + ", ".join(f"{role} from column '{name}'" for role, name in columns.items()),
        notes=tuple(reader.notes),
        rules=LATEST,
        skip=skip,
        table=path,
        missing=tuple(reader.missing),
        drawn=drawn,
    )


class ImageFinder:
    """Finds the files that a table names below a folder.

    stamps: of those that were found.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.stamps: dict[str, Stamp] = {}
        self._names: dict[str, str | None] | None = None

    def find(self, name: str) -> Path | None:
        """The file of that name, an image's extension added where it lacks one; None: it is not there."""
        for suffix in ("", *image_extensions()):
            path = os.path.normpath(self.root / (name + suffix))
            if self._keep(path):
                return Path(path)
        found = self._index().get(same_name(Path(name).name))
        return Path(found) if found is not None and self._keep(found) else None

    def _keep(self, path: str) -> bool:
        """Whether a file is there; its stamp is kept."""
        found = stamps_of([path])
        self.stamps |= found
        return bool(found)

    def _index(self) -> dict[str, str | None]:
        """Images below the folder by name and by stem; None where there are several of that name."""
        if self._names is None:
            self._names = {}
            for path in walk_images(self.root, LATEST):
                for name in {Path(path).name, Path(path).stem}:
                    key = same_name(name)
                    self._names[key] = None if key in self._names else path
        return self._names


class _Reader:
    """Sorts the rows of a table into splits, and notes what is left aside."""

    def __init__(self, path: Path, finder: ImageFinder, skip: frozenset[str]) -> None:
        self.path = path
        self.finder = finder
        self.skip = skip
        self.notes: list[str] = []
        self.missing: list[str] = []

    def rows(self, frame: Any, columns: Mapping[str, str]) -> dict[str, _Rows]:
        """Rows by split, ordered by label and file."""
        cells = {role: frame[name].tolist() for role, name in columns.items()}
        files, labels = cells["file"], cells["label"]
        splits = cells.get("split", ["train"] * len(files))
        groups = cells.get("group", [""] * len(files))
        unlabelled: Counter[str] = Counter()
        other: Counter[str] = Counter()
        seen: dict[str, tuple[str, str, str]] = {}
        for number, (file, label, split, group) in enumerate(zip(files, labels, splits, groups, strict=True)):
            name = SPLIT_NAMES.get(split.lower())
            if name is None:
                other[split or "none"] += 1
            elif not label:
                unlabelled[name] += 1
            elif (path := self.finder.find(file) if file else None) is None:
                self.missing.append(file or f"row {number + 1}")
            elif shown(name_within(self.finder.root, path)) not in self.skip:
                self._add(seen, str(path), (same_name(label), name, group or f"row {number}"))
        if not seen and self.missing:
            raise missing_images(self.path, self.finder.root, self.missing)
        self._note(unlabelled, other)
        return _by_split(seen)

    def _add(self, seen: dict[str, tuple[str, str, str]], path: str, facts: tuple[str, str, str]) -> None:
        before = seen.setdefault(path, facts)
        if before[:2] != facts[:2]:
            what = "two labels" if before[0] != facts[0] else "two splits"
            first, second = (before[0], facts[0]) if before[0] != facts[0] else (before[1], facts[1])
            raise DatasetError(
                f"{self.path} gives image {shown(path)} {what}: '{first}' and '{second}'. An image has one."
            )

    def _note(self, unlabelled: Counter[str], other: Counter[str]) -> None:
        if self.missing:
            self.notes.append(
                f"{len(self.missing)} images that the table names are not there: "
                f"{listed_names(self.missing, 5)}."
            )
        for split, count in unlabelled.items():
            self.notes.append(f"{count} rows of {split} have no label and are not used.")
        if other:
            counts = listed_names([f"{name} ({count})" for name, count in other.items()])
            self.notes.append(
                f"Rows of no known split are not used: {counts}. Known are train, val and test."
            )


def missing_images(table: Path, root: Path, missing: Sequence[str]) -> DatasetError:
    """The error of a table whose images are not there."""
    return DatasetError(
        f"{len(missing)} images that {table} names are not below {root}: {listed_names(missing, 5)}. Name "
        "the folder that they are relative to: dataset.images=DIR; or the column that holds them: "
        "dataset.file_column=NAME."
    )


def _by_split(seen: Mapping[str, tuple[str, str, str]]) -> dict[str, _Rows]:
    found = {split: _Rows() for split in SPLITS}
    for path, (label, split, group) in sorted(seen.items(), key=lambda item: (item[1][0], item[0])):
        found[split].paths.append(Path(path))
        found[split].labels.append(label)
        found[split].groups.append(group)
    return found


def _known(rows: _Rows, class_names: Sequence[str], notes: list[str]) -> tuple[Sample, ...]:
    """Test images of the classes of training; the others are noted."""
    strange = Counter(label for label in rows.labels if label not in set(class_names))
    if strange:
        counts = listed_names([f"{name} ({count})" for name, count in strange.items()])
        notes.append(f"Test images of classes that are not in train are not used: {counts}.")
    kept = [i for i, label in enumerate(rows.labels) if label not in strange]
    known = _Rows([rows.paths[i] for i in kept], [rows.labels[i] for i in kept])
    return known.samples(class_names)


def _stamp(path: Path) -> Stamp:
    try:
        facts = path.stat()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}.") from error
    return facts.st_size, facts.st_mtime_ns
