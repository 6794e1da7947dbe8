"""The results: one row a finished run, appended under a lock, and read back as runs with their points."""

import csv
import json
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from filelock import FileLock
from points import Point, last_within

SETS = ("imagenette_160", "dtd", "trashnet", "scene15", "neu_steel", "gtsrb43")

NO_BUDGET, NO_SEED = 0.0, 0
"""Budget and seed of a method that has none: one run is for all budgets and seeds."""


@dataclass(frozen=True, order=True)
class Key:
    """What tells runs apart. budget: in seconds."""

    set: str
    method: str
    budget: float
    seed: int

    def __str__(self) -> str:
        budget = f"-{self.budget:g}s" if self.budget else ""
        return f"{self.set}-{self.method}{budget}-{self.seed}"


@dataclass(frozen=True)
class Run:
    """One row.

    classes: of the dataset. seconds: of the whole run, tests included. note: why it has failed; empty: it has
    not.
    """

    key: Key
    classes: int
    seconds: float
    note: str
    points: tuple[Point, ...]

    def accuracy(self, seconds: float) -> float:
        """On the test images, of what there was after so many seconds; a guess where there was nothing."""
        point = last_within(self.points, seconds)
        return 1 / self.classes if point is None else point.test


COLUMNS = (*(item.name for item in fields(Key)), "classes", "seconds", "note", "points")


def append_run(path: Path, run: Run) -> None:
    """Add a row; two processes may do so at once."""
    points = json.dumps(
        [[round(p.seconds, 2), round(p.val, 5), round(p.test, 5), p.what] for p in run.points]
    )
    key = run.key
    row = (
        key.set,
        key.method,
        f"{key.budget:g}",
        key.seed,
        run.classes,
        f"{run.seconds:.1f}",
        run.note,
        points,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        new = not path.exists()
        with path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([COLUMNS, row] if new else [row])


def read_runs(path: Path) -> list[Run]:
    """All runs in their order, the last one where several have a key; none where there is no file."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        runs = [_run(row) for row in csv.DictReader(file)]
    return list({astuple(run.key): run for run in runs}.values())


def finished(path: Path, *, failed: bool = True) -> set[Key]:
    """The keys of the results, those of failed runs included or not."""
    return {run.key for run in read_runs(path) if failed or not run.note}


def _run(row: dict[str, str]) -> Run:
    key = Key(row["set"], row["method"], float(row["budget"]), int(row["seed"]))
    points = tuple(Point(*values) for values in json.loads(row["points"]))
    return Run(key, int(row["classes"]), float(row["seconds"]), row["note"], points)
