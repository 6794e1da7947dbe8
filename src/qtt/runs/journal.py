"""The journal: every result of a search, one JSON line each, durable before anyone learns from it."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from qtt.errors import JournalError, ObjectiveError
from qtt.types import Result


@dataclass(frozen=True)
class Entry:
    """A journaled result; elapsed: seconds of the budget that were spent when it was written."""

    result: Result
    elapsed: float


class Journal:
    """Append-only file of results (`journal.jsonl`).

    A torn last line, left by a crash while writing, is dropped; any other damage is an error.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, result: Result, elapsed: float) -> None:
        """Write one result and sync it to disk before returning."""
        line = json.dumps({"elapsed": round(elapsed, 3), **result.to_dict()}, allow_nan=False)
        with self.path.open("ab") as file:
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def read(self, repair: bool = True) -> list[Entry]:
        """All entries in order; the file is trimmed to its last whole line.

        repair: false: leave the file as it is, for readers of a search that may be running.

        Raises:
            JournalError: a line before the last cannot be read.
        """
        if not self.path.exists():
            return []
        data = self.path.read_bytes()
        whole, _, torn = data.rpartition(b"\n")
        if torn and repair:
            os.truncate(self.path, len(data) - len(torn))
        lines = whole.split(b"\n") if whole else []
        return [self._parse(line, number) for number, line in enumerate(lines, start=1)]

    def _parse(self, line: bytes, number: int) -> Entry:
        try:
            data = json.loads(line)
            return Entry(Result.from_dict(data), float(data["elapsed"]))
        except (ValueError, KeyError, TypeError, AttributeError, ObjectiveError) as error:
            raise JournalError(
                f"Line {number} of {self.path} is damaged ({error}). Remove that line to go on without its "
                "result, or give the search another run folder."
            ) from error
