"""The page of the run folder, made from `qtt.runs.layout`."""

from qtt.runs.layout import LAYOUT, Room, RunFile

INTRODUCTION = """# The run folder

Everything that a search leaves behind is in one folder, under names that do not change: JSON, CSV and
safetensors, no pickles of qtt's own. Copy it, and the search can be looked at elsewhere. In Python,
`qtt.runs.record.RunRecord.load` reads it whole.

A file is replaced as a whole or not at all. Only the journals grow, line by line, and a last line that a
crash tore is dropped."""


def page() -> str:
    """The Markdown page."""
    parts = [INTRODUCTION]
    for room in Room:
        parts.append(f"## {room.value}")
        parts += [_entry(file) for file in LAYOUT if file.room is room]
    return "\n\n".join(parts) + "\n"


def _entry(file: RunFile) -> str:
    facts = [f"Written by {file.writer}."]
    if file.when:
        facts.append(f"There when {file.when}.")
    if file.format is not None:
        facts.append(f"Format {file.format}.")
    members = ", ".join(f"`{name}`" for name in file.members)
    kind = "Columns" if file.pattern.endswith(".csv") else "Holds"
    lines = [f"### `{file.pattern}`", file.content, " ".join(facts)]
    return "\n\n".join([*lines, f"{kind}: {members}."] if members else lines)
