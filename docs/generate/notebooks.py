"""Notebooks as pages: their text, code and committed outputs, with nothing executed."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat

IMAGES = ("image/svg+xml", "image/png")
"""Kinds of pictures, the preferred one first."""

NOTE = """!!! note "This page is a notebook"
    `{path}` in the repository; the tests execute it, with small budgets."""


def page(notebook: Path, path: str) -> str:
    """The Markdown page of a notebook; path: where a reader finds it."""
    cells = nbformat.read(notebook, as_version=4).cells
    parts = [part for cell in cells for part in _cell(cell)]
    parts.insert(1, NOTE.format(path=path))
    return "\n\n".join(parts) + "\n"


def _cell(cell: Any) -> Iterator[str]:
    if cell.cell_type == "markdown":
        yield re.sub(r"^(# .*)\n", r"\1\n\n", cell.source) if cell.source.startswith("# ") else cell.source
        return
    yield f"```python\n{cell.source}\n```"
    shown = [part for output in cell.outputs for part in _output(output)]
    if shown:
        yield '<div class="output" markdown>\n'
        yield from shown
        yield "</div>"


def _output(output: Any) -> Iterator[str]:
    if output.output_type == "stream":
        yield f"```text\n{output.text.rstrip()}\n```"
        return
    data = output.get("data", {})
    for kind in IMAGES:
        if kind in data:
            yield _picture(kind, data[kind])
            return
    if "<table" in data.get("text/html", ""):
        yield _table(data["text/html"])
    elif "text/plain" in data:
        yield f"```text\n{data['text/plain'].rstrip()}\n```"


def _picture(kind: str, data: str) -> str:
    if kind == "image/png":
        return f'<img class="plot" alt="" src="data:image/png;base64,{"".join(data.split())}">'
    return f'<div class="plot">{data[data.index("<svg") :].replace(chr(10), " ")}</div>'


def _table(html: str) -> str:
    """A frame of pandas without its own styles; blank lines would end the HTML for Markdown."""
    table = html[html.index("<table") : html.index("</table>") + len("</table>")]
    plain = re.sub(r' *\n *| border="1"| style="[^"]*"| class="dataframe"', "", table)
    return f'<div class="frame">{plain}</div>'
