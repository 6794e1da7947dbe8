"""Reading Meta-Album (Ullah et al. 2022) as it is downloaded.

<ID>_<Version>/images/*.jpg     as a folder, or in <ID>_<Version>.zip
<ID>_<Version>/labels.csv       FILE_NAME, CATEGORY, SUPER_CATEGORY
<ID>_<Version>/info.json        not needed
"""

import csv
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from qtt.data.subset_files import Files, FolderFiles, ZipFiles, opened, write_subset
from qtt.data.subsets import VERSIONS, Choice, Names, Version, choose
from qtt.errors import DatasetError

LABELS = "labels.csv"
COLUMNS = ("FILE_NAME", "CATEGORY")


@dataclass(frozen=True)
class AlbumDataset:
    """One of Meta-Album's datasets; classes: of the mini and of the extended version."""

    name: str
    domain: str
    album_set: int
    classes: int
    classes_extended: int

    def expected(self, version: Version) -> int:
        """Classes that a version has."""
        if version.classes is not None:
            return min(version.classes, self.classes)
        return self.classes_extended if version.images is None else self.classes


def find_archive(folder: Path, name: str, version: Version) -> Path | None:
    """The download that a version can be made of: its own, a larger version's, or one without a version.

    None where there is none. Folders come before archives, and capital letters make no difference.
    """
    sizes = list(VERSIONS)
    stems = [f"{name}_{size}" for size in sizes[sizes.index(version.name) :]] + [name]
    present = {path.name.lower(): path for path in sorted(folder.iterdir())}
    for stem in stems:
        for candidate in (stem, f"{stem}.zip"):
            if candidate.lower() in present:
                return present[candidate.lower()]
    return None


def build_album(
    dataset: AlbumDataset, archive: Path, out: Path, version: Version, seed: int = 0, link: bool = True
) -> tuple[Choice, bool]:
    """Write a version of one dataset as an image folder; also tells whether anything had to be written.

    archive: the unpacked download or the zip file.
    out: the image folder to make.
    link: hard links to the unpacked files where that works, instead of copies.

    Raises:
        DatasetError: the archive is damaged, or has fewer classes than the version and small ones are not
            allowed.
    """
    with opened(archive) as zipped:
        files: Files
        if zipped is None:
            root = _folder_root(archive)
            names = read_labels((root / LABELS).read_text("utf-8-sig"), _listing(root), str(root / LABELS))
            files = FolderFiles(root, link)
        else:
            prefix = _zip_prefix(zipped, archive)
            listing = {name.removeprefix(prefix) for name in zipped.namelist() if name.startswith(prefix)}
            text = io.TextIOWrapper(zipped.open(prefix + LABELS), "utf-8-sig").read()
            names = read_labels(text, listing, f"{LABELS} of {archive}")
            files = ZipFiles(zipped, prefix)
        choice = choose(names, version, seed, str(archive))
        expected = dataset.expected(version)
        if len(choice.classes) < expected and not version.allow_small:
            raise DatasetError(
                f"{archive} gives {len(choice.classes)} classes with enough images; version '{version.name}' "
                f"of {dataset.name} has {expected}. Is it a smaller version, or incomplete? "
                "Allow small datasets to take what there is."
            )
        facts = {
            "source": "Meta-Album",
            "archive": archive.name,
            "dataset": dataset.name,
            "set": f"set{dataset.album_set}",
            "domain": dataset.domain,
        }
        return choice, write_subset(choice, files, out, version, seed, facts)


def read_labels(text: str, present: set[str], where: str) -> Names:
    """Files by class, all of them in train: Meta-Album has no splits.

    present: files of the dataset, relative to its root.

    Raises:
        DatasetError: a column is missing, or images are; the first row is named.
    """
    reader = csv.DictReader(io.StringIO(text))
    lacking = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if lacking:
        raise DatasetError(
            f"{where} lacks the column {lacking[0]}; it has {', '.join(reader.fieldnames or ())}."
        )
    classes: dict[str, list[str]] = {}
    missing: list[str] = []
    for row in reader:
        file, label = row["FILE_NAME"], row["CATEGORY"]
        if not file or not label or PurePosixPath(file).name != file:
            raise DatasetError(f"Line {reader.line_num} of {where} is malformed: {dict(row)}.")
        if f"images/{file}" not in present:
            missing.append(f"line {reader.line_num}: images/{file}")
        classes.setdefault(label, []).append(f"images/{file}")
    if missing:
        raise DatasetError(f"{where} names {len(missing)} images that are not there; first {missing[0]}.")
    return {"train": {label: tuple(files) for label, files in classes.items()}}


def read_datasets(data: Mapping[str, Mapping[str, Mapping[str, int | str]]]) -> tuple[AlbumDataset, ...]:
    """The list of datasets as `meta_dataset/datasets.yaml` holds it."""
    return tuple(
        AlbumDataset(
            name=name,
            domain=str(facts["domain"]),
            album_set=int(facts["set"]),
            classes=int(facts["classes"]),
            classes_extended=int(facts.get("classes_extended", facts["classes"])),
        )
        for name, facts in data["datasets"].items()
    )


def _folder_root(folder: Path) -> Path:
    """The folder with labels.csv: the given one, or the only one in it, as some archives unpack."""
    if (folder / LABELS).is_file():
        return folder
    inner = [path for path in folder.iterdir() if (path / LABELS).is_file()]
    if len(inner) == 1:
        return inner[0]
    raise DatasetError(f"{folder} has no {LABELS}: it is no dataset of Meta-Album.")


def _listing(root: Path) -> set[str]:
    return {f"images/{path.name}" for path in (root / "images").glob("*")}


def _zip_prefix(archive: zipfile.ZipFile, path: Path) -> str:
    found = [name for name in archive.namelist() if PurePosixPath(name).name == LABELS]
    outer = [name for name in found if not name.startswith("__MACOSX")]
    if not outer:
        raise DatasetError(f"{path} has no {LABELS}: it is no archive of Meta-Album.")
    return min(outer, key=len).removesuffix(LABELS)
