"""A dataset as it was listed: which image belongs to which split and class, and what was not taken."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from qtt.data.splitting import Sample
from qtt.data.trees import TREES
from qtt.data.walking import (
    FIRST,
    PassedOver,
    Rules,
    Stamp,
    name_within,
    same_name,
    shown,
    stamps_of,
    subfolders,
    walk_images,
)
from qtt.errors import DatasetError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class ImageFolder:
    """The splits of a dataset; class names are sorted, samples ordered by class and file name.

    stamps: of every image by its path, when it was listed. layout: where labels and splits come from, in
    words. passed: what is no image. notes: what was left aside, in sentences. walked: the folders that hold
    training and validation images, by `rules`, without the names in `skip`; none where a table names them.
    table: the table that labels them. missing: files that it names and that are not there. drawn: whether
    validation was split off at random.
    """

    root: Path
    class_names: tuple[str, ...]
    train: tuple[Sample, ...]
    val: tuple[Sample, ...]
    test: tuple[Sample, ...]
    stamps: Mapping[str, Stamp] = field(default_factory=dict)
    layout: str = ""
    passed: PassedOver = field(default_factory=PassedOver)
    notes: tuple[str, ...] = ()
    walked: tuple[Path, ...] = ()
    rules: Rules = FIRST
    skip: frozenset[str] = frozenset()
    table: Path | None = None
    missing: tuple[str, ...] = ()
    drawn: bool = False

    @cached_property
    def learned(self) -> Mapping[str, Stamp]:
        """Stamps of training and validation images; see `stamp_images`."""
        return {str(path): self.stamps[str(path)] for path, _ in (*self.train, *self.val)}

    @cached_property
    def watched(self) -> Mapping[str, Stamp]:
        """Stamps of the files that a search depends on: `learned`, and the table."""
        table = {} if self.table is None else {str(self.table): self.stamps[str(self.table)]}
        return {**self.learned, **table}

    def split(self, name: str) -> tuple[Sample, ...]:
        """The samples of `train`, `val` or `test`."""
        return {"train": self.train, "val": self.val, "test": self.test}[name]


def stamp_images(folder: ImageFolder) -> dict[str, Stamp]:
    """Paths of all images of training and validation, and of their table, now; faster than a whole scan.

    Raises:
        DatasetError: a folder cannot be listed, or an image is a link that leads nowhere.
    """
    if folder.table is not None:
        return stamps_of(folder.watched)
    found: dict[str, Stamp] = {}
    for place in folder.walked:
        if place.is_dir():
            for part in subfolders(place, folder.rules):
                found |= walk_images(part, folder.rules)
    if not folder.skip:
        return found
    return {p: stamp for p, stamp in found.items() if shown(name_within(folder.root, p)) not in folder.skip}


def check_fraction(val_fraction: float) -> None:
    """Refuse an impossible share."""
    if not 0 < val_fraction < 1:
        raise DatasetError(f"val_fraction must lie between 0 and 1; got {val_fraction}.")


def check_validation(root: Path, val: Sequence[Sample]) -> None:
    """Refuse a dataset that nothing can be measured on."""
    if not val:
        raise DatasetError(f"{root} leaves no image for validation: no class has two images.")


def check_classes(root: Path, class_names: Sequence[str]) -> None:
    """Refuse fewer than two classes, and names that are no text or differ in their Unicode form alone."""
    if not class_names:
        raise DatasetError(f"{root} has no class folders.\n{TREES.format(root=root)}")
    if len(class_names) == 1:
        raise DatasetError(
            f"{root} has the single class '{shown(class_names[0])}'; "
            f"classification needs at least two.\n{TREES.format(root=root)}"
        )
    seen: dict[str, str] = {}
    for name in class_names:
        if shown(name) != name:
            raise DatasetError(
                f"The name of class {shown(name)} in {shown(root)} is no UTF-8. It was written in "
                "another encoding; rename it."
            )
        if same_name(name) in seen:
            raise DatasetError(
                f"{root} has two classes '{name}', whose names differ in their Unicode form alone. "
                "Merge them."
            )
        seen[same_name(name)] = name


def listed_names(names: Sequence[str], most: int = 10) -> str:
    """Some names, for a message."""
    return ", ".join(map(shown, names[:most])) + (f", … ({len(names)})" if len(names) > most else "")
