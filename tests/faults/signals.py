"""Faults that come from outside: signals to the search and its training process, at any instant."""

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from faults.rules import Broken, check
from faults.searches import EVALUATIONS, INTERRUPTED, Child, Plan, entries, story, undisturbed


class Heard(Protocol):
    """A process that takes signals."""

    pid: int

    def signal(self, number: signal.Signals) -> None:
        """Send it one."""
        ...


Hit = Callable[[Heard, random.Random], None]

HITS = 3
"""Faults that one search meets, one after the other; each time it goes on from where it was."""


def kill(child: Heard, draw: random.Random) -> None:
    """SIGKILL to the search."""
    child.signal(signal.SIGKILL)


def terminate(child: Heard, draw: random.Random) -> None:
    """SIGTERM, as job queues send it."""
    child.signal(signal.SIGTERM)


def interrupt(child: Heard, draw: random.Random) -> None:
    """Ctrl-C."""
    child.signal(signal.SIGINT)


def interrupt_twice(child: Heard, draw: random.Random) -> None:
    """Ctrl-C, and again a moment later."""
    child.signal(signal.SIGINT)
    time.sleep(draw.choice((0.0, 0.001, 0.01, 0.05)))
    child.signal(signal.SIGINT)


def stop_and_continue(child: Heard, draw: random.Random) -> None:
    """Ctrl-Z and `fg`, also of the training process."""
    pids = [*below(child.pid), child.pid]
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for pid in pids:
            _send(pid, number)
        time.sleep(draw.uniform(0.0, 0.05))


def kill_training(child: Heard, draw: random.Random) -> None:
    """SIGKILL to the training process, or to whatever its keeper has."""
    for pid in below(child.pid)[1:]:
        _send(pid, signal.SIGKILL)


def kill_keeper(child: Heard, draw: random.Random) -> None:
    """SIGKILL to the keeper of the training process."""
    for pid in below(child.pid)[:1]:
        _send(pid, signal.SIGKILL)


def below(pid: int) -> list[int]:
    """Processes that a process has started, and those that they have, the nearest first."""
    children = [int(c) for f in Path(f"/proc/{pid}/task").glob("*/children") for c in _read(f).split()]
    return children + [grandchild for one in children for grandchild in below(one)]


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


@dataclass(frozen=True)
class Signals:
    """A signal as a fault: at random instants of a search, several times; then the search goes on to its end.

    same: whether the sequence of asks is that of an undisturbed search; else pipelines may have failed, one a
    hit.
    """

    hit: Hit
    isolation: str = "inline"
    same: bool = True

    def inject(self, folder: Path, draw: random.Random) -> int:
        """Inject into a new search in `folder`; how many faults that were.

        Raises:
            Broken: what must hold does not.
        """
        optimizer = draw.choices(("epochwise", "asha", "random", "quick"), (4, 3, 3, 2))[0]
        # Quick-Tune learns from what a step finished before it was cut off, and may go on elsewhere
        step = 1 if optimizer == "quick" else draw.choice((1, 3))
        expected, seconds = undisturbed(optimizer, step, folder.parent)
        slower = 1.5 if self.isolation == "process" else 1.0
        plan = Plan(optimizer, step, self.isolation)
        for _ in range(HITS):
            known = story(folder)
            child = Child(plan, folder)
            time.sleep(draw.uniform(0.0, slower * seconds))
            self.hit(child, draw)
            self._check_end(child, child.wait(), folder)
            if story(folder)[: len(known)] != known:
                raise Broken(f"results were lost or changed: {known[-1]}")
        child = Child(plan, folder)
        if child.wait() != 0:
            raise Broken(f"the resumed search did not end: {child.said()[-2000:]}")
        failures = sum(entry.result.status == "failed" for entry in entries(folder))
        if failures and self.same:
            raise Broken("a pipeline failed")
        check(folder, list(expected) if not failures else None, EVALUATIONS)
        if failures > HITS:
            raise Broken(f"{failures} failures after {HITS} hits")
        return HITS

    def _check_end(self, child: Child, code: int, folder: Path) -> None:
        """No traceback; Ctrl-C is an error of a search that had not begun alone."""
        if code not in (0, INTERRUPTED, -signal.SIGKILL):
            raise Broken(f"it ended with {code}: {child.said()[-2000:]}")
        if code == INTERRUPTED and (folder / "begun").exists():
            (folder / "begun").unlink()
            raise Broken(f"an interrupt got out of a search that had begun: {child.said()[-1000:]}")
        (folder / "begun").unlink(missing_ok=True)
        if "Traceback" in child.said():
            raise Broken(child.said()[-2000:])
