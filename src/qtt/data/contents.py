"""What a dataset holds, to notice when it changes."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from qtt.data.listed import SPLITS, ImageFolder
from qtt.data.walking import Stamp, name_within, shown

SHOWN = 3
"""Names that a message gives."""


def describe_contents(folder: ImageFolder) -> str:
    """Training and validation in words and as a hash of relative paths and sizes.

    It neither changes with the place of the folder nor with times, so a copy is the same dataset. File
    contents are not read: that would take as long as an epoch. An image replaced by another of equal size
    goes unnoticed here; within a process `changes` finds it by its time. Where a table labels the images,
    their labels and splits are hashed too, for their names do not tell them.
    """
    lines = _facts(folder) if folder.table is not None else _sizes(folder)
    digest = hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
    return (
        f"{len(folder.train)} training and {len(folder.val)} validation images, names and sizes {digest[:16]}"
    )


def _sizes(folder: ImageFolder) -> Iterator[str]:
    sizes = {
        Path(path).relative_to(folder.root).as_posix(): size for path, (size, _) in folder.learned.items()
    }
    yield from (f"{path}\0{size}\n" for path, size in sorted(sizes.items()))


def _facts(folder: ImageFolder) -> Iterator[str]:
    for split in SPLITS[:2]:
        for path, label in folder.split(split):
            size, _ = folder.stamps[str(path)]
            yield f"{name_within(folder.root, path)}\0{size}\0{folder.class_names[label]}\0{split}\n"


def changes(before: Mapping[str, Stamp], after: Mapping[str, Stamp], root: Path) -> str:
    """What differs between two lists of files, in words with some names; empty where nothing does."""
    if before == after:
        return ""
    kinds = {
        "added": sorted(after.keys() - before.keys()),
        "removed": sorted(before.keys() - after.keys()),
        "changed": sorted(path for path in before.keys() & after.keys() if before[path] != after[path]),
    }
    return "; ".join(f"{len(paths)} {kind} ({_named(paths, root)})" for kind, paths in kinds.items() if paths)


def _named(paths: Sequence[str], root: Path) -> str:
    names = [shown(name_within(root, path)) for path in paths[:SHOWN]]
    return ", ".join(names) + (", …" if len(paths) > SHOWN else "")
