"""Docstrings of this project as Markdown: lines that begin with a name and a colon become a list."""

import re
from typing import Any

from griffe import Extension, Object

NAMES = r"(?:[a-z_]\w*|[A-Z])(?:, (?:[a-z_]\w*|[A-Z]))*"
ENTRY = re.compile(rf"^({NAMES}): +(?=\S)")
"""Attributes of a class, as its docstring lists them."""

SECTION = re.compile(r"^(Args|Arguments|Returns|Raises|Yields|Attributes|Examples?|Notes?):\s*$")
"""From here on the docstring is Google's."""


def as_list(text: str) -> str:
    """The docstring with its entries as a list; sections, code and prose stay."""
    done: list[str] = []
    inside = False
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if SECTION.match(line):
            return "\n".join([*done, *lines[number:]])
        entry = ENTRY.match(line) if number else None
        if entry:
            if not inside and done and done[-1].strip():
                done.append("")
            parts = _entries(line)
            done += [f"- **{name}**: {rest}" for name, rest in parts]
            inside = True
        elif inside and line.strip():
            done.append(f"    {line.strip()}")
        else:
            inside = False
            done.append(line)
    return "\n".join(done)


def _entries(line: str) -> list[tuple[str, str]]:
    """Entries of one line: `name: what. other: what.` holds two."""
    pieces = re.split(rf"(?<=\.) (?={NAMES}: )", line)
    found = [ENTRY.match(piece) for piece in pieces]
    return [(match[1], piece[match.end() :]) for match, piece in zip(found, pieces, strict=True) if match]


class PlainAttributes(Extension):
    """Rewrites every docstring before it is parsed."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """See `griffe.Extension`."""
        if obj.docstring is not None:
            obj.docstring.value = as_list(obj.docstring.value)
