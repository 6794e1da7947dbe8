"""Charts: one look for all figures, as SVG for the page and as SVG and PNG files.

The palette is Okabe and Ito's, which colour-blind readers can tell apart; where colour carries meaning, a
marker, a line style or a hatch carries it as well. Text stays text in SVG.
"""

import io
import re
import textwrap
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtt.data.library_caches import keep_library_caches

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's palette, without its yellow, which is hard to see on white."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X")
STYLES = ("-", "--", "-.", ":", (0, (6, 1.5, 1, 1.5, 1, 1.5)), (0, (9, 2)), (0, (2, 1)))
BLUE, RED, GREEN = COLOURS[:3]
INK, MUTED, FAINT = "#1a1a1a", "#5a5a5a", "#b8b8b8"

WIDTH, HEIGHT = 4.9, 3.3
"""Inches. Small, so that on a phone, where a figure is as wide as the screen, its text can be read."""

DOTS_PER_INCH = 200

LONGEST = 36
"""Letters of a word from which on it is broken."""

FEW_DECADES, MOST_TICKS = 300.0, 9
"""Range of a log axis up to which 2 and 5 have labels too, and the most labels of it."""

STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a class may be called $5
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 2.0,
    "hatch.linewidth": 0.8,
    "hatch.color": "white",
}


@dataclass(frozen=True)
class Chart:
    """One figure.

    name: of its files, and the prefix of the ids in its SVG. title: heading. alt: what it shows, for those
    who cannot see it. note: how to read it. svg: a whole file; png: the same at 200 dots per inch.
    """

    name: str
    title: str
    alt: str
    note: str
    svg: str
    png: bytes

    @property
    def inline(self) -> str:
        """The SVG as an element of a page, without ids that other figures have, or styles of its own."""
        text = self.svg[self.svg.index("<svg") :]
        text = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", text, flags=re.DOTALL)
        text = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", text, count=2)
        text = re.sub(r'(?<=\sid=")', f"{self.name}-", text)
        text = re.sub(r'(?<=url\(#)|(?<=href="#)', f"{self.name}-", text)
        return re.sub(r'\s(width|height)="[\d.]+pt"', "", text, count=2)


def chart(
    name: str,
    title: str,
    plot: Callable[["Figure"], None],
    *,
    alt: str,
    note: str = "",
    inches: tuple[float, float] = (WIDTH, HEIGHT),
) -> Chart:
    """Draw a chart.

    plot: draws into an empty figure. The same plot gives the same bytes.
    """
    keep_library_caches()
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the browser has the font
        figure = Figure(figsize=inches, layout="constrained")
        plot(figure)
        _plain_logarithms(figure)
        svg, png = io.StringIO(), io.BytesIO()
        figure.savefig(svg, format="svg", dpi=DOTS_PER_INCH, metadata={"Date": None, "Creator": None})
        figure.savefig(png, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
    return Chart(name, title, alt, note, svg.getvalue(), png.getvalue())


def _plain_logarithms(figure: "Figure") -> None:
    """Label every log axis with plain numbers.

    Matplotlib's own labels, of small ticks as well, are formulas, which stay raw where a class may be $5.
    """
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        if axis.get_scale() == "log":
            low, high = sorted(axis.get_view_interval())
            steps = (1.0, 2.0, 5.0) if high < FEW_DECADES * low else (1.0,)
            axis.set_major_locator(LogLocator(subs=steps, numticks=MOST_TICKS))
            axis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.set_minor_formatter(NullFormatter())


def time_axis(axes: "Axes", seconds: float, what: str = "of the budget") -> Callable[[float], float]:
    """Label the horizontal axis with the unit that suits `seconds`; returns the conversion into it."""
    units = (("hours", 3600.0, 2 * 3600.0), ("minutes", 60.0, 180.0), ("seconds", 1.0, 0.0))
    name, size = next((name, size) for name, size, least in units if seconds >= least)
    axes.set_xlabel(f"{name} {what}".strip())
    return lambda value: value / size


def look(position: int) -> tuple[str, str]:
    """Colour and marker of the series at a position; those beyond the palette are grey."""
    inside = position < len(COLOURS)
    return (COLOURS[position], MARKERS[position]) if inside else (MUTED, "o")


def wrapped(text: str, width: int) -> str:
    """A label in lines that fit beside an axis or under it: nothing is cut, and few words are broken."""
    text = text.replace(" = ", "\u00a0=\u00a0")  # a setting stays with its value
    longest = max((len(word) for word in text.split(" ")), default=0)
    return "\n".join(textwrap.wrap(text, max(width, min(longest, LONGEST)))) or text


def legend_below(figure: "Figure", axes: "Axes", columns: int = 3) -> None:
    """The legend under the axes, where it hides no data."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(
            handles, labels, loc="outside lower center", ncols=columns, columnspacing=1.2, handlelength=1.6
        )
