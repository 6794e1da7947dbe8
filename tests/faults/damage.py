"""Damaged files: a clear error or the same story as before, never another error and never another result."""

import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path

from faults.places import torn
from faults.rules import Broken
from faults.searches import EVALUATIONS, Plan, story, undisturbed
from qtt.errors import QTTError
from qtt.runs.record import RunRecord
from qtt.statistics import pipeline_table

NOT_READ = (".lock", "begun", "last.txt")
"""Files that hold nothing, or that the table objective alone reads."""


def files(folder: Path) -> list[Path]:
    """All that a search left and reads again."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in NOT_READ)


def flip(file: Path, draw: random.Random) -> str:
    """Flip one bit; what was done, in words."""
    data = bytearray(file.read_bytes())
    place, bit = draw.randrange(len(data)), draw.randrange(8)
    data[place] ^= 1 << bit
    file.write_bytes(data)
    return f"bit {bit} of byte {place} of {file.name}"


def tear(file: Path, draw: random.Random) -> str:
    """Cut a file off, as a crash or a bad copy does."""
    if file.name == "journal.jsonl":
        torn(file.parent, draw)
        return "the end of the journal"
    left = draw.randrange(file.stat().st_size)
    os.truncate(file, left)
    return f"all but {left} bytes of {file.name}"


@dataclass(frozen=True)
class Damage:
    """A file of a run folder, flipped or torn; then the folder is read and its search resumed."""

    kind: str
    names: tuple[str, ...] = ()

    def inject(self, folder: Path, draw: random.Random) -> int:
        """See `Injection.inject`."""
        optimizer, step = draw.choice(("epochwise", "asha", "random")), draw.choice((1, 3))
        expected, _ = undisturbed(optimizer, step, folder.parent)
        shutil.copytree(folder.parent / f"{optimizer}-{step}", folder)
        found = [file for file in files(folder) if file.stat().st_size]
        file = draw.choice([file for file in found if not self.names or file.name in self.names])
        what = (flip if self.kind == "flipped" else tear)(file, draw)
        try:
            known = story(folder)
            record = RunRecord.load(folder)
            pipeline_table(record.history, record.candidates)
            _same(known, list(expected), what)
            Plan(optimizer, step, settings={"seconds": 0.0}, evaluations=EVALUATIONS).run(folder)
            _same(story(folder), list(expected), what)
        except QTTError:
            return 1
        except Broken:
            raise
        except Exception as error:
            raise Broken(f"{what}: {type(error).__name__}: {error}") from error
        return 1


def _same(rows: list[tuple[int, int, float]], expected: list[tuple[int, int, float]], what: str) -> None:
    """A journal that lost its last lines is the same story, not yet told to its end."""
    if rows != expected[: len(rows)]:
        raise Broken(f"{what}: results were changed, and nobody noticed")
