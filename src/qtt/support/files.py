"""Writing files so that a crash leaves either the old content or the new, never half of it."""

import errno
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

CLOSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST})
"""Errors of the system about a place that lets nobody, or not this user, write to it."""


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` durably: written beside it, flushed, synced, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_json(path: Path, data: Any) -> None:
    """Write JSON-able `data` durably, indented for people."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def usual_permissions(path: Path) -> Iterator[None]:
    """What is written to `path` meanwhile gets the permissions that new files have here (the umask's).

    For libraries that write through a private file of their own, as safetensors does: colleagues could
    otherwise read all of a run folder but the network.
    """
    path.touch()  # the umask cannot be asked without changing it for all threads
    usual = stat.S_IMODE(path.stat().st_mode)
    yield
    with suppress(OSError):  # file systems without permissions
        path.chmod(usual)


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))
