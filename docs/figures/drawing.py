"""How the documentation's figures are drawn: one look, the colours of the page, the same SVG on every run."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from palette import declarations, light, with_variables

FOLDER = Path(__file__).parent
WIDTH = 5.0
"""Inches. Narrow, so that the text is large enough on a phone."""

LOOK = {
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": light("muted"),
    "axes.labelcolor": light("ink"),
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.titlecolor": light("ink"),
    "text.color": light("ink"),
    "xtick.color": light("muted"),
    "ytick.color": light("muted"),
    "xtick.labelcolor": light("ink"),
    "ytick.labelcolor": light("ink"),
    "grid.color": light("line"),
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


@contextmanager
def figure(name: str, height: float, columns: int = 1, **shape: object) -> Iterator[list[Axes]]:
    """Axes to draw on; afterwards the figure is in `docs/figures/NAME.svg`."""
    with mpl.rc_context({**LOOK, "svg.hashsalt": name}):
        drawn = Figure(figsize=(WIDTH, height), layout="constrained")
        yield list(drawn.subplots(1, columns, squeeze=False, **shape)[0])
        file = FOLDER / f"{name}.svg"
        drawn.savefig(file, metadata={"Date": None, "Creator": None})
        file.write_text(_for_pages(file.read_text(encoding="utf-8"), name), encoding="utf-8")


def _for_pages(svg: str, name: str) -> str:
    """The drawing alone: ids that no other figure of a page has, fonts and colours of the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r" *<metadata>.*?</metadata>\n?", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"font: ([^;']*px) '[^;\"]*", r"font: \1 system-ui, sans-serif", svg)
    style = f"<style>@media (prefers-color-scheme: dark) {{ svg:root {{ {declarations(True)} }} }}</style>"
    head, end, body = with_variables(svg).partition(">")
    return f"{head}{end}\n {style}{body}"
