"""Faults of the place where a search writes, and of its clock."""

import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from faults.rules import Broken, check
from faults.searches import EVALUATIONS, OURS, Child, Plan, story, undisturbed
from qtt.support.clock import WallClock

SIZE = 14_000_000
"""Bytes of the file system that gets full; a search looks for ten millions before it begins."""


def mountable(folder: Path) -> str:
    """Why no file system can be mounted here; empty: one can."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with disk(folder):
            return ""
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no file system can be mounted here: {error}"


@contextmanager
def disk(folder: Path) -> Iterator[None]:
    """A small file system of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True)


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, capture_output=True)


def fill(folder: Path) -> None:
    """Leave no room at all, or hardly any."""
    with suppress(OSError), (folder / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(b"0" * 65536)


class OnADisk:
    """A search on a small file system: what happens there, and that it goes on when that is mended."""

    ends: tuple[int, ...] = (0, OURS)

    def missing(self) -> str:
        """Why this cannot be done here."""
        return mountable(Path(tempfile.gettempdir()) / f"qtt-faults-mount-{os.getpid()}")

    def inject(self, folder: Path, draw: random.Random) -> int:
        """See `Injection.inject`."""
        optimizer, step = draw.choice(("epochwise", "asha", "random")), draw.choice((1, 3))
        expected, seconds = undisturbed(optimizer, step, folder.parent)
        plan = Plan(optimizer, step)
        with disk(folder):
            run = folder / "run"
            child = Child(plan, run)
            time.sleep(draw.uniform(0.0, seconds))
            self.spoil(folder, child)
            code = child.wait()
            if code not in self.ends or "Traceback" in child.said():
                raise Broken(f"it ended with {code}: {child.said()[-2000:]}")
            known = self.refused(plan, run)
            self.mend(folder)
            child = Child(plan, run)
            if child.wait() != 0:
                raise Broken(f"it did not go on: {child.said()[-2000:]}")
            if story(run)[: len(known)] != known:
                raise Broken("results were lost")
            check(run, list(expected), EVALUATIONS)
        return 1

    def spoil(self, folder: Path, child: Child) -> None:
        """Let it happen."""
        raise NotImplementedError

    def mend(self, folder: Path) -> None:
        """Let it be as before."""
        raise NotImplementedError

    def refused(self, plan: Plan, run: Path) -> list[tuple[int, int, float]]:
        """What the folder knows, before it is mended."""
        return story(run)


class Full(OnADisk):
    """The disk fills while a search runs."""

    def spoil(self, folder: Path, child: Child) -> None:
        """See `OnADisk.spoil`."""
        fill(folder)

    def mend(self, folder: Path) -> None:
        """See `OnADisk.mend`."""
        (folder / "filler").unlink(missing_ok=True)


class ReadOnly(OnADisk):
    """A folder of a search that was killed can only be read; another try says so and changes nothing."""

    ends = (0, -signal.SIGKILL)

    def spoil(self, folder: Path, child: Child) -> None:
        """See `OnADisk.spoil`."""
        child.signal(signal.SIGKILL)

    def refused(self, plan: Plan, run: Path) -> list[tuple[int, int, float]]:
        """See `OnADisk.refused`."""
        _mount("-o", "remount,ro", str(run.parent))
        known = story(run)
        child = Child(plan, run)
        if child.wait() != OURS:
            raise Broken("it went on in a folder that can only be read")
        return known

    def mend(self, folder: Path) -> None:
        """See `OnADisk.mend`."""
        _mount("-o", "remount,rw", str(folder))


class JumpingClock(WallClock):
    """Runs ahead by hours now and then, as after a suspended night."""

    def __init__(self) -> None:
        self._ahead = 0.0
        self._draw = random.Random(1)

    def now(self) -> float:
        """See `Clock.now`."""
        if self._draw.random() < 0.1:
            self._ahead += self._draw.uniform(0.0, 1e5)
        return super().now() + self._ahead


@dataclass(frozen=True)
class Jumps:
    """The clock jumps, and the system's time does in both directions."""

    def inject(self, folder: Path, draw: random.Random) -> int:
        """See `Injection.inject`."""
        optimizer, step = draw.choice(("epochwise", "asha", "random")), draw.choice((1, 3))
        expected, _ = undisturbed(optimizer, step, folder.parent)
        real = time.time
        time.time = lambda: real() + draw.uniform(-1e8, 1e8)
        try:
            child = Child(Plan(optimizer, step, clock=JumpingClock, tuner={"hang_factor": None}), folder)
        finally:
            time.time = real
        if child.wait() != 0:
            raise Broken(child.said()[-2000:])
        check(folder, list(expected), EVALUATIONS)
        return 1


def torn(folder: Path, draw: random.Random) -> None:
    """Cut the journal somewhere within its last line."""
    journal = folder / "journal.jsonl"
    data = journal.read_bytes()
    last = len(data) - data.rstrip(b"\n").rfind(b"\n") - 1
    os.truncate(journal, len(data) - draw.randrange(1, last))


@dataclass(frozen=True)
class TornJournal:
    """A crash tears the last line of the journal: it is dropped, and its epoch comes again."""

    def inject(self, folder: Path, draw: random.Random) -> int:
        """See `Injection.inject`."""
        optimizer, step = draw.choice(("epochwise", "asha", "random")), draw.choice((1, 3))
        expected, _ = undisturbed(optimizer, step, folder.parent)
        whole = folder.parent / f"{optimizer}-{step}"
        shutil.copytree(whole, folder)
        lines = (whole / "journal.jsonl").read_bytes().splitlines(keepends=True)
        left = draw.randrange(2, len(lines))
        (folder / "journal.jsonl").write_bytes(b"".join(lines[:left]))
        torn(folder, draw)
        child = Child(Plan(optimizer, step), folder)
        if child.wait() != 0:
            raise Broken(child.said()[-2000:])
        check(folder, list(expected), EVALUATIONS)
        return 1
