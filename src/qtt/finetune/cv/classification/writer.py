"""Checkpoints written in the background, while results are reported and the next step trains."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Thread
from typing import Any

import torch
from torch import Tensor

from qtt.errors import EnvironmentFault
from qtt.finetune.cv.classification.checkpoint import Progress, first_line, save_checkpoint

log = logging.getLogger(__name__)

Stamp = tuple[int, int, int]
"""Inode, size and time of a file: it changes whenever the file is replaced."""


class CheckpointError(EnvironmentFault):
    """A checkpoint that could not be written, most often because the disk is full."""


class Checkpoint:
    """A pipeline's checkpoint as this process last wrote or read it; it may still be on its way to disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.error: CheckpointError | None = None
        self._stamp = _stamp(path)
        self._thread: Thread | None = None

    @property
    def pending(self) -> bool:
        """Whether it is being written."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def unchanged(self) -> bool:
        """Whether nobody removed or replaced the file since."""
        return self.pending or _stamp(self.path) == self._stamp

    def write(self, identity: str, progress: Progress, state: Mapping[str, Any]) -> None:
        """Write `state`, which nobody changes any more, in a thread that the process waits for at its end."""
        self._thread = Thread(target=self._write, args=(identity, progress, state), name="qtt-checkpoint")
        self._thread.start()

    def wait(self) -> None:
        """Wait until it is written, or has failed to be."""
        if self._thread is not None:
            self._thread.join()

    def _write(self, identity: str, progress: Progress, state: Mapping[str, Any]) -> None:
        try:
            save_checkpoint(self.path, identity, progress, state)
        except Exception as error:
            if self.path.parent.is_dir():  # else it was removed meanwhile: nobody wants the checkpoint
                self.error = CheckpointError(_explain(self.path, progress, error))
                log.error("%s", self.error)
        self._stamp = _stamp(self.path)


class CheckpointWriter:
    """Writes one checkpoint at a time, so that memory for one copy is all it takes."""

    def __init__(self) -> None:
        self._last: Checkpoint | None = None

    def submit(self, path: Path, identity: str, progress: Progress, state: Mapping[str, Any]) -> Checkpoint:
        """Copy `state` and begin to write it; waits for an earlier one to be written.

        Raises:
            OSError: the folder cannot be made.
        """
        self.wait()
        path.parent.mkdir(parents=True, exist_ok=True)  # not in the thread, which must not revive a folder
        self._last = Checkpoint(path)
        self._last.write(identity, progress, snapshot(state))
        return self._last

    def wait(self) -> None:
        """Wait until nothing is being written."""
        if self._last is not None:
            self._last.wait()
            self._last = None


def snapshot(state: Any) -> Any:
    """A copy on the CPU of nested dicts, lists and tuples of tensors and plain values."""
    copy = _copied(state)
    if any(tensor.is_cuda for tensor in tensors(state)):
        torch.cuda.synchronize()  # the copies were started one after the other, without waiting for each
    return copy


def tensors(state: Any) -> Iterator[Tensor]:
    """The tensors in nested dicts, lists and tuples."""
    if isinstance(state, Tensor):
        yield state
    elif isinstance(state, Mapping | list | tuple):
        for item in state.values() if isinstance(state, Mapping) else state:
            yield from tensors(item)


def _copied(state: Any) -> Any:
    if isinstance(state, Tensor):
        return state.detach().to("cpu", non_blocking=True, copy=True)
    if isinstance(state, Mapping):
        return {key: _copied(item) for key, item in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(_copied(item) for item in state)
    return state


def _explain(path: Path, progress: Progress, error: Exception) -> str:
    return (
        f"The checkpoint {path} of epoch {progress.epoch} could not be written ({first_line(error)}). If the "
        "disk is full, make room or bound the checkpoints with disk_quota_gb. The checkpoint before it, if "
        "any, is untouched."
    )


def _stamp(path: Path) -> Stamp | None:
    try:
        facts = path.stat()
    except FileNotFoundError:
        return None
    return facts.st_ino, facts.st_size, facts.st_mtime_ns
