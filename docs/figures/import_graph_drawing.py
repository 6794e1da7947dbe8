"""The picture of an import graph: units in layers, what is needed by most at the bottom."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Curve

if TYPE_CHECKING:
    from import_graph import Graph

WIDTH, ROW, HEIGHT = 12.0, 1.08, 0.46
"""Inches: of the picture, from row to row, of a box."""

LETTER, MARGIN, GAP = 0.098, 0.15, 0.24
"""Inches: of a letter, inside a box at each side, between boxes at least."""

SIDE = 0.55
"""Inches at both sides of the rows."""

INK, PALE, BAND, LINE, ROOM, ROOM_EDGE, EDGE, CIRCLE = (
    "#1f2933",
    "#9aa5b1",
    "#f5f7f9",
    "#52708f",
    "#dbe9f6",
    "#5b8db8",
    "#a9b4c0",
    "#c0392b",
)
STYLE = {
    "svg.hashsalt": "qtt",  # the same graph gives the same file
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
}

Arrow = tuple[str, str]


@dataclass(frozen=True)
class Box:
    """Where a unit is drawn: its centre and width, in inches from the lower left."""

    x: float
    y: float
    width: float


def draw(graph: "Graph", title: str, out: Path) -> None:
    """Write the picture of a graph to a file of matplotlib's formats."""
    rows = _rows(graph)
    boxes = _boxes(graph, rows)
    height = ROW * len(rows) + 0.95
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height))
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, WIDTH), ylim=(0, height))
        axes.set_axis_off()
        axes.text(SIDE, height - 0.32, title, fontsize=15, weight="bold", color=INK, va="center")
        axes.text(SIDE, height - 0.63, graph.counts, fontsize=11, color=INK, va="center")
        _legend(axes, height)
        _bands(axes, graph, boxes)
        _arrows(axes, graph, boxes)
        for unit, box in boxes.items():
            _box(axes, graph, unit, box)
        out.parent.mkdir(parents=True, exist_ok=True)
        dated = {"metadata": {"Date": None}} if out.suffix == ".svg" else {}
        figure.savefig(out, dpi=150, facecolor="white", **dated)
    if out.suffix == ".svg":  # matplotlib leaves blanks at the ends of lines
        lines = out.read_text(encoding="utf-8").splitlines()
        out.write_text("\n".join(line.rstrip() for line in lines) + "\n", encoding="utf-8")


def _label(unit: str) -> str:
    return unit.replace("/__main__", ".__main__")


def _width(unit: str) -> float:
    return max(0.9, LETTER * len(_label(unit)) + 2 * MARGIN)


def _rows(graph: "Graph") -> list[list[str]]:
    """Units from bottom to top: a row for each layer, or several where one would be too wide."""
    rows: list[list[str]] = []
    for layer in range(1 + max(graph.layer.values(), default=-1)):
        units = [unit for unit in graph.modules if graph.layer[unit] == layer]
        room = WIDTH - 2 * SIDE
        count = 1 + int(sum(_width(unit) + GAP for unit in units) // room)
        size = -(-len(units) // count)
        rows += [units[start : start + size] for start in range(0, len(units), size)]
    return _untangled(graph, rows)


def _untangled(graph: "Graph", rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Rows sorted so that units lie near those that they import and that import them."""
    near: dict[str, set[str]] = {unit: set(graph.uses[unit]) for unit in graph.modules}
    for unit, other in graph.arrows:
        near[other].add(unit)
    sorted_rows = [list(row) for row in rows]
    for _ in range(12):
        for index, row in enumerate(sorted_rows):
            place = _places(sorted_rows)
            close = {
                unit: [
                    place[other] / (1 + abs(graph.layer[unit] - graph.layer[other])) for other in near[unit]
                ]
                for unit in row
            }
            weight = {
                unit: sum(1 / (1 + abs(graph.layer[unit] - graph.layer[other])) for other in near[unit])
                for unit in row
            }
            sorted_rows[index] = sorted(
                row, key=lambda unit: (sum(close[unit]) / weight[unit] if weight[unit] else 0.5, unit)
            )
    return sorted_rows


def _places(rows: Sequence[Sequence[str]]) -> dict[str, float]:
    """Where units lie between left (0) and right (1)."""
    return {unit: (index + 0.5) / len(row) for row in rows for index, unit in enumerate(row)}


def _boxes(graph: "Graph", rows: Sequence[Sequence[str]]) -> dict[str, Box]:
    boxes = {}
    for index, row in enumerate(rows):
        widths = [_width(unit) for unit in row]
        free = WIDTH - 2 * SIDE - sum(widths)
        space = free / (len(row) + 1)
        left = SIDE + space
        for unit, width in zip(row, widths, strict=True):
            boxes[unit] = Box(left + width / 2, 0.62 + ROW * index, width)
            left += width + space
    return boxes


def _bands(axes: Axes, graph: "Graph", boxes: Mapping[str, Box]) -> None:
    """A stripe behind each layer, with its number."""
    for layer in range(1 + max(graph.layer.values(), default=-1)):
        heights = [box.y for unit, box in boxes.items() if graph.layer[unit] == layer]
        low, high = min(heights) - ROW / 2 + 0.04, max(heights) + ROW / 2 - 0.04
        axes.axhspan(low, high, xmin=0.15 / WIDTH, xmax=1 - 0.15 / WIDTH, color=BAND, linewidth=0, zorder=0)
        text = {"fontsize": 10, "color": PALE, "ha": "center", "va": "center"}
        axes.text(0.36, (low + high) / 2, str(layer + 1), **text)


def _arrows(axes: Axes, graph: "Graph", boxes: Mapping[str, Box]) -> None:
    circle = {unit: component for component in graph.circles for unit in component}
    needed = set(_needed(graph))
    starts = _ports(boxes, {unit: sorted(graph.uses[unit]) for unit in graph.modules})
    users = {unit: [user for user, used in graph.arrows if used == unit] for unit in graph.modules}
    ends = _ports(boxes, users)
    for arrow in sorted(graph.arrows, key=lambda pair: pair in needed):
        unit, other = arrow
        red = other in circle.get(unit, ())
        strong = red or arrow in needed
        high = boxes[unit].y > boxes[other].y
        up = HEIGHT / 2 if high else -HEIGHT / 2
        start = (starts[unit, other], boxes[unit].y - up)
        end = (ends[other, unit], boxes[other].y + up)
        bend = 0.45 * (start[1] - end[1]) or 0.6
        curve = Curve(
            [start, (start[0], start[1] - bend), (end[0], end[1] + bend), end],
            [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4],
        )
        axes.add_patch(
            FancyArrowPatch(
                path=curve,
                arrowstyle="-|>,head_length=3.2,head_width=1.7",
                color=CIRCLE if red else LINE,
                alpha=0.75 if strong else 0.18,
                linewidth=1.0 if strong else 0.8,
                shrinkA=0,
                shrinkB=0,
                zorder=2 if strong else 1,
            )
        )


def _needed(graph: "Graph") -> Iterator[Arrow]:
    """Arrows that no way over other units stands for."""
    below: dict[str, set[str]] = {}

    def reach(unit: str) -> set[str]:
        if unit not in below:
            below[unit] = set()  # where there is a circle, it ends here
            below[unit] = set(graph.uses[unit]).union(*(reach(other) for other in graph.uses[unit]))
        return below[unit]

    for unit, other in graph.arrows:
        if not any(other in reach(between) for between in graph.uses[unit] - {other}):
            yield unit, other


def _ports(boxes: Mapping[str, Box], partners: Mapping[str, Sequence[str]]) -> dict[Arrow, float]:
    """Where on a box's edge the line to each partner begins, so that lines do not start by crossing."""
    ports = {}
    for unit, others in partners.items():
        box = boxes[unit]
        ordered = sorted(others, key=lambda other: (boxes[other].x, other))
        for index, other in enumerate(ordered):
            share = (index + 0.5) / len(ordered) - 0.5
            ports[unit, other] = box.x + 0.82 * box.width * share
    return ports


def _box(axes: Axes, graph: "Graph", unit: str, box: Box) -> None:
    room = unit in graph.rooms
    lower_left = (box.x - box.width / 2, box.y - HEIGHT / 2)
    in_circle = any(unit in component for component in graph.circles)
    axes.add_patch(
        FancyBboxPatch(
            lower_left,
            box.width,
            HEIGHT,
            boxstyle=f"round,pad=0,rounding_size={0.12 if room else 0.05}",
            facecolor=ROOM if room else "white",
            edgecolor=CIRCLE if in_circle else ROOM_EDGE if room else EDGE,
            linewidth=1.3 if room or in_circle else 1.0,
            zorder=3,
        )
    )
    count = graph.modules[unit]
    lift = 0.075 if room else 0.0
    weight = "bold" if room else "normal"
    text = {"ha": "center", "va": "center", "color": INK, "zorder": 4}
    axes.text(box.x, box.y + lift, _label(unit), fontsize=10, weight=weight, **text)
    if room:
        words = f"{count} module" if count == 1 else f"{count} modules"
        axes.text(box.x, box.y - 0.115, words, fontsize=7, **text | {"color": LINE})


def _legend(axes: Axes, height: float) -> None:
    words = (
        "blue: a room; white: a module at the top. An arrow leads to what is imported;\n"
        "pale: also reached over others. What is imported lies lower."
    )
    axes.text(
        WIDTH - SIDE, height - 0.47, words, fontsize=8.5, color=LINE, ha="right", va="center", linespacing=1.5
    )
