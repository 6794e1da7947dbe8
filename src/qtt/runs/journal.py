"""The journal: every result of a search, one JSON line each, durable before anyone learns from it.

{"elapsed": 12.5, "config_id": 3, …, "crc": "89abcdef"}

crc is the CRC-32 of the line up to the comma before it, so that a line that a disk or a person has changed is
told from one that was written. Lines of earlier versions have none; after the first that has one, all do.
"""

import json
import math
import os
import re
import shutil
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

from qtt.errors import JournalError, ObjectiveError
from qtt.support.files import parse_json, write_text
from qtt.types import Result, Status

SEALED = re.compile(rb'(?P<body>.*), "crc": "(?P<crc>[0-9a-f]{8})"\}', re.DOTALL)


@dataclass(frozen=True)
class Entry:
    """A journaled result; elapsed: seconds of the budget that were spent when it was written."""

    result: Result
    elapsed: float


class Journal:
    """Append-only file of results (`journal.jsonl`).

    A torn last line, left by a crash while writing, is dropped; any other damage is an error.

    rising: elapsed never falls from line to line, as in a search. Otherwise there are several clocks.
    """

    def __init__(self, path: Path, rising: bool = False) -> None:
        self.path = path
        self._rising = rising

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
            JournalError: a line before the last cannot be read, or is not as it was written.
        """
        if not self.path.exists():
            return []
        data = self._bytes()
        whole, _, torn = data.rpartition(b"\n")
        if torn and repair:
            os.truncate(self.path, len(data) - len(torn))
        lines = whole.split(b"\n") if whole else []
        return self._entries(lines)

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

    def _bytes(self) -> bytes:
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise JournalError(f"{self.path} cannot be read: {error.strerror}.") from error

    def _entries(self, lines: list[bytes]) -> list[Entry]:
        entries: list[Entry] = []
        sealed = False
        for number, line in enumerate(lines, start=1):
            try:
                body = _unsealed(line, needed=sealed)
                sealed = sealed or body is not line
                entry = _entry(body)
                if self._rising and entries and entry.elapsed < entries[-1].elapsed:
                    raise ValueError(f"its {entry.elapsed:g} s are fewer than those of the line before")
            except (ValueError, KeyError, TypeError, AttributeError, ObjectiveError) as error:
                raise JournalError(
                    f"Line {number} of {self.path} is damaged ({error}). Remove that line to go on without "
                    "its result, or give the search another run folder."
                ) from error
            entries.append(entry)
        return entries


def _line(result: Result, elapsed: float) -> str:
    body = json.dumps({"elapsed": round(elapsed, 3), **result.to_dict()}, allow_nan=False)[:-1]
    return f'{body}, "crc": "{zlib.crc32(body.encode()):08x}"}}\n'


def _unsealed(line: bytes, needed: bool) -> bytes:
    """The line without its checksum, which is right.

    Raises:
        ValueError: it is wrong, or missing where it is needed.
    """
    found = SEALED.fullmatch(line)
    if found is None:
        if needed:
            raise ValueError("it has no checksum, and lines before it have one")
        return line
    if zlib.crc32(found["body"]) != int(found["crc"], 16):
        raise ValueError("it is not what was written: its checksum differs")
    return found["body"] + b"}"


def _entry(line: bytes) -> Entry:
    data = parse_json(line)
    elapsed = float(data["elapsed"])
    if not (math.isfinite(elapsed) and elapsed >= 0):
        raise ValueError(f"elapsed is {elapsed}")
    return Entry(Result.from_dict(data), elapsed)


def _forgiven(result: Result) -> Result:
    """A failure as a step that was cut off; any other result as it is."""
    if result.status is not Status.FAILED:
        return result
    return replace(result, status=Status.TIMEOUT, info={"forgiven": result.info.get("reason", "")})
