"""What a dataset holds, for people to see before anything is trained: figures, and reasons to stop."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qtt.data.image_types import LATER_EXTENSIONS, OTHER_PICTURES, how_to_open
from qtt.data.listed import SPLITS, ImageFolder, listed_names
from qtt.data.scan import ImageFacts
from qtt.data.walking import name_within, shown

COPY = 0.9
"""Share of a split that is in training too from which it is called a copy."""

UNEVEN = 10
"""Ratio of the largest class to the smallest from which that is said."""

PICTURES = (*LATER_EXTENSIONS, *OTHER_PICTURES)
"""Types of which it is a loss that they are not used."""

NAMED = 5
"""Unreadable images that are named on the console; the file names all."""


@dataclass(frozen=True)
class Survey:
    """What was found in a dataset.

    counts: images by split and class. formats: images by format. sides: least, median and largest shorter
    side in pixels. turned: images that EXIF turns or mirrors. unreadable: reasons by image, all left out.
    passed: files that are no images, by extension, and folders that hold none, by name. duplicates: images
    whose content another split has too, by pair of splits. twice: training images whose content an earlier
    one has. missing: classes without images by split. notes: what was left aside. drawn: whether
    validation was split off at random.
    """

    path: Path
    layout: str
    counts: Mapping[str, Mapping[str, int]]
    formats: Mapping[str, int]
    sides: tuple[int, int, int]
    turned: int
    unreadable: Mapping[str, str]
    passed: Mapping[str, int]
    duplicates: Mapping[str, int]
    twice: int
    missing: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...]
    drawn: bool

    @property
    def totals(self) -> dict[str, int]:
        """Images by split."""
        return {split: sum(found.values()) for split, found in self.counts.items()}

    @property
    def lines(self) -> list[str]:
        """The figures, in lines."""
        sizes = sorted(self.counts["train"].values())
        range_ = f"{sizes[0]} to {sizes[-1]} a class" if sizes[0] != sizes[-1] else f"{sizes[0]} a class"
        splits = ", ".join(f"{self.totals[s]} {w}" for s, w in _WORDS.items() if self.totals[s])
        formats = ", ".join(f"{count} {name}" for name, count in self.formats.items())
        small, middle, large = self.sides
        sides = f"{small} pixels" if small == large else f"{small} to {large} pixels, median {middle}"
        lines = [
            f"Data: {shown(self.path)} ({self.layout})",
            f"  {splits} images of {len(sizes)} classes, {range_} to train on",
            f"  {formats}; shorter side {sides}",
        ]
        if self.turned:
            lines[-1] += f"; {self.turned} turned upright by their EXIF data"
        others = [f"{n} {name}" for name, n in self.passed.items() if name not in PICTURES]
        if others:
            lines.append(f"  not used, for they are no images: {listed_names(others)}")
        return lines

    @property
    def warnings(self) -> list[str]:
        """What may make scores worthless, or is not as it seems; in sentences, the worst first."""
        return [*self._about_splits(), *self._about_classes(), *self._about_files(), *self.notes]

    def _about_splits(self) -> Iterator[str]:
        for pair, count in self.duplicates.items():
            one, other = pair.split(" and ")
            if one == "train" and count >= COPY * self.totals[other]:
                yield (
                    f"{count} of {self.totals[other]} images of {other} are copies of training images: its "
                    f"score tells what was learned by heart. {self._mend(other)}"
                )
            else:
                yield f"{count} of {self.totals[other]} images of {other} are copies of images of {one}."
        if "val" in self.missing:
            names = self.missing["val"]
            present = len(self.counts["train"]) - len(names)
            yield (
                f"Validation lacks {len(names)} of {len(self.counts['train'])} classes: "
                f"{listed_names(names)}. "
                f"Scores are of the other{'s' if present > 1 else ''} alone"
                + (", and a network that always answers it has 1.0000." if present == 1 else ".")
            )
        if "test" in self.missing:
            yield f"The test split lacks {listed_names(self.missing['test'])}."

    def _mend(self, split: str) -> str:
        if split == "val" and self.drawn:
            return "Remove the copies."
        return f"Remove {split}, or put other images there."

    def _about_classes(self) -> Iterator[str]:
        train = self.counts["train"]
        single = [name for name, count in train.items() if count == 1]
        if single:
            yield f"Classes with a single image to train on: {listed_names(single)}."
        largest, smallest = max(train, key=lambda n: train[n]), min(train, key=lambda n: train[n])
        if train[largest] >= UNEVEN * train[smallest]:
            yield (
                f"Classes are uneven: '{largest}' has {train[largest]} images to train on, '{smallest}' "
                f"{train[smallest]}. Answering '{largest}' for all validation images is right for "
                f"{self.majority:.1%}."
            )

    def _about_files(self) -> Iterator[str]:
        if self.unreadable:
            named = [f"{name} ({reason})" for name, reason in list(self.unreadable.items())[:NAMED]]
            more = ", …" if len(self.unreadable) > NAMED else ""
            plural = "s" * (len(self.unreadable) > 1)
            yield f"{len(self.unreadable)} unreadable image{plural} left out: {'; '.join(named)}{more}."
        for name, count in self.passed.items():
            if name in PICTURES:
                yield f"Not used: {count} {name}, which cannot be opened here; {how_to_open(name)}."
        if self.twice:
            yield f"{self.twice} training images are there twice."

    @property
    def majority(self) -> float:
        """Share of validation that the largest class has."""
        return max(self.counts["val"].values()) / self.totals["val"]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "path": shown(self.path),
            "layout": self.layout,
            "images": self.totals,
            "classes": {split: dict(found) for split, found in self.counts.items()},
            "formats": dict(self.formats),
            "shorter_side": dict(zip(("least", "median", "largest"), self.sides, strict=True)),
            "turned_by_exif": self.turned,
            "unreadable": dict(self.unreadable),
            "no_images": dict(self.passed),
            "duplicates": dict(self.duplicates),
            "training_images_twice": self.twice,
            "classes_without_images": {split: list(names) for split, names in self.missing.items()},
            "warnings": self.warnings,
        }


_WORDS = {"train": "training", "val": "validation", "test": "test"}


def survey(path: Path, folder: ImageFolder, facts: Mapping[str, ImageFacts]) -> Survey:
    """Count what a listing holds.

    path: of the dataset. folder: without unreadable images. facts: of its images by path, and of the
    unreadable ones.
    """
    counts = {split: _by_class(folder, split) for split in SPLITS}
    used = [facts[str(path)] for split in SPLITS for path, _ in folder.split(split)]
    sides = [min(fact.width, fact.height) for fact in used]
    digests = {split: [facts[str(path)].digest for path, _ in folder.split(split)] for split in SPLITS}
    unreadable = {
        shown(name_within(folder.root, p)): facts[p].error or ""
        for p in sorted(facts)
        if facts[p].error is not None
    }
    passed = folder.passed
    return Survey(
        path=path,
        layout=folder.layout,
        counts=counts,
        formats=dict(Counter(fact.format for fact in used).most_common()),
        sides=(min(sides), round(float(np.median(sides))), max(sides)),
        turned=sum(fact.turned for fact in used),
        unreadable=unreadable,
        passed=dict(passed.files.most_common()) | {f"× {k}/": n for k, n in passed.folders.items()},
        duplicates=_duplicates(digests),
        twice=len(digests["train"]) - len(set(digests["train"])),
        missing={
            split: tuple(name for name, count in found.items() if not count)
            for split, found in counts.items()
            if any(found.values()) and not all(found.values())
        },
        notes=folder.notes,
        drawn=folder.drawn,
    )


def _by_class(folder: ImageFolder, split: str) -> dict[str, int]:
    found = Counter(label for _, label in folder.split(split))
    return {name: found[label] for label, name in enumerate(folder.class_names)}


def _duplicates(digests: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Images of the second of two splits whose content the first has, by both names."""
    found = {}
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        known = set(digests[one])
        count = sum(digest in known for digest in digests[other])
        if count:
            found[f"{one} and {other}"] = count
    return found
