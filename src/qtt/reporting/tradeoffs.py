"""Score against size and against time, with the pipelines that no other beats in both."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qtt.reporting import words
from qtt.reporting.charts import INK, Chart, chart, legend_below, look
from qtt.reporting.run_view import RunView
from qtt.space.constraints import pareto

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

NAMED = 6
"""Models with a colour and a marker of their own."""


def tradeoff_charts(view: RunView) -> list[Chart]:
    """Score against millions of parameters, where models are known, and against seconds per epoch."""
    ids = view.history.ranking()
    cards = [view.card(i) for i in ids]
    charts = []
    if ids and all(card is not None for card in cards):
        params = [card.params for card in cards if card is not None]
        charts.append(_tradeoff(view, ids, params, "parameters", "million parameters"))
    if ids:
        seconds = [view.seconds_per_epoch(i) for i in ids]
        charts.append(_tradeoff(view, ids, seconds, "seconds per epoch", "seconds per epoch"))
    return charts


def _tradeoff(view: RunView, ids: Sequence[int], costs: Sequence[float], name: str, label: str) -> Chart:
    scores = [best.score for i in ids if (best := view.history.best(i)) is not None]
    on_front = pareto(np.array(scores), np.array(costs, dtype=np.float64))
    front = sorted(np.flatnonzero(on_front).tolist(), key=lambda i: costs[i])

    def plot(figure: "Figure") -> None:
        axes = figure.add_subplot()
        _points(axes, view, ids, costs, scores)
        x, y = [costs[i] for i in front], [scores[i] for i in front]
        if min(costs) > 0 and max(costs) > 8 * min(costs):
            axes.set_xscale("log")
        axes.margins(x=0.06)
        right = axes.get_xlim()[1]
        axes.step(
            [*x, right], [*y, y[-1]], where="post", color=INK, lw=1.4, ls="--", label="Pareto front", zorder=1
        )
        axes.plot(x, y, "o", mfc="none", mec=INK, ms=11, mew=1.2)
        axes.set_xlim(right=right)
        axes.set(xlabel=label, ylabel=f"best {view.score_name}")
        legend_below(figure, axes, columns=2)

    points = [f"{view.label(ids[i])}: {words.score(scores[i])} at {costs[i]:.3g}" for i in front]
    told = f"Nothing is better and cheaper than {words.listed(points, most=5)} {label}."
    title = f"{words.capitalized(view.score_name)} against {name}"
    return chart(f"score-against-{name.split()[0]}", title, plot, alt=f"{title}. {told}", note=told)


def _points(
    axes: "Axes", view: RunView, ids: Sequence[int], costs: Sequence[float], scores: Sequence[float]
) -> None:
    models = [view.model(i) for i in ids]
    named = view.models if len(view.models) <= NAMED + 1 else view.models[:NAMED]
    for position, model in enumerate(named):
        colour, marker = look(position)
        mine = [i for i, other in enumerate(models) if other == model]
        x, y = [costs[i] for i in mine], [scores[i] for i in mine]
        axes.plot(
            x, y, marker, color=colour, ms=6, alpha=0.85, mec="white", mew=0.5, label=words.shortened(model)
        )
    others = [i for i, model in enumerate(models) if model not in named]
    if others:
        colour, marker = look(len(models) + NAMED)
        label = "other models" if named else "pipelines"
        x, y = [costs[i] for i in others], [scores[i] for i in others]
        axes.plot(x, y, marker, color=colour, ms=4, alpha=0.6, mew=0, label=label, zorder=1.5)
