"""Texts of strangers (names of files, classes and models) in files that other programs open."""

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""What moves cursors, ends lines or turns the direction of writing."""

FORMULA = ("=", "+", "-", "@")
"""With which spreadsheets begin what they compute."""


def plain(text: str) -> str:
    """The text with control characters written as escapes."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def cell(value: Any) -> Any:
    """A value for a cell of a CSV file: a text that a spreadsheet would compute begins with `'`."""
    if not isinstance(value, str):
        return value
    text = plain(value)
    return f"'{text}" if text.startswith(FORMULA) else text


def cells(frame: "pd.DataFrame") -> "pd.DataFrame":
    """A table for a CSV file: its texts and the names of its columns as `cell` has them."""
    return frame.map(cell).rename(columns=cell)
