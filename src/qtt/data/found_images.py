"""Images below any folder, and test images in folders of their classes."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from qtt.data.image_types import LATER_EXTENSIONS, OTHER_PICTURES, image_extensions
from qtt.data.splitting import Sample
from qtt.data.walking import LATEST, same_name, shown
from qtt.errors import DatasetError

EXPECTED = """Expected:
  {root}/<class>/*.jpg         or
  {root}/test/<class>/*.jpg    with the classes of the search"""


@dataclass(frozen=True)
class LabelledImages:
    """Test images of known classes.

    samples: paths and positions in the class names. missing: classes without images.
    ignored: images of each class that the search does not know, which are left out.
    """

    samples: tuple[Sample, ...]
    missing: tuple[str, ...]
    ignored: dict[str, int]


def find_images(folder: Path) -> list[Path]:
    """Image files below a folder by their extension, nested ones included, in sorted order.

    Hidden files and folders are passed over, links are followed once.

    Raises:
        DatasetError: the folder holds none, or cannot be listed.
    """
    found = sorted(_walk(folder))
    if not found:
        raise DatasetError(f"{folder} holds no images ({', '.join(image_extensions())}).")
    return found


def passed_over(folder: Path) -> dict[str, int]:
    """Pictures below a folder that cannot be opened here, counted by extension."""
    found: Counter[str] = Counter()
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not LATEST.is_junk(name)]
        found.update(Path(place, name).suffix.lower() for name in files if not LATEST.is_junk(name))
    known, pictures = image_extensions(), (*LATER_EXTENSIONS, *OTHER_PICTURES)
    return {name: count for name, count in sorted(found.items()) if name in pictures and name not in known}


def find_labelled(root: Path, class_names: Sequence[str], ignore_unknown: bool = False) -> LabelledImages:
    """Images of `root/<class>`, or of `root/test/<class>` where there is a folder `test`.

    Raises:
        DatasetError: no such folder, no images, or classes that `class_names` lacks.
    """
    layout = EXPECTED.format(root=root)
    if not root.is_dir():
        raise DatasetError(f"There is no folder {root}.\n{layout}")
    for name in ("test", "Test", "testing", "Testing"):
        if (root / name).is_dir() and name not in class_names:
            root = root / name
            break
    known = {same_name(name): name for name in class_names}
    folders = {
        known.get(same_name(path.name), path.name): path
        for path in sorted(root.iterdir())
        if path.is_dir() and not LATEST.is_junk(path.name)
    }
    images = {name: sorted(_walk(path)) for name, path in folders.items()}
    ignored = {name: len(images[name]) for name in images if images[name] and name not in class_names}
    if ignored and not ignore_unknown:
        raise DatasetError(_unknown_classes(root, ignored, class_names))
    samples = [(path, label) for label, name in enumerate(class_names) for path in images.get(name, ())]
    if not samples:
        raise DatasetError(
            f"{root} holds no images of the search's classes in folders of their own.\n{layout}"
        )
    missing = tuple(name for name in class_names if not images.get(name))
    return LabelledImages(tuple(samples), missing, ignored)


def _unknown_classes(root: Path, unknown: dict[str, int], class_names: Sequence[str]) -> str:
    lines = []
    for name, count in unknown.items():
        close = get_close_matches(name, class_names, n=2, cutoff=0.5)
        hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
        lines.append(f"\n  '{shown(name)}' ({count} images){hint}")
    return (
        f"{root} has classes that the search does not know:{''.join(lines)}\n"
        f"It knows {', '.join(class_names)}. Rename or remove these folders, or leave their images out "
        "(--ignore-unknown, ignore_unknown=True)."
    )


def _walk(folder: Path) -> Iterator[Path]:
    seen: set[tuple[int, int]] = set()
    for place, folders, files in os.walk(folder, followlinks=True, onerror=_refuse):
        facts = Path(place).stat()
        if (facts.st_dev, facts.st_ino) in seen:
            folders.clear()
            continue
        seen.add((facts.st_dev, facts.st_ino))
        folders[:] = sorted(name for name in folders if not LATEST.is_junk(name))
        for name in files:
            if name.lower().endswith(image_extensions()) and not LATEST.is_junk(name):
                yield Path(place) / name


def _refuse(error: OSError) -> None:
    raise DatasetError(f"Folder {error.filename} cannot be listed: {error.strerror}.") from error
