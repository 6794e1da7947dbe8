"""Kinds of values that a configuration holds: what people may write for them, and what it means."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

SECONDS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
}
"""Units of time, in seconds."""

MILLISECONDS = {"ms": 1.0, "s": 1e3}

SHARE = {"%": 0.01}

COUNTING = {"k": 1e3, "m": 1e6, "million": 1e6, "b": 1e9, "g": 1e9, "billion": 1e9}
"""Units of parameters and pixels."""

_AMOUNT = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?"
_WITH_UNIT = re.compile(rf"({_AMOUNT})\s*([a-zµ%]*)\s*", re.IGNORECASE)

NOTHING = ("null", "none", "~")


def bytes_in(unit: float) -> dict[str, float]:
    """Units of memory and disk, as multiples of so many bytes: GB is 10⁹ bytes, GiB 2³⁰."""
    names: dict[str, float] = {"b": 1.0}
    for power, letter in enumerate("kmgt", 1):
        names |= {letter: 1e3**power, f"{letter}b": 1e3**power, f"{letter}ib": 1024.0**power}
    return {name: count / unit for name, count in names.items()}


class Kind(Protocol):
    """A kind of values."""

    @property
    def expected(self) -> str:
        """What to write, to follow on "expected"."""
        ...

    def read(self, value: Any) -> Any:
        """What a value means.

        Args:
            value: as Hydra or a YAML file gives it: None, a truth value, a number, a string or a list.

        Raises:
            ValueError: it is none of this kind.
        """
        ...


@dataclass(frozen=True)
class Number:
    """A number within bounds, with a unit if it has any.

    what: in words, with its unit. low, high: bounds. above: `low` itself is too small. whole: no fractions.
    units: factor of each unit, in small letters. written: how people may write it. null: what null means,
    where it means anything.
    """

    what: str
    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    whole: bool = False
    units: Mapping[str, float] | None = None
    written: str = ""
    null: str = ""

    def or_null(self, meaning: str) -> "Number":
        """The same where null is a value too."""
        return replace(self, null=meaning)

    @property
    def expected(self) -> str:
        """See `Kind`."""
        bounds = []
        if math.isfinite(self.low):
            bounds.append(f"above {self.low:g}" if self.above else f"at least {self.low:g}")
        if math.isfinite(self.high):
            bounds.append(f"at most {self.high:.12g}")
        words = [self.what, *([" and ".join(bounds)] if bounds else [])]
        return ", ".join(words) + _examples(self.written, self.null)

    def read(self, value: Any) -> float | int | None:
        """See `Kind`: an int where a whole number is expected or was given."""
        if _is_nothing(value):
            if not self.null:
                raise ValueError
            return None
        number = self._amount(value)
        too_small = number <= self.low if self.above else number < self.low
        if not math.isfinite(number) or too_small or number > self.high:
            raise ValueError
        if number != int(number):
            if self.whole:
                raise ValueError
            return number
        return number if isinstance(value, float) and not self.whole else int(number)

    def _amount(self, value: Any) -> float:
        if isinstance(value, bool):
            raise ValueError
        if isinstance(value, int | float):
            return float(value)
        if not isinstance(value, str):
            raise ValueError
        parts = list(_WITH_UNIT.finditer(value.strip()))
        if not parts or "".join(part.group() for part in parts) != value.strip():
            raise ValueError
        amounts = [(float(part.group(1)), part.group(2).lower()) for part in parts]
        units = self.units or {}
        if len(amounts) == 1 and not amounts[0][1]:
            return amounts[0][0]
        if not all(unit in units for _, unit in amounts):
            raise ValueError
        return round(sum(amount * units[unit] for amount, unit in amounts), 12)


DURATION = Number("seconds", 0, units=SECONDS, written="90, 90s, 10min, 1.5h, 1h 30min, 2d")
BUDGET = replace(DURATION, above=True)


@dataclass(frozen=True)
class Choice:
    """One of some words. null: what null means, where it means anything."""

    options: tuple[str, ...]
    null: str = ""

    @property
    def expected(self) -> str:
        """See `Kind`."""
        return " or ".join(self.options) + _examples("", self.null)

    def read(self, value: Any) -> str | None:
        """See `Kind`."""
        if value is None and self.null:
            return None
        if value not in self.options:
            raise ValueError
        return str(value)


@dataclass(frozen=True)
class Matching:
    """A word of a pattern, a regular expression; what: in words."""

    what: str
    pattern: str

    @property
    def expected(self) -> str:
        """See `Kind`."""
        return self.what

    def read(self, value: Any) -> str:
        """See `Kind`."""
        if not isinstance(value, str) or re.fullmatch(self.pattern, value) is None:
            raise ValueError
        return value


@dataclass(frozen=True)
class Switch:
    """True or false; null: what null means, where it means anything."""

    null: str = ""
    expected = "true or false"

    def read(self, value: Any) -> bool | None:
        """See `Kind`."""
        if value is None and self.null:
            return None
        words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
        found = words.get(value.lower()) if isinstance(value, str) else value
        if found not in (True, False):  # 1 and 0 as well
            raise ValueError
        return bool(found)


@dataclass(frozen=True)
class Words:
    """A text; numbers are taken as they are written. null: what null means, where it means anything."""

    what: str = "a text"
    null: str = ""

    @property
    def expected(self) -> str:
        """See `Kind`."""
        return self.what + _examples("", self.null)

    def read(self, value: Any) -> str | None:
        """See `Kind`."""
        if value is None and self.null:
            return None
        if isinstance(value, bool) or not isinstance(value, str | int | float) or value == "":
            raise ValueError
        return str(value)


@dataclass(frozen=True)
class PathName(Words):
    """A path; `~` and `~name` in front stand for that user's home folder."""

    what: str = "a path"

    def read(self, value: Any) -> str | None:
        """See `Kind`."""
        path = super().read(value)
        return path if path is None else home_expanded(path)


@dataclass(frozen=True)
class ListOf:
    """A list of values of a kind; null: what null means, where it means anything."""

    kind: Kind
    null: str = ""

    @property
    def expected(self) -> str:
        """See `Kind`."""
        return f"a list, [A,B,…], each of them {self.kind.expected}{_examples('', self.null)}"

    def read(self, value: Any) -> list[Any] | None:
        """See `Kind`."""
        if value is None and self.null:
            return None
        if not isinstance(value, list):
            raise ValueError
        return [self.kind.read(item) for item in value]


@dataclass(frozen=True)
class Either:
    """A value of one of two kinds."""

    first: Kind
    second: Kind

    @property
    def expected(self) -> str:
        """See `Kind`."""
        return f"{self.first.expected}; or {self.second.expected}"

    def read(self, value: Any) -> Any:
        """See `Kind`."""
        try:
            return self.first.read(value)
        except ValueError:
            return self.second.read(value)


def home_expanded(path: str) -> str:
    """A path with `~` or `~name` in front replaced by that user's home folder, where there is one."""
    if not path.startswith("~"):
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError:  # no such user
        return path


def _is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and value.lower() in NOTHING)


def _examples(written: str, null: str) -> str:
    shown = f" ({written})" if written else ""
    return f"{shown}, or null: {null}" if null else shown
