"""Files of a pipeline, which travel with its steps where the machines share no folder.

On the head they lie in the run folder, which it alone writes to. A worker has those of one pipeline at a
time, in a folder of its own: it is sent them before a step, unless it has them already, and sends back what
changed with each result.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from threading import Lock

from qtt.errors import ObjectiveError
from qtt.support.files import write_bytes

Contents = Mapping[str, bytes]
State = Mapping[str, tuple[int, int]]
"""Size and time of each file, by its path within a folder."""

WEIGHTS = "weights-*.safetensors"
"""Of an epoch (`TaskInfo.weights_file`): they go to the head, which takes them away, and never back."""

UNFINISHED = (".*", "*.tmp")


@dataclass(frozen=True)
class Parcel:
    """Files of a pipeline that changed, and the names of all that it has."""

    contents: Contents
    names: Sequence[str]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(map(len, self.contents.values()))


class Traffic:
    """Bytes that were moved, to workers and back; counted by any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.there = self.back = 0

    def count(self, there: int = 0, back: int = 0) -> None:
        """So many more."""
        with self._lock:
            self.there += there
            self.back += back


def state(folder: Path | None) -> State:
    """The files that make up a checkpoint."""
    return {name: told for name, told in _all(folder).items() if not fnmatch(name, WEIGHTS)}


def pack(folder: Path, known: State, weights: bool) -> tuple[Parcel, State]:
    """What changed since a state was known, and the state of now.

    weights: whether those of epochs are among it; they are removed then.
    """
    now = _all(folder) if weights else state(folder)
    contents = {name: (folder / name).read_bytes() for name, told in now.items() if known.get(name) != told}
    for name in now:
        if weights and fnmatch(name, WEIGHTS):
            (folder / name).unlink()
    return Parcel(contents, tuple(now)), state(folder)


def unpack(parcel: Parcel, folder: Path, before: State) -> None:
    """Write files, each whole or not at all, and remove those of `before` that there are no more.

    Raises:
        ObjectiveError: a name leads out of the folder.
    """
    for name, content in parcel.contents.items():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise ObjectiveError(f"A worker sent a file for {name}, which is not in the pipeline's folder.")
        write_bytes(folder / name, content)
    for name in before.keys() - set(parcel.names):
        (folder / name).unlink(missing_ok=True)


def replace_all(parcel: Parcel, folder: Path) -> State:
    """Have a folder hold a pipeline's files, and those beside it nothing; its state."""
    shutil.rmtree(folder.parent, ignore_errors=True)
    folder.mkdir(parents=True)
    unpack(parcel, folder, {})
    return state(folder)


def _all(folder: Path | None) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for path in sorted(folder.rglob("*")) if folder is not None and folder.is_dir() else ():
        if path.is_file() and not any(fnmatch(path.name, pattern) for pattern in UNFINISHED):
            told = path.stat()
            found[path.relative_to(folder or path).as_posix()] = (told.st_size, told.st_mtime_ns)
    return found
