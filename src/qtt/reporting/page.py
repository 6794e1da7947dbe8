"""The page: pieces of HTML, every text from outside escaped, in one file that needs no other."""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from qtt.reporting.charts import Chart

ASSETS = Path(__file__).parent

LONG = 30
"""Letters beyond which an entry of a table is wrapped."""

MANY = 12
"""Columns beyond which a table has upright headings in print."""

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
"""What a browser may load: nothing from elsewhere."""


@dataclass(frozen=True)
class Section:
    """A part of the page. body: HTML. wide: its tables take a page across when printed."""

    title: str
    body: str
    wide: bool = False

    @property
    def anchor(self) -> str:
        """Name of the place on the page."""
        return "-".join(self.title.lower().split())


@dataclass(frozen=True)
class Cell:
    """One entry of a table. text: as shown; order: what the column is sorted by, where it is not the text."""

    text: str
    order: float | None = None


def page(title: str, subtitle: str, lead: str, sections: Sequence[Section]) -> str:
    """A whole HTML document. title, subtitle: text; lead: HTML above the contents."""
    links = "".join(f'<li><a href="#{s.anchor}">{escape(s.title)}</a></li>' for s in sections)
    bodies = "\n".join(
        f'<section id="{s.anchor}" class="{"wide" if s.wide else ""}">\n'
        f"<h2>{escape(s.title)}</h2>\n{s.body}\n</section>"
        for s in sections
    )
    style, script = ((ASSETS / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
</head>
<body>
<header>
<p class="eyebrow">{escape(subtitle)}</p>
<h1>{escape(title)}</h1>
{lead}
</header>
<nav aria-label="Contents"><ul>{links}</ul></nav>
<main>
{bodies}
</main>
<script>
{script}</script>
</body>
</html>
"""


def paragraph(text: str, kind: str = "") -> str:
    """One paragraph. kind: `note`: an aside; `warning`: something to beware of; `screen`: not printed."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def tiles(facts: Iterable[tuple[str, str, str]]) -> str:
    """Headline figures: (name, value, remark)."""
    cells = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}"
        + (f"<small>{escape(remark)}</small>" if remark else "")
        + "</dd></div>"
        for name, value, remark in facts
    )
    return f'<dl class="tiles">{cells}</dl>'


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and values in columns."""
    cells = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in pairs)
    return f'<dl class="facts">{cells}</dl>'


def figure(chart: Chart) -> str:
    """A chart with its title and how to read it."""
    svg = chart.inline.replace("<svg", f'<svg role="img" aria-label="{escape(chart.alt)}"', 1)
    note = f"<p>{escape(chart.note)}</p>" if chart.note else ""
    return f"<figure>\n<figcaption><h3>{escape(chart.title)}</h3></figcaption>\n{svg}\n{note}</figure>"


def figures(charts: Iterable[Chart], last: str = "") -> str:
    """Charts side by side where there is room. last: HTML that takes the place of one more."""
    return f'<div class="figures">{"".join(figure(chart) for chart in charts)}{last}</div>'


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[Cell]], sortable: bool = True) -> str:
    """A table that scrolls within the page. The first column heads its row."""
    rows = list(rows)
    heads = [_header(name, sortable, _numeric(rows, i)) for i, name in enumerate(columns)]
    body = "\n".join(f"<tr>{''.join(_cell(i, cell) for i, cell in enumerate(row))}</tr>" for row in rows)
    kind = (" data-sortable" if sortable else "") + (' class="many"' if len(columns) > MANY else "")
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f"<table{kind}>\n<caption>{escape(caption)}</caption>\n"
        f"<thead><tr>{''.join(heads)}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>"
    )


def _numeric(rows: Sequence[Sequence[Cell]], column: int) -> bool:
    """Whether a column is one of numbers, to be aligned at the right."""
    return column > 0 and any(row[column].order is not None for row in rows)


def _header(name: str, sortable: bool, numeric: bool) -> str:
    text = f'<button type="button">{escape(name)}</button>' if sortable else escape(name)
    return f'<th scope="col"{" class=number" if numeric else ""}>{text}</th>'


def _cell(position: int, cell: Cell) -> str:
    order = "" if cell.order is None else f' data-order="{cell.order!r}" class="number"'
    if cell.order is None and len(cell.text) > LONG:
        order = ' class="long"'
    name, scope = ("td", "") if position else ("th", ' scope="row"')
    return f"<{name}{scope}{order}>{escape(cell.text)}</{name}>"


def image(data: bytes, alt: str, side: int) -> str:
    """A small square JPEG within the page. side: in pixels."""
    encoded = base64.b64encode(data).decode()
    return (
        f'<img src="data:image/jpeg;base64,{encoded}" width="{side}" height="{side}" alt="{escape(alt)}" '
        f'title="{escape(alt)}">'
    )


def folded(title: str, text: str) -> str:
    """Text that opens on demand, and in print."""
    return f"<details><summary>{escape(title)}</summary><pre>{escape(text)}</pre></details>"
