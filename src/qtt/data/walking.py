"""Images below a folder: which files count, what is passed over, and in which state each one is."""

import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from qtt.data.image_types import FIRST_EXTENSIONS, LATER_EXTENSIONS, image_extensions
from qtt.errors import DatasetError

Stamp = tuple[int, int]
"""Size in bytes and time of the last change in nanoseconds of a file."""

JUNK = frozenset(
    {
        "@eaDir",
        "#recycle",
        "@Recycle",
        "$RECYCLE.BIN",
        "System Volume Information",
        "lost+found",
        "__pycache__",
    }
)
"""Thumbnails and waste that network storage and systems keep among the photos."""

UNSPOKEN = frozenset({"thumbs.db", "desktop.ini", "icon\r"})
"""Files of systems, of which nothing is said."""


@dataclass(frozen=True)
class Rules:
    """What counts as an image. number: 1 for tasks that name no rules, which must find what they had."""

    number: int = 2

    @property
    def extensions(self) -> tuple[str, ...]:
        """Of images, in lower case."""
        return FIRST_EXTENSIONS if self.number == 1 else image_extensions()

    def is_junk(self, name: str) -> bool:
        """Hidden files and folders, what macOS puts into archives, and what storage keeps beside photos."""
        return name.startswith(".") or name == "__MACOSX" or (self.number > 1 and name in JUNK)


FIRST, LATEST = Rules(1), Rules(2)


@dataclass
class PassedOver:
    """What a walk does not take, counted as it goes.

    files: by extension. folders: of `JUNK` and others, by name. later: whether the first rules would have
    found other images.
    """

    files: Counter[str] = field(default_factory=Counter)
    folders: Counter[str] = field(default_factory=Counter)
    later: bool = False

    def add(self, entry: "os.DirEntry[str]") -> None:
        """Count a file that is no image."""
        if entry.name.lower() not in UNSPOKEN:
            self.files[Path(entry.name).suffix.lower() or "no extension"] += 1


def walk_images(
    folder: Path, rules: Rules, passed: PassedOver | None = None, above: tuple[tuple[int, int], ...] = ()
) -> dict[str, Stamp]:
    """Image files below a folder with their stamps, nested ones included, in sorted order.

    passed: takes what is passed over. above: folders that lead here, so that a link back to one of them is
    not followed for ever.

    Raises:
        DatasetError: a folder cannot be listed, or an image is a link that leads nowhere.
    """
    passed = PassedOver() if passed is None else passed
    facts = folder.stat()
    here = facts.st_dev, facts.st_ino
    if here in above:
        return {}
    found: dict[str, Stamp] = {}
    folders = []
    for entry in entries(folder, rules, passed):
        if entry.is_dir():
            folders.append(entry.name)
        elif entry.name.lower().endswith(rules.extensions):
            found[entry.path] = _stamp(entry)
            passed.later |= entry.name.lower().endswith(LATER_EXTENSIONS)
        else:
            passed.add(entry)
    for name in folders:
        found |= walk_images(folder / name, rules, passed, (*above, here))
    return found


def entries(folder: Path, rules: Rules, passed: PassedOver | None = None) -> list["os.DirEntry[str]"]:
    """What a folder holds, by name, without junk.

    Raises:
        DatasetError: it cannot be listed.
    """
    try:
        with os.scandir(folder) as listed:
            found = sorted(listed, key=lambda entry: entry.name)
    except OSError as error:
        raise DatasetError(f"Folder {shown(folder)} cannot be listed: {error.strerror}.") from error
    if passed is not None:
        for entry in found:
            if rules.is_junk(entry.name) and entry.is_dir():
                passed.folders[entry.name] += 1
                passed.later |= not FIRST.is_junk(entry.name)
    return [entry for entry in found if not rules.is_junk(entry.name)]


def subfolders(folder: Path, rules: Rules, passed: PassedOver | None = None) -> list[Path]:
    """The folders in a folder, by name, without junk.

    Raises:
        DatasetError: it cannot be listed.
    """
    return [folder / entry.name for entry in entries(folder, rules, passed) if entry.is_dir()]


def holds_images(folder: Path, rules: Rules = LATEST) -> bool:
    """Whether there is an image anywhere below a folder; as soon as one is found."""
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not rules.is_junk(name)]
        for name in files:
            if name.lower().endswith(rules.extensions) and not rules.is_junk(name):
                return True
        if len(Path(place).relative_to(folder).parts) > 8:
            folders.clear()
    return False


def stamps_of(paths: Iterable[str]) -> dict[str, Stamp]:
    """The files that are still there, with their stamps now."""
    found = {}
    for path in paths:
        try:
            facts = os.stat(path)  # noqa: PTH116 (a million Path objects take seconds)
        except OSError:
            continue
        if stat.S_ISREG(facts.st_mode):
            found[path] = (facts.st_size, facts.st_mtime_ns)
    return found


def same_name(name: str) -> str:
    """A name in the form in which names compare: macOS writes ä as a and two dots, others as one letter."""
    return unicodedata.normalize("NFC", name)


def name_within(root: Path, path: Path | str) -> str:
    """A file's name relative to the dataset, or its whole path where it lies elsewhere."""
    path = Path(path)
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def shown(name: Path | str) -> str:
    """A name that can be printed and written as JSON: bytes that are no UTF-8 are escaped."""
    return str(name).encode("utf-8", "backslashreplace").decode()


def _stamp(entry: "os.DirEntry[str]") -> Stamp:
    try:
        facts = entry.stat()
    except OSError as error:
        if entry.is_symlink():
            raise DatasetError(
                f"Image {entry.path} is a link to {Path(entry.path).readlink()}, which cannot be reached "
                f"({error.strerror}). Repair or remove the link."
            ) from error
        raise DatasetError(f"Image {entry.path} cannot be read: {error.strerror}.") from error
    if not stat.S_ISREG(facts.st_mode):
        raise DatasetError(f"Image {entry.path} is no file but a pipe or a device. Remove it.")
    return facts.st_size, facts.st_mtime_ns
