"""The journal: every result of a search, one JSON line each, durable before anyone learns from it."""

import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from qtt.errors import JournalError, ObjectiveError
from qtt.support.files import write_text
from qtt.types import Result, Status


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
        with self.path.open("ab") as file:
            file.write(_line(result, elapsed).encode())
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

    def forgive_failures(self) -> int:
        """Let failed pipelines be asked again: their failures become steps that were cut off; how many.

        What they took stays spent. The file as it was is kept beside the new one.
        """
        entries = self.read()
        failures = sum(entry.result.status is Status.FAILED for entry in entries)
        if not failures:
            return 0
        shutil.copy2(self.path, self.path.with_name(f"{self.path.name}.before-retry"))
        write_text(self.path, "".join(_line(_forgiven(e.result), e.elapsed) for e in entries))
        return failures

    def _parse(self, line: bytes, number: int) -> Entry:
        try:
            data = json.loads(line)
            return Entry(Result.from_dict(data), float(data["elapsed"]))
        except (ValueError, KeyError, TypeError, AttributeError, ObjectiveError) as error:
            raise JournalError(
                f"Line {number} of {self.path} is damaged ({error}). Remove that line to go on without its "
                "result, or give the search another run folder."
            ) from error


def _line(result: Result, elapsed: float) -> str:
    return json.dumps({"elapsed": round(elapsed, 3), **result.to_dict()}, allow_nan=False) + "\n"


def _forgiven(result: Result) -> Result:
    """A failure as a step that was cut off; any other result as it is."""
    if result.status is not Status.FAILED:
        return result
    return replace(result, status=Status.TIMEOUT, info={"forgiven": result.info.get("reason", "")})
