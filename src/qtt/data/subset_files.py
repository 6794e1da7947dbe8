"""Writing a chosen subset as an image folder: whole or not at all, and resumable.

out/{train,val,test}/<class>/<file>
out/subset.json     where it comes from, the version, the seed and the counts
"""

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

from qtt.data.subsets import Choice, Names, Version, choose, image_folder_names
from qtt.errors import DatasetError
from qtt.support.files import read_object, write_json

FORMAT = 1
MANIFEST = "subset.json"


class Files(Protocol):
    """Where the files of a dataset come from."""

    def put(self, name: str, target: Path) -> None:
        """Make `target` a file with the content of `name`."""
        ...


class FolderFiles:
    """Files below a folder, given as hard links where the file system allows it, or copied."""

    def __init__(self, root: Path, link: bool = True) -> None:
        self.root = root
        self.link = link

    def put(self, name: str, target: Path) -> None:
        """See `Files.put`."""
        source = (self.root / name).resolve()  # a hard link to a symbolic one would break with its aim
        if self.link:
            try:
                os.link(source, target)
                return
            except OSError:  # another file system, or one without links
                self.link = False
        shutil.copyfile(source, target)


class ZipFiles:
    """Files in an archive, below `prefix`."""

    def __init__(self, archive: zipfile.ZipFile, prefix: str = "") -> None:
        self.archive = archive
        self.prefix = prefix

    def put(self, name: str, target: Path) -> None:
        """See `Files.put`."""
        with self.archive.open(self.prefix + name) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file)


def opened(path: Path) -> AbstractContextManager[zipfile.ZipFile | None]:
    """The archive at `path`, or None for a folder.

    Raises:
        DatasetError: the file is no zip archive.
    """
    if path.is_dir():
        return nullcontext()
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise DatasetError(f"{path} cannot be read as a zip archive: {error}. Download it again.") from error


def build_subset(
    root: Path, out: Path, version: Version, seed: int = 0, link: bool = True
) -> tuple[Choice, bool]:
    """Write a version of an image folder; also tells whether anything had to be written.

    Splits that `root` has are kept apart: see `qtt.data.subsets.choose`.

    Raises:
        DatasetError: the folder cannot be used, or has too few images.
    """
    choice = choose(image_folder_names(root), version, seed, str(root))
    return choice, write_subset(
        choice, FolderFiles(root, link), out, version, seed, {"source": "image folder", "dataset": root.name}
    )


def write_subset(
    choice: Choice, files: Files, out: Path, version: Version, seed: int, facts: Mapping[str, Any]
) -> bool:
    """Write the chosen files below `out`; False where they are there already.

    The folder appears under its name when it is complete. What an interrupted call has written is kept in a
    hidden folder beside it, and taken up by the next call for the same choice.

    facts: further entries of the manifest (source, domain, …).

    Raises:
        DatasetError: `out` holds something else, or a file cannot be read.
    """
    manifest = _manifest(choice, version, seed, facts)
    targets = list(_targets(choice.names))
    if out.exists():
        found = read_object(out / MANIFEST) if (out / MANIFEST).is_file() else {}
        different = [key for key, value in manifest.items() if found.get(key) != value]
        if different:
            raise DatasetError(
                f"{out} holds something else (different: {', '.join(different)}). Remove it, or choose "
                "another output folder."
            )
        return False
    partial = out.with_name(f".{out.name}.partial")
    if partial.exists():
        begun = read_object(partial / MANIFEST) if (partial / MANIFEST).is_file() else {}
        if begun.get("files") != manifest["files"]:
            shutil.rmtree(partial)
    write_json(partial / MANIFEST, manifest)
    for name, target in targets:
        _put(files, name, partial / target)
    partial.rename(out)
    return True


def _manifest(choice: Choice, version: Version, seed: int, facts: Mapping[str, Any]) -> dict[str, Any]:
    names = json.dumps(choice.names, sort_keys=True)
    manifest = {
        "format": FORMAT,
        "version": version.name,
        "seed": seed,
        "classes": len(choice.classes),
        "images": choice.counts,
        "left_out": dict(choice.left_out),
        "files": hashlib.sha256(names.encode()).hexdigest(),
    }
    return {**facts, **manifest}


def _targets(names: Names) -> Iterator[tuple[str, Path]]:
    """Every file with its place in the subset.

    Raises:
        DatasetError: two classes or files would share a place.
    """
    folders: dict[str, str] = {}
    taken: set[Path] = set()
    for split, classes in names.items():
        for label, files in classes.items():
            folder = label.replace("/", "_").replace("\\", "_").lstrip(".") or "_"
            if folders.setdefault(folder, label) != label:
                raise DatasetError(
                    f"Classes '{folders[folder]}' and '{label}' would share the folder '{folder}'."
                )
            for name in files:
                target = Path(split, folder, Path(name).name)
                if target in taken:
                    raise DatasetError(
                        f"Class '{label}' has two files named {target.name} in its {split} split."
                    )
                taken.add(target)
                yield name, target


def _put(files: Files, name: str, target: Path) -> None:
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        files.put(name, temporary)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise DatasetError(f"Image {name} cannot be read: {error}.") from error
    temporary.replace(target)
