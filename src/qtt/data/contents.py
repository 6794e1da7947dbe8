"""What a dataset holds, to notice when it changes."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from qtt.data.image_folder import ImageFolder, Stamp

SHOWN = 3
"""Names that a message gives."""


def describe_contents(folder: ImageFolder) -> str:
    """Training and validation in words and as a hash of relative paths and sizes.

    It neither changes with the place of the folder nor with times, so a copy is the same dataset. File
    contents are not read: that would take as long as an epoch. An image replaced by another of equal size
    goes unnoticed here; within a process `changes` finds it by its time.
    """
    sizes = {
        Path(path).relative_to(folder.root).as_posix(): size for path, (size, _) in folder.learned.items()
    }
    lines = (f"{path}\0{size}\n" for path, size in sorted(sizes.items()))
    digest = hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
    return (
        f"{len(folder.train)} training and {len(folder.val)} validation images, names and sizes {digest[:16]}"
    )


def changes(before: Mapping[str, Stamp], after: Mapping[str, Stamp], root: Path) -> str:
    """What differs between two lists of images, in words with some names; empty where nothing does."""
    if before == after:
        return ""
    kinds = {
        "added": sorted(after.keys() - before.keys()),
        "removed": sorted(before.keys() - after.keys()),
        "changed": sorted(path for path in before.keys() & after.keys() if before[path] != after[path]),
    }
    return "; ".join(f"{len(paths)} {kind} ({_named(paths, root)})" for kind, paths in kinds.items() if paths)


def _named(paths: Sequence[str], root: Path) -> str:
    names = [Path(path).relative_to(root).as_posix() for path in paths[:SHOWN]]
    return ", ".join(names) + (", …" if len(paths) > SHOWN else "")
