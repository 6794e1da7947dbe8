"""Meta-training in stages: each one's arrays are kept on disk, so that an interrupted call goes on.

A stage is kept in `folder/<name>.safetensors` together with the identity of what it was made from; a file of
another identity, or one that cannot be read, is made anew.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from qtt.support.files import usual_permissions

Arrays = dict[str, NDArray[np.generic]]


class Watcher(Protocol):
    """Who is told how far meta-training is."""

    def planned(self, names: Sequence[str]) -> None:
        """These stages will run, in this order."""

    def began(self, name: str) -> None:
        """A stage has begun."""

    def ended(self, name: str, kept: bool) -> None:
        """A stage has ended; `kept`: it was there from before."""


class Stages:
    """The stages of one meta-training.

    Args:
        folder: where stages are kept; None: nowhere.
        identity: hash of everything that the stages depend on.
        watcher: told of every stage; None: nobody.
    """

    def __init__(
        self, folder: Path | None = None, identity: str = "", watcher: Watcher | None = None
    ) -> None:
        self.folder = folder
        self.identity = identity
        self._watcher = watcher
        self._done: set[str] = set()

    def plan(self, names: Sequence[str]) -> None:
        """Announce the stages to come."""
        if self._watcher is not None:
            self._watcher.planned(names)

    def run(self, name: str, compute: Callable[[], Mapping[str, NDArray[np.generic]]]) -> Arrays:
        """The arrays of a stage, sorted by name: kept ones, or else what `compute` gives.

        Raises:
            ValueError: a second stage of one name, which would be given the first one's arrays.
        """
        if name in self._done:
            raise ValueError(f"A stage named '{name}' has run already; give this one a name of its own.")
        self._done.add(name)
        if self._watcher is not None:
            self._watcher.began(name)
        found = self._read(name)
        arrays = dict(sorted(compute().items())) if found is None else found
        if found is None and self.folder is not None:
            self._write(self.folder, name, arrays)
        if self._watcher is not None:
            self._watcher.ended(name, found is not None)
        return arrays

    def _write(self, folder: Path, name: str, arrays: Arrays) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{name}.tmp"
        in_order = {
            key: np.asarray(array, order="C") for key, array in arrays.items()
        }  # it writes any other wrongly
        with usual_permissions(temporary):
            save_file(in_order, temporary, {"identity": self.identity})
        temporary.replace(folder / f"{name}.safetensors")

    def _read(self, name: str) -> Arrays | None:
        if self.folder is None:
            return None
        try:
            with safe_open(self.folder / f"{name}.safetensors", framework="numpy") as file:
                if (file.metadata() or {}).get("identity") != self.identity:
                    return None
                return {key: file.get_tensor(key) for key in sorted(file.keys())}
        except (FileNotFoundError, SafetensorError):
            return None
