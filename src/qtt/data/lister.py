"""Listing the class folders of a dataset's splits."""

from collections.abc import Sequence
from pathlib import Path

from qtt.data.listed import listed_names
from qtt.data.splitting import Sample
from qtt.data.trees import TREES
from qtt.data.walking import (
    PassedOver,
    Rules,
    Stamp,
    entries,
    name_within,
    same_name,
    shown,
    subfolders,
    walk_images,
)
from qtt.errors import DatasetError


class Lister:
    """Lists splits of one dataset, and notes what it passes over.

    stamps: of the images listed so far.
    """

    def __init__(self, root: Path, rules: Rules, skip: frozenset[str]) -> None:
        self.root = root
        self.rules = rules
        self.skip = skip
        self.stamps: dict[str, Stamp] = {}
        self.passed = PassedOver()
        self.notes: list[str] = []

    def images(self, folder: Path) -> dict[str, Stamp]:
        """Those below a folder that are not skipped."""
        found = walk_images(folder, self.rules, self.passed)
        if self.skip:
            found = {p: s for p, s in found.items() if shown(name_within(self.root, p)) not in self.skip}
        self.stamps |= found
        return found

    def samples(self, folder: Path, class_names: Sequence[str], complete: bool = True) -> tuple[Sample, ...]:
        """Images of a split; complete: every class must be there with at least one image."""
        present = self._present(folder)
        known = {same_name(name) for name in class_names}
        strange = sorted(path.name for name, path in present.items() if name not in known)
        if strange:
            raise DatasetError(
                f"{folder} has classes that train lacks: {listed_names(strange)}. "
                f"Class folders must be named alike in every split.\n{TREES.format(root=folder.parent)}"
            )
        samples: list[Sample] = []
        for label, name in enumerate(class_names):
            place = present.get(same_name(name))
            images = {} if place is None else self.images(place)
            if complete and not images:
                raise DatasetError(
                    f"Class folder {folder / name} holds no image ({', '.join(self.rules.extensions)})"
                    f"{self._others(folder / name)}. Add images or remove the folder."
                )
            samples += [(Path(path), label) for path in images]
        if not samples:
            raise DatasetError(
                f"{folder} holds no images ({', '.join(self.rules.extensions)}) in class folders.\n"
                f"{TREES.format(root=folder.parent)}"
            )
        return tuple(samples)

    def test(self, folder: Path, class_names: Sequence[str]) -> tuple[Sample, ...]:
        """Test images of known classes; the others are noted, for a test split is never needed to search."""
        known = {same_name(name): label for label, name in enumerate(class_names)}
        samples: list[Sample] = []
        strange: dict[str, int] = {}
        for name, place in sorted(self._present(folder).items(), key=lambda pair: known.get(pair[0], -1)):
            images = self.images(place)
            if name in known:
                samples += [(Path(path), known[name]) for path in images]
            elif images:
                strange[place.name] = len(images)
        flat = [
            entry
            for entry in entries(folder, self.rules)
            if entry.name.lower().endswith(self.rules.extensions) and not entry.is_dir()
        ]
        if flat:
            self.notes.append(
                f"Images directly in {folder.name} have no class and are not used: {len(flat)}."
            )
        if strange:
            counts = listed_names([f"{name} ({count})" for name, count in strange.items()])
            self.notes.append(f"Folders of {folder.name} that are no class of train are not used: {counts}.")
        return tuple(samples)

    def _present(self, folder: Path) -> dict[str, Path]:
        """Class folders by the form of their names that compares."""
        return {same_name(path.name): path for path in subfolders(folder, self.rules, self.passed)}

    def _others(self, folder: Path) -> str:
        """What a class folder holds in place of images, in words."""
        names = [shown(entry.name) for entry in entries(folder, self.rules)]
        return f", only {', '.join(names[:3])}{', …' if len(names) > 3 else ''}" if names else ""
