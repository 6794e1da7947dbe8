"""The plot: test accuracy over wall-clock seconds, a panel a budget, a line a method.

Notation: m methods, r runs of each on the same sets with the same seeds, t moments.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from results import Key, Run

Array = NDArray[np.float64]
MOMENTS = 400
COLOURS = {
    "qtt": "#0072B2",
    "probe": "#000000",
    "plain": "#E69F00",
    "old": "#56B4E9",
    "cold": "#009E73",
    "random": "#999999",
    "optuna": "#D55E00",
    "autogluon": "#CC79A7",
}
"""Okabe and Ito's, which everybody can tell apart."""


def draw(panels: Mapping[float, Mapping[str, Sequence[Run]]]) -> Figure:
    """One panel for each budget, with the runs of every method."""
    figure = Figure(figsize=(5.6 * max(1, len(panels)), 4.2), dpi=150, layout="constrained")
    grid = np.atleast_1d(figure.subplots(1, max(1, len(panels)), sharey=True))
    for axes, (budget, runs) in zip(grid, panels.items(), strict=False):
        _panel(axes, budget, runs)
    figure.supylabel("test accuracy of what validation chose", fontsize="medium")
    return figure


def _panel(axes: Axes, budget: float, runs: Mapping[str, Sequence[Run]]) -> None:
    methods = [method for method in runs if runs[method]]
    shared = shared_keys([runs[method] for method in methods])
    if not shared:
        axes.set_title(f"{budget:g} s: the methods have no runs in common")
        return
    times = np.linspace(0.0, budget, MOMENTS)
    curves = [
        over_time([run for run in runs[method] if _place(run.key) in shared], times) for method in methods
    ]
    middle, error = band(np.array(curves))
    for method, line, width in zip(methods, middle, error, strict=True):
        colour = COLOURS.get(method)
        axes.fill_between(times, line - width, line + width, color=colour, alpha=0.13, linewidth=0)
        axes.plot(times, line, color=colour, linewidth=2, label=method)
    sets = {name for name, _ in shared}
    axes.set(
        title=f"{budget:g} s, mean of {len(sets)} sets and {len(shared)} runs",
        xlabel="seconds since the command",
    )
    axes.set(xlim=(0, budget), ylim=(0, 1))
    axes.grid(color="0.92")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize="small", loc="lower right", ncols=2)


def shared_keys(groups: Sequence[Sequence[Run]]) -> set[tuple[str, int]]:
    """Set and seed of the runs that all methods have: only these can be averaged and compared."""
    return set.intersection(*({_place(run.key) for run in group} for group in groups)) if groups else set()


def over_time(runs: Sequence[Run], times: Array) -> Array:
    """Test accuracy of the runs, in the order of set and seed, at these moments; (r, t)."""
    ordered = sorted(runs, key=lambda run: _place(run.key))
    return np.array([[run.accuracy(moment) for moment in times] for run in ordered])


def band(curves: Array) -> tuple[Array, Array]:
    """Mean over runs and its standard error, (m, t) each, of curves (m, r, t).

    What makes a run easier for all methods, its set above all, is no error of a comparison: the mean over the
    methods is taken off every run first.
    """
    apart = curves - curves.mean(axis=0, keepdims=True)
    count = curves.shape[1]
    spread = apart.std(axis=1, ddof=1) if count > 1 else np.zeros_like(apart[:, 0])
    return curves.mean(axis=1), spread / np.sqrt(count)


def _place(key: Key) -> tuple[str, int]:
    return key.set, key.seed
