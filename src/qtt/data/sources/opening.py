"""Opening a dataset: recognise its layout, list it, and leave out what cannot be read.

A `TaskInfo` carries what another process needs to list the same images without looking again: its `path`, and
`source`, a JSON-able description, empty for a folder of train/<class>, val/<class> and test/<class> whose
images are of the first file types. Its keys:

layout    splits (default), classes, table, saved
rules     2 where the later file types count (see `qtt.data.walking.Rules`); tables and classes always do
names     folders of the splits, where they are not called train, val, test
columns   of a table by role; images: folder that its files are relative to, seen from the table's
skip      images that cannot be read and are left out, by name
max_pixels  see `limit_pixels`
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qtt.data.image_folder import scan_image_folder
from qtt.data.image_types import limit_pixels
from qtt.data.listed import SPLITS, ImageFolder
from qtt.data.scan import ImageFacts, scan_images
from qtt.data.sources.class_folders import scan_class_folders
from qtt.data.sources.detect import detect, names_of
from qtt.data.sources.saved import exported_table
from qtt.data.sources.source import Source
from qtt.data.sources.table import missing_images, scan_table
from qtt.data.walking import FIRST, LATEST, name_within, shown
from qtt.errors import DatasetError
from qtt.types import TaskInfo

NAMED = 10
"""Unreadable images that an error names."""


@dataclass(frozen=True)
class OpenedDataset:
    """A dataset ready for a search.

    path, source: for `TaskInfo`. images: the listing, without those that cannot be read. facts: of every
    image by its path, the unreadable ones included.
    """

    path: Path
    source: Mapping[str, Any]
    images: ImageFolder
    facts: Mapping[str, ImageFacts]


def open_dataset(source: Source, val_fraction: float = 0.2, seed: int = 0) -> OpenedDataset:
    """Find out how a dataset is laid out, list it, and read every image once.

    What was found out about images is kept in the user's cache, so that the next call reads none again that
    did not change.

    Raises:
        DatasetError: it cannot be used, or more than `source.max_bad` of its images cannot be read.
        ConfigError: options that do not fit it.
    """
    path, layout = detect(source)
    path = path.resolve()
    if layout["layout"] == "splits":
        layout = _shortest(path, layout["names"])
    if source.max_pixels is not None:
        layout["max_pixels"] = source.max_pixels
    listing = list_dataset(path, layout, val_fraction, seed)
    named = len(listing.missing) + sum(len(listing.split(split)) for split in SPLITS)
    if len(listing.missing) > source.max_bad * named:
        raise missing_images(path, listing.root, listing.missing)
    facts = scan_images(listing, source.max_pixels)
    bad = {image: facts[image].error or "" for image in sorted(facts) if facts[image].error is not None}
    if len(bad) > source.max_bad * len(facts):
        raise DatasetError(_too_many(listing.root, bad, len(facts), source.max_bad))
    if bad:
        layout["skip"] = sorted(shown(name_within(listing.root, image)) for image in bad)
        listing = list_dataset(path, layout, val_fraction, seed)
    return OpenedDataset(path, layout, listing, facts)


def list_dataset(
    path: Path, source: Mapping[str, Any], val_fraction: float = 0.2, seed: int = 0
) -> ImageFolder:
    """The images of a dataset whose layout is known; the same in every process.

    source: see the module.

    Raises:
        DatasetError: it is not there, or no longer laid out so.
    """
    limit_pixels(source.get("max_pixels"))
    skip = frozenset(source.get("skip", ()))
    kind = source.get("layout", "splits")
    if kind == "splits":
        rules = LATEST if source.get("rules") == LATEST.number else FIRST
        names = names_of(source)
        return scan_image_folder(path, val_fraction, seed, names=names, rules=rules, skip=skip)
    if kind == "classes":
        return scan_class_folders(path, val_fraction, seed, rules=LATEST, skip=skip)
    if kind == "table":
        images = None if source.get("images") is None else (path.parent / source["images"]).resolve()
        return scan_table(path, val_fraction, seed, columns=source["columns"], images=images, skip=skip)
    if kind == "saved":
        table = exported_table(path, source["columns"])
        listing = scan_table(table, val_fraction, seed, columns={}, skip=skip)
        return replace(listing, layout="a saved Hugging Face dataset")
    raise DatasetError(f"The images of {path} are laid out as '{kind}', which a later version of qtt knows.")


def list_task(task: TaskInfo) -> ImageFolder:
    """The images of a task; see `list_dataset`."""
    return list_dataset(Path(task.path), task.source, task.val_fraction, task.seed)


def _shortest(path: Path, names: Mapping[str, str]) -> dict[str, Any]:
    """The description of split folders; empty where the first rules find the same.

    So a search that began before there were others goes on.
    """
    plain = {name: name for name in ("train", "val", "test")}
    layout: dict[str, Any] = {"layout": "splits", "rules": LATEST.number}
    if any(plain[split] != name for split, name in names.items()):
        return layout | {"names": dict(names)}
    listing = list_dataset(path, layout)
    return layout if listing.passed.later else {}


def _too_many(root: Path, bad: Mapping[str, str], images: int, allowed: float) -> str:
    lines = [
        f"\n  {shown(name_within(root, image))}: {reason}" for image, reason in list(bad.items())[:NAMED]
    ]
    more = f"\n  … and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
    return (
        f"{len(bad)} of {images} images below {shown(root)} cannot be read:{''.join(lines)}{more}\n"
        f"Repair or remove them. Up to {allowed:.1%} are left out by themselves; to leave out more: "
        f"dataset.max_bad={_rounded(len(bad) / images)}"
    )


def _rounded(share: float) -> str:
    """A share that is a little larger, in two digits."""
    return f"{min(share * 1.05 + 0.001, 1):.2g}"
