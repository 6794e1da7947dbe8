"""Waiting for other processes and threads, with one limit that only bounds hangs."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LIMIT = 900.0
"""Seconds after which something hangs, however busy the machine is."""


def wait_until(condition: Callable[[], object], process: "subprocess.Popen[Any] | None" = None) -> None:
    """Return once `condition` holds.

    Raises:
        AssertionError: `process`, which is to bring it about, has ended before; or nothing has happened for
            so long that nothing will.
    """
    begin = time.monotonic()
    while True:
        ended = process is not None and process.poll() is not None
        if condition():
            return
        assert not ended, f"the process ended before that: {_told(process)}"
        assert time.monotonic() - begin < LIMIT, f"nothing has come of it in {LIMIT:.0f} s"
        time.sleep(0.01)


def _told(process: "subprocess.Popen[Any] | None") -> str:
    """The end of a process in words; what it said where it speaks to us."""
    return "" if process is None else f"{process.returncode} {process.communicate()}"


def group_ended(group: int) -> bool:
    """Whether no process of a process group is alive; the dead that nobody has asked after do not count."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    facts = [_facts(folder) for folder in Path("/proc").glob("[0-9]*")]
    return bool(facts) and not any(of == str(group) and state not in "ZX" for state, of in facts)


def _facts(folder: Path) -> tuple[str, str]:
    """State and process group of a process, as Linux tells them after its name in parentheses."""
    try:
        state, _, group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
    except OSError:  # it has ended meanwhile
        return "X", ""
    return state, group


def processes_with(entry: str) -> list[int]:
    """Processes that began with an entry, `NAME=value`, in their environment; the dead do not count."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            entries = (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended meanwhile
            continue
        if entry.encode() in entries and _facts(folder)[0] not in "ZX":
            found.append(int(folder.name))
    return found
