"""A training process that is started before anybody knows what for, so that its imports cost no waiting.

While a search reads the dataset and builds its optimizer, the libraries that training needs are loaded beside
it, on another core where there is one.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from qtt.data.library_caches import library_caches
from qtt.data.user_cache import VARIABLE, user_cache
from qtt.errors import ConfigError
from qtt.evaluation.training_process import TrainingProcess

Scratch = tempfile.TemporaryDirectory[str]


@dataclass(frozen=True)
class Begun:
    """A training process without an objective, and its temporary folder.

    environment: what was asked for beside that of this process.
    """

    process: TrainingProcess
    scratch: Scratch
    environment: Mapping[str, str]

    def end(self) -> None:
        """End the process and remove its folder."""
        self.process.end()
        self.scratch.cleanup()


_spare: Begun | None = None


def begin(environment: Mapping[str, str], log: Path | None = None) -> Begun:
    """Start a training process; without a `log`, what it prints is lost when it ends."""
    scratch: Scratch = tempfile.TemporaryDirectory(prefix="qtt-", ignore_cleanup_errors=True)
    whole = os.environ | _kept_caches() | {"TMPDIR": scratch.name} | dict(environment)
    try:
        process = TrainingProcess(log or Path(scratch.name) / "early.log", whole)
    except BaseException:
        scratch.cleanup()
        raise
    return Begun(process, scratch, dict(environment))


def start_early(imports: Sequence[str]) -> None:
    """Start a spare process that loads `imports` one by one until it is needed."""
    global _spare
    end_spare()
    _spare = begin({})
    _spare.process.send({"imports": list(imports)})


def take_spare(environment: Mapping[str, str]) -> Begun | None:
    """The spare process, its new owner's to end; None where none is alive, or its environment is another."""
    global _spare
    if _spare is None or _spare.environment != environment:
        return None
    found, _spare = _spare, None
    if found.process.alive:
        return found
    found.end()
    return None


def end_spare() -> None:
    """End the spare process, where there is one that nobody has taken."""
    global _spare
    found, _spare = _spare, None
    if found is not None:
        found.end()


def _kept_caches() -> dict[str, str]:
    """Cache folders, which may lie in the temporary directory: that of the process will not outlive it."""
    try:
        return {VARIABLE: str(user_cache().absolute()), **library_caches()}
    except ConfigError:  # it will do without, as this process does
        return {}
