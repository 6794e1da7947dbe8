"""The colours of the documentation's figures, for light and for dark pages.

Figures are drawn with the light ones. In the SVG each becomes `var(--fig-NAME, LIGHT)`, so that a figure
inside a page follows the page, and on its own the reader's preference.
"""

from collections.abc import Mapping

PALETTE: Mapping[str, tuple[str, str]] = {
    "ink": ("#1d2733", "#e4e9ee"),
    "muted": ("#5c6773", "#9aa7b4"),
    "line": ("#d5dbe1", "#3a4552"),
    "paper": ("#fefefe", "#161d26"),
    "blue": ("#0b62a8", "#6db3f2"),
    "pale": ("#cfe3f5", "#21496b"),
    "orange": ("#c2570c", "#f29d5c"),
    "green": ("#2e7d4f", "#6cc792"),
    "mint": ("#d9efe0", "#1d4a31"),
    "grey": ("#a8b1ba", "#66727e"),
}
"""Names with the colour on light and on dark pages."""


def light(name: str) -> str:
    """The colour to draw with."""
    return PALETTE[name][0]


def with_variables(svg: str) -> str:
    """An SVG drawn in light colours, as one that follows the page."""
    for name, (colour, _) in PALETTE.items():
        svg = svg.replace(colour, f"var(--fig-{name}, {colour})")
    return svg


def declarations(dark: bool) -> str:
    """The colours as CSS variables."""
    return " ".join(f"--fig-{name}: {colours[dark]};" for name, colours in PALETTE.items())
