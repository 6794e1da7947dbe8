"""Image folders: which files belong to which split and class.

root/train/<class>/…    required
root/val/<class>/…      optional; otherwise a stratified share of train is split off
root/test/<class>/…     optional
"""

import math
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from qtt.errors import DatasetError

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""The file types that torchvision's ImageFolder reads."""

Sample = tuple[Path, int]
"""An image and the index of its class in `ImageFolder.class_names`."""

Stamp = tuple[int, int]
"""Size in bytes and time of the last change in nanoseconds of a file."""

LAYOUT = """Expected:
  {root}/train/<class>/*.jpg     at least two classes
  {root}/val/<class>/*.jpg       optional: a share of train is used where it is absent
  {root}/test/<class>/*.jpg      optional"""


@dataclass(frozen=True)
class ImageFolder:
    """The splits of a dataset; class names are sorted, samples ordered by class and file name.

    stamps: of every image by its path, when it was listed.
    """

    root: Path
    class_names: tuple[str, ...]
    train: tuple[Sample, ...]
    val: tuple[Sample, ...]
    test: tuple[Sample, ...]
    stamps: Mapping[str, Stamp] = field(default_factory=dict)

    @cached_property
    def learned(self) -> Mapping[str, Stamp]:
        """Stamps of training and validation images; see `stamp_images`."""
        return {str(path): self.stamps[str(path)] for path, _ in (*self.train, *self.val)}


def scan_image_folder(root: Path | str, val_fraction: float = 0.2, seed: int = 0) -> ImageFolder:
    """List the images of `root`, splitting a validation share off train where there is no `val`.

    val_fraction: share of every class that becomes validation, in (0, 1); a class of two or more images keeps
        at least one image on either side. Not used where `root/val` exists.
    seed: of that split alone; the same folder, share and seed give the same split.

    Raises:
        DatasetError: a folder is missing, empty, flat, or has classes that train lacks; an image is a link
            that leads nowhere.
    """
    root = Path(root).expanduser()
    if not 0 < val_fraction < 1:
        raise DatasetError(f"val_fraction must lie between 0 and 1; got {val_fraction}.")
    class_names = _train_classes(root)
    stamps: dict[str, Stamp] = {}
    train = _samples(root / "train", class_names, stamps)
    if (root / "val").is_dir():
        val = _samples(root / "val", class_names, stamps, complete=False)
    else:
        train, val = split_off(train, val_fraction, seed)
    if not val:
        raise DatasetError(f"{root} leaves no image for validation: no class has two images.")
    has_test = (root / "test").is_dir()
    test = _samples(root / "test", class_names, stamps, complete=False) if has_test else ()
    return ImageFolder(root, class_names, train, val, test, stamps)


def stamp_images(root: Path) -> dict[str, Stamp]:
    """Paths of all images of training and validation with their stamps; faster than a whole scan.

    Raises:
        DatasetError: a folder cannot be listed, or an image is a link that leads nowhere.
    """
    found: dict[str, Stamp] = {}
    for split in ("train", "val"):
        if (root / split).is_dir():
            for folder in _class_folders(root / split):
                found |= _images(folder)
    return found


def image_folder_path(path: Path | str) -> Path:
    """The dataset that a command line names, as an absolute path.

    Raises:
        DatasetError: there is no such folder.
    """
    folder = Path(path).expanduser().absolute()
    if not folder.is_dir():
        raise DatasetError(f"There is no dataset folder at {folder}.\n{LAYOUT.format(root=folder)}")
    return folder


def split_off(
    samples: Sequence[Sample], fraction: float, seed: int
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Split every class at random into (rest, share); both keep the order of `samples`.

    A class of n ≥ 2 images gives between 1 and n − 1 of them, as near to n · fraction as possible (halves
    round up); a class of one image stays whole in the rest.
    """
    labels = np.array([label for _, label in samples], dtype=np.int64)
    chosen = np.zeros(len(samples), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        if len(members) >= 2:
            count = min(max(math.floor(len(members) * fraction + 0.5), 1), len(members) - 1)
            rng = np.random.default_rng((seed, int(label)))
            chosen[rng.permutation(members)[:count]] = True
    rest = tuple(sample for sample, out in zip(samples, chosen, strict=True) if not out)
    return rest, tuple(sample for sample, out in zip(samples, chosen, strict=True) if out)


def _train_classes(root: Path) -> tuple[str, ...]:
    layout = LAYOUT.format(root=root)
    if not root.is_dir():
        raise DatasetError(f"There is no dataset folder at {root}.\n{layout}")
    if not (root / "train").is_dir():
        flat = any(_images(folder) for folder in _class_folders(root))
        hint = f" Its class folders lie directly in it: move them into {root / 'train'}." if flat else ""
        raise DatasetError(f"{root} has no folder 'train'.{hint}\n{layout}")
    class_names = tuple(folder.name for folder in _class_folders(root / "train"))
    if not class_names:
        raise DatasetError(f"{root / 'train'} has no class folders.\n{layout}")
    if len(class_names) == 1:
        raise DatasetError(
            f"{root / 'train'} has the single class '{class_names[0]}'; "
            f"classification needs at least two.\n{layout}"
        )
    return class_names


def _samples(
    folder: Path, class_names: Sequence[str], stamps: dict[str, Stamp], complete: bool = True
) -> tuple[Sample, ...]:
    """Images of a split, noted in `stamps`; complete: every class must be there with at least one image."""
    present = {path.name: path for path in _class_folders(folder)}
    strange = sorted(present.keys() - set(class_names))
    if strange:
        raise DatasetError(
            f"{folder} has classes that train lacks: {', '.join(strange[:10])}. "
            f"Class folders must be named alike in every split.\n{LAYOUT.format(root=folder.parent)}"
        )
    samples: list[Sample] = []
    for label, name in enumerate(class_names):
        images = _images(present[name]) if name in present else {}
        if complete and not images:
            raise DatasetError(
                f"Class folder {folder / name} holds no image ({', '.join(IMAGE_EXTENSIONS)})"
                f"{_others(folder / name)}. Add images or remove the folder."
            )
        samples += [(Path(path), label) for path in images]
        stamps |= images
    if not samples:
        raise DatasetError(
            f"{folder} holds no images ({', '.join(IMAGE_EXTENSIONS)}) in class folders.\n"
            f"{LAYOUT.format(root=folder.parent)}"
        )
    return tuple(samples)


def _class_folders(folder: Path) -> list[Path]:
    return [folder / entry.name for entry in _entries(folder) if entry.is_dir()]


def _others(folder: Path) -> str:
    """What a class folder holds in place of images, in words."""
    names = [entry.name for entry in _entries(folder)]
    return f", only {', '.join(names[:3])}{', …' if len(names) > 3 else ''}" if names else ""


def _images(folder: Path, above: tuple[tuple[int, int], ...] = ()) -> dict[str, Stamp]:
    """Image files below a class folder with their stamps, nested ones included, in sorted order.

    above: folders that lead here, so that a link back to one of them is not followed for ever.
    """
    facts = folder.stat()
    here = facts.st_dev, facts.st_ino
    if here in above:
        return {}
    entries = _entries(folder)
    folders = [entry for entry in entries if entry.is_dir()]
    found = {
        entry.path: _stamp(entry)
        for entry in entries
        if entry.name.lower().endswith(IMAGE_EXTENSIONS) and not entry.is_dir()
    }
    for entry in folders:
        found |= _images(folder / entry.name, (*above, here))
    return found


def _entries(folder: Path) -> list["os.DirEntry[str]"]:
    """What a folder holds, by name, without junk."""
    try:
        with os.scandir(folder) as entries:
            kept = [entry for entry in entries if not _is_junk(entry.name)]
    except OSError as error:
        raise DatasetError(f"Folder {folder} cannot be listed: {error.strerror}.") from error
    return sorted(kept, key=lambda entry: entry.name)


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


def _is_junk(name: str) -> bool:
    """Hidden files and what macOS puts into archives."""
    return name.startswith(".") or name == "__MACOSX"
