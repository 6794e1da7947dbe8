"""Which images make up the micro, mini or extended version of a dataset, in train, val and test.

version    classes               images a class
micro      20                    40
mini       all with 40 images    40
extended   all                   all

These are Meta-Album's versions (Ullah et al. 2022), of any image folder. Classes and images are taken in the
order of a hash of the seed and their names, so that the choice depends neither on the file system nor on
other classes, and micro holds the very images that mini has of its classes.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from qtt.data.image_folder import Sample, scan_image_folder
from qtt.errors import DatasetError, unknown

SHARES: Mapping[str, float] = {"train": 0.6, "val": 0.2, "test": 0.2}

Names = Mapping[str, Mapping[str, tuple[str, ...]]]
"""File names by split and class."""


@dataclass(frozen=True)
class Version:
    """How much of a dataset to take; None: all. Classes with fewer images are left out, or taken as they are.

    Raises:
        DatasetError: fewer than two classes, or too few images for one in every split.
    """

    name: str
    classes: int | None
    images: int | None
    allow_small: bool = False

    def __post_init__(self) -> None:
        if self.classes is not None and self.classes < 2:
            raise DatasetError(f"A version needs at least two classes; got {self.classes}.")
        if self.images is not None and self.images < len(SHARES):
            raise DatasetError(f"A version needs at least {len(SHARES)} images a class; got {self.images}.")


VERSIONS: Mapping[str, Version] = {
    version.name: version
    for version in (Version("micro", 20, 40), Version("mini", None, 40), Version("extended", None, None))
}


@dataclass(frozen=True)
class Choice:
    """What a version takes of a dataset.

    names: files by split and class; classes are sorted.
    left_out: classes that are not taken for want of images, with the number of theirs.
    notes: what a user should know, in sentences.
    """

    names: Names
    left_out: Mapping[str, int]
    notes: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return tuple(self.names["train"])

    @property
    def counts(self) -> dict[str, int]:
        """Images by split."""
        return {split: sum(map(len, classes.values())) for split, classes in self.names.items()}


def make_version(name: str, allow_small: bool = False) -> Version:
    """One of `VERSIONS`.

    Raises:
        DatasetError: there is no such version.
    """
    if name not in VERSIONS:
        raise DatasetError(unknown("version", name, VERSIONS))
    return replace(VERSIONS[name], allow_small=allow_small)


def image_folder_names(root: Path | str) -> Names:
    """The files of an image folder, relative to `root`, by the splits that it has.

    Raises:
        DatasetError: the folder cannot be used.
    """
    folder = scan_image_folder(root)
    has_val = (folder.root / "val").is_dir()
    train = folder.train if has_val else folder.train + folder.val
    found = {"train": train, "val": folder.val if has_val else (), "test": folder.test}
    return {split: _by_class(folder.root, samples, folder.class_names) for split, samples in found.items()}


def choose(available: Names, version: Version, seed: int = 0, where: str = "The dataset") -> Choice:
    """Choose classes and images.

    Splits that the dataset has stay what they are: nothing of its test split is ever trained on. A split that
    it lacks is taken out of train, so that 60/20/20 % of every class result; of 40 images 24/8/8.

    available: all files by split and class; a split without files is one that the dataset lacks.
    where: what messages call the dataset.

    Raises:
        DatasetError: fewer than two classes have enough images.
    """
    lacking = [split for split in SHARES if not any(available.get(split, {}).values())]
    if "train" in lacking:
        raise DatasetError(f"{where} has no training images.")
    sizes = {
        name: sum(len(available.get(s, {}).get(name, ())) for s in SHARES) for name in available["train"]
    }
    taken: dict[str, dict[str, tuple[str, ...]]] = {}
    small = []
    for name in sorted(sizes):
        own = {split: available.get(split, {}).get(name, ()) for split in SHARES if split not in lacking}
        if not _is_full(own, lacking, version):
            small.append(name)
            if not version.allow_small or len(own["train"]) <= len(lacking):
                continue
        taken[name] = _split_class(own, lacking, version, f"{seed}/{name}")
    left_out = {name: sizes[name] for name in small if name not in taken}
    small = [name for name in small if name in taken]
    if len(taken) < 2:
        raise DatasetError(_too_few(where, version, sizes, len(taken)))
    enough = len(taken)
    if version.classes is not None:  # small ones only fill up
        order = _hashed(taken.keys() - set(small), str(seed)) + _hashed(small, str(seed))
        taken = {name: taken[name] for name in sorted(order[: version.classes])}
    notes = _notes(version, len(sizes), enough, left_out, [name for name in small if name in taken])
    names = {split: {name: files[split] for name, files in taken.items()} for split in SHARES}
    return Choice(names, left_out, notes)


def _by_class(root: Path, samples: Iterable[Sample], classes: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {name: [] for name in classes}
    for path, label in samples:
        found[classes[label]].append(path.relative_to(root).as_posix())
    return {name: tuple(files) for name, files in found.items()}


def _is_full(own: Mapping[str, tuple[str, ...]], lacking: list[str], version: Version) -> bool:
    """Whether a class has the images of the version, in train for all splits that are taken out of it."""
    if version.images is None:
        return len(own["train"]) > len(lacking)
    return all(len(files) >= _quota(split, lacking, version.images) for split, files in own.items())


def _quota(split: str, lacking: list[str], images: int) -> int:
    """Images that a class of `images` gives to a split; train's own count holds what is taken out of it."""
    others = {name: math.floor(images * share + 0.5) for name, share in SHARES.items() if name != "train"}
    if split != "train":
        return others[split]
    return images - sum(others.values()) + sum(others[name] for name in lacking)


def _split_class(
    own: Mapping[str, tuple[str, ...]], lacking: list[str], version: Version, key: str
) -> dict[str, tuple[str, ...]]:
    """The files of one class by split."""
    splits = {}
    for split, files in own.items():
        count = None if version.images is None else _quota(split, lacking, version.images)
        splits[split] = _hashed(files, key)[:count]
    train, whole = splits["train"], SHARES["train"] + sum(SHARES[name] for name in lacking)
    end = len(train)
    for split in reversed(lacking):
        start = end - max(1, math.floor(len(train) * SHARES[split] / whole + 0.5))
        splits[split], end = train[start:end], start
    return {split: tuple(sorted(files)) for split, files in (splits | {"train": train[:end]}).items()}


def _hashed(names: Iterable[str], key: str) -> list[str]:
    """Names in the order of a hash of `key` and the file's own name: random, yet the same everywhere."""
    return sorted(
        names, key=lambda name: (hashlib.sha256(f"{key}/{Path(name).name}".encode()).digest(), name)
    )


def _too_few(where: str, version: Version, sizes: Mapping[str, int], taken: int) -> str:
    largest = max(sizes, key=lambda name: sizes[name])
    return (
        f"{where} has {len(sizes)} classes, {taken} of them with the images that version '{version.name}' "
        f"takes ({version.images or len(SHARES)} a class, 60/20/20 % of them in the splits); the largest, "
        f"'{largest}', has {sizes[largest]}. Allow small ones to take what there is, or take another version."
    )


def _notes(
    version: Version, found: int, enough: int, left_out: Mapping[str, int], small: list[str]
) -> tuple[str, ...]:
    notes = []
    too_few = f"fewer images than {version.images or len(SHARES)} in shares of 60/20/20 %"
    if left_out:
        notes.append(f"{len(left_out)} of {found} classes have {too_few}: left out.")
    if small:
        notes.append(f"{len(small)} of {found} classes have {too_few}: taken as they are.")
    if version.classes is not None and enough < version.classes:
        notes.append(f"'{version.name}' takes {version.classes} classes; there are {enough}.")
    return tuple(notes)
