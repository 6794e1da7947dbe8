"""The images of Table 1 as an image folder with the official split, through torchvision.

    python experiments/table1/fetch.py flowers --out data/table1
    python experiments/table1/fetch.py cars --source DIR      # DIR holds what torchvision would look for

Makes `OUT/<set>/<split>/<class>/<image>`: the image files as they are, linked where the file system can, else
copied. The folder appears at once, when all images are in it and counted; until then it is `OUT/.<set>.part`.
The same command again goes on: what was downloaded whole (`OUT/downloads/<set>`) is kept.

Imagenette and Stanford Cars have no official validation images. Their official other half is `test` here, and
qtt splits a share of each class off `train` (`val_fraction`), another one for every seed.
"""

import argparse
import os
import shutil
import sys
import tarfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torchvision import datasets

DOWNLOADED = "whole"
"""File in a folder of downloads that says that nothing is missing there."""

Samples = Iterable[tuple[str | Path, str]]
"""Image files with the names of their classes."""


class FetchError(Exception):
    """The images could not be had, or are not those of the published data set."""


@dataclass(frozen=True)
class ImageSet:
    """A published data set.

    samples: images of an official split (folder of downloads, split, whether to download).
    splits: what each of our splits is called there. counts: images of each of our splits. classes: in each.
    folder: what torchvision looks for. url: where it comes from; None: from nowhere any more.
    checked: archives whose checksum torchvision knows; they are kept when a download is interrupted.
    """

    name: str
    samples: Callable[[Path, str, bool], Samples]
    splits: Mapping[str, str]
    counts: Mapping[str, int]
    classes: int
    folder: str
    url: str | None
    licence: str
    checked: tuple[str, ...] = ()


def imagenette(root: Path, split: str, download: bool) -> Samples:
    """Images of Imagenette in full size; classes by their first name."""
    found = datasets.Imagenette(root, split, "full", download=download)
    return [(path, found.classes[label][0]) for path, label in found._samples]


def flowers(root: Path, split: str, download: bool) -> Samples:
    """Images of Oxford Flowers-102; classes by their official number, 001 to 102."""
    found = datasets.Flowers102(root, split, download=download)
    labels = (f"{label + 1:03d}" for label in found._labels)
    return zip(found._image_files, labels, strict=True)


def cars(root: Path, split: str, download: bool) -> Samples:
    """Images of Stanford Cars, which have to be there: nobody offers them for download any more."""
    found = datasets.StanfordCars(root, split)
    return [(path, found.classes[label]) for path, label in found._samples]


def aircraft(root: Path, split: str, download: bool) -> Samples:
    """Images of FGVC-Aircraft with the 100 variants as classes."""
    found = datasets.FGVCAircraft(root, split, "variant", download=download)
    return zip(found._image_files, (found.classes[label] for label in found._labels), strict=True)


HALVES = {"train": "train", "test": "test"}
THIRDS = {"train": "train", "val": "val", "test": "test"}

SETS = {
    "imagenette": ImageSet(
        "Imagenette",
        imagenette,
        {"train": "train", "test": "val"},
        {"train": 9469, "test": 3925},
        10,
        "imagenette2",
        "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2.tgz",
        "a subset of ImageNet (fast.ai): non-commercial research and education, on ImageNet's terms",
        ("imagenette2.tgz",),
    ),
    "flowers": ImageSet(
        "Oxford Flowers-102",
        flowers,
        THIRDS,
        {"train": 1020, "val": 1020, "test": 6149},
        102,
        "flowers-102",
        "https://www.robots.ox.ac.uk/~vgg/data/flowers/102",
        "no licence stated; photos from the web, whose rights are their owners': research use",
        ("flowers-102/102flowers.tgz",),
    ),
    "cars": ImageSet(
        "Stanford Cars",
        cars,
        HALVES,
        {"train": 8144, "test": 8041},
        196,
        "stanford_cars",
        None,
        "no licence stated; photos from the web, whose rights are their owners': non-commercial research",
    ),
    "aircraft": ImageSet(
        "FGVC-Aircraft",
        aircraft,
        THIRDS,
        {"train": 3334, "val": 3333, "test": 3333},
        100,
        "fgvc-aircraft-2013b",
        "https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft",
        "non-commercial research only, says the authors' page",
    ),
}
"""By the names that the command takes."""


def fetch(name: str, images: ImageSet, out: Path, source: Path | None = None) -> Path:
    """Make the image folder `out/name`, unless it is there; returns it.

    source: a folder that has `images.folder` already; None: download.

    Raises:
        FetchError: no internet, nothing to download, a damaged download, or other counts than published.
    """
    target, part = out / name, out / f".{name}.part"
    if not target.exists():
        found = source if source is not None else _downloaded(images, out / "downloads" / name)
        shutil.rmtree(part, ignore_errors=True)
        for split, official in images.splits.items():
            _fill(part / split, _samples(images, found, official))
        check_counts(images, part)
        part.rename(target)
    check_counts(images, target)
    return target


def check_counts(images: ImageSet, folder: Path) -> None:
    """See whether every split has as many images and classes as published.

    Raises:
        FetchError: one has not, or there are other splits.
    """
    there = {split.name for split in folder.iterdir() if split.is_dir()}
    if there != set(images.counts):
        raise FetchError(f"{folder} has the splits {sorted(there)}, not {sorted(images.counts)}. Remove it.")
    for split, expected in images.counts.items():
        classes = [path for path in (folder / split).iterdir() if path.is_dir()]
        count = sum(1 for path in classes for _ in path.iterdir())
        if (count, len(classes)) != (expected, images.classes):
            raise FetchError(
                f"{folder / split} has {count:,} images of {len(classes)} classes; published are "
                f"{expected:,} of {images.classes}. Remove {folder} and what it is made from, and try again."
            )


def _downloaded(images: ImageSet, folder: Path) -> Path:
    """The folder of downloads, filled where it is not whole."""
    if images.url is None:
        raise FetchError(
            f"{images.name} is no longer offered for download. Where you have it: --source DIR, with "
            f"DIR/{images.folder} laid out as torchvision.datasets.StanfordCars expects it (devkit/, "
            "cars_train/, cars_test/, cars_test_annos_withlabels.mat)."
        )
    if not (folder / DOWNLOADED).exists():
        _forget_half_made(images, folder)
        try:
            images.samples(folder, next(iter(images.splits.values())), True)
        except (OSError, EOFError, RuntimeError, tarfile.TarError) as error:
            raise FetchError(
                f"{images.name} could not be downloaded from {images.url}: {error}. The same command tries "
                "again. Without internet, bring the folder that it downloads to from a machine that has it: "
                f"--source {folder}."
            ) from error
        (folder / DOWNLOADED).touch()
    return folder


def _forget_half_made(images: ImageSet, folder: Path) -> None:
    """Remove what torchvision would take for whole because it is there: all but archives with checksums."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
        elif not path.is_dir() and path.relative_to(folder).as_posix() not in images.checked:
            path.unlink()


def _samples(images: ImageSet, folder: Path, split: str) -> Samples:
    try:
        return images.samples(folder, split, False)
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise FetchError(f"{folder / images.folder} is not {images.name} as published: {error}") from error


def _fill(folder: Path, samples: Samples) -> None:
    for path, name in samples:
        place = folder / name.replace("/", "-") / Path(path).name
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            _link(Path(path), place)
        except OSError as error:
            raise FetchError(f"{path} cannot be put into {folder}: {error.strerror}.") from error


def _link(source: Path, place: Path) -> None:
    """A hard link, or a copy where the file system has none."""
    if place.exists():
        raise FileExistsError(0, f"there are two images {place.name} of one class")
    try:
        os.link(source.resolve(), place)
    except OSError:
        shutil.copyfile(source, place)


def main() -> None:
    """Fetch as the command line says."""
    parser = argparse.ArgumentParser(description="Image folders for Table 1, with the official splits.")
    parser.add_argument("set", choices=SETS)
    parser.add_argument("--out", type=Path, default=Path("data/table1"), help="default: %(default)s")
    parser.add_argument("--source", type=Path, help="folder that holds the published files already")
    arguments = parser.parse_args()
    images = SETS[arguments.set]
    print(f"Licence of {images.name}: {images.licence}.")  # noqa: T201
    try:
        folder = fetch(arguments.set, images, arguments.out, arguments.source)
    except FetchError as error:
        sys.exit(f"Error: {error}")
    counts = ", ".join(f"{count:,} {split}" for split, count in images.counts.items())
    print(f"{folder}: {counts} images of {images.classes} classes, as published.")  # noqa: T201


if __name__ == "__main__":
    main()
