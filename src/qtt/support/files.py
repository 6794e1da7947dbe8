"""Writing files so that a crash leaves either the old content or the new, never half of it.

And reading JSON that a crash, a disk or a stranger may have made into anything.
"""

import errno
import hashlib
import json
import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from qtt.errors import DamagedFileError

CLOSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST})
"""Errors of the system about a place that lets nobody, or not this user, write to it."""

MOST_BYTES, MOST_DEEP = 2**30, 64
"""Of a JSON file that is read."""


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` durably: written beside it, flushed, synced, then renamed."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` by `content` in the same way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
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


def file_sha256(path: Path) -> str:
    """Hash of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path, nan: bool = False) -> Any:
    """Read a JSON file, of whoever wrote it; see `parse_json`.

    Raises:
        FileNotFoundError: there is none.
        DamagedFileError: it is no file, larger than `MOST_BYTES`, or no such JSON.
    """
    try:
        state = path.stat()
        if not stat.S_ISREG(state.st_mode):
            raise ValueError("it is no file")
        if state.st_size > MOST_BYTES:
            raise ValueError(f"it has {state.st_size / 1e6:,.0f} MB, more than {MOST_BYTES / 1e6:,.0f}")
        return parse_json(path.read_bytes(), nan)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise DamagedFileError(f"{path} cannot be read: {why}.") from error


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        FileNotFoundError, DamagedFileError: as `read_json`, or it holds something else.
    """
    found = read_json(path)
    if not isinstance(found, dict):
        raise DamagedFileError(f"{path} cannot be read: it holds a {type(found).__name__}, and no object.")
    return found


def parse_json(text: str | bytes, nan: bool = False) -> Any:
    """JSON with finite numbers, whole ones below 2⁶³, and at most `MOST_DEEP` levels.

    nan: NaN may stand for a number that is missing.

    Raises:
        ValueError: it is none; says what is wrong and where.
    """
    try:
        text = text if isinstance(text, str) else text.decode("utf-8")
        constant = _missing if nan else _refused
        found = json.loads(text, parse_constant=constant, parse_float=_finite, parse_int=_whole)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if _is_deeper(found, MOST_DEEP):
        raise ValueError("it is nested too deeply")
    return found


def _refused(name: str) -> float:
    raise ValueError(f"it has {name}, which is no number of JSON")


def _missing(name: str) -> float:
    return math.nan if name == "NaN" else _refused(name)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"it has the number {digits[:40]}")
    return value


def _whole(digits: str) -> int:
    if len(digits) > 20 or abs(value := int(digits)) >= 2**63:
        raise ValueError(f"it has the number {digits[:40]}{'…' if len(digits) > 40 else ''}")
    return value


def _is_deeper(data: Any, levels: int) -> bool:
    """Whether objects and lists lie in more levels of each other."""
    inside = [data]
    for _ in range(levels):
        inside = [
            part
            for holder in inside
            if isinstance(holder, dict | list)
            for part in (holder.values() if isinstance(holder, dict) else holder)
            if isinstance(part, dict | list)
        ]
        if not inside:
            return False
    return True
