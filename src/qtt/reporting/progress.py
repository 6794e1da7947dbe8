"""How the search went: the incumbent over time and all learning curves."""

from typing import TYPE_CHECKING

import numpy as np

from qtt.reporting import words
from qtt.reporting.charts import BLUE, FAINT, GREEN, RED, Chart, chart, legend_below, time_axis
from qtt.reporting.run_view import RunView
from qtt.runs.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_VECTORS = 2000
"""Epochs beyond which those that do not stand out are drawn as pixels, to keep the page small."""


def incumbent_steps(view: RunView) -> list[tuple[float, float]]:
    """(seconds of the budget, score) of every improvement."""
    history, steps = History(), []
    for entry in view.record.entries:
        history.add(entry.result)
        if entry.result is history.incumbent:
            steps.append((entry.elapsed, entry.result.score))
    return steps


def incumbent_chart(view: RunView) -> Chart:
    """The best score so far, above every single result."""
    steps = incumbent_steps(view)
    end = view.record.elapsed
    seen = [(e.elapsed, e.result.score) for e in view.record.entries if e.result.succeeded]

    def plot(figure: "Figure") -> None:
        axes = figure.add_subplot()
        unit = time_axis(axes, end)
        x, y = [unit(t) for t, _ in seen], [s for _, s in seen]
        pixels = len(seen) > MOST_VECTORS
        axes.plot(x, y, ".", color=FAINT, ms=5, label="each epoch", rasterized=pixels)
        times, scores = [unit(t) for t, _ in steps], [s for _, s in steps]
        axes.step([*times, unit(end)], [*scores, scores[-1]], where="post", color=BLUE, label="best so far")
        axes.plot(times, scores, "o", color=BLUE, ms=5)
        axes.set(ylabel=view.score_name, ylim=(bottom, None))
        axes.set_xlim(0, 1.03 * unit(end))
        legend_below(figure, axes)

    (first, low), (last, high) = steps[0], steps[-1]
    lowest = min(low, float(np.median([s for _, s in seen])))
    bottom = lowest - 0.06 * (high - lowest or 0.1)
    below = sum(s < bottom for _, s in seen)
    told = (
        f"{words.score(low)} after {words.duration(first)}; the best, {words.score(high)}, "
        f"after {words.duration(last)} of {words.duration(end)}."
    )
    note = told + (f" {words.counted(below, 'epoch')} scored less than the axis shows." if below else "")
    if view.certainty.baseline is not None:
        note += f" The majority baseline is {words.score(view.certainty.baseline)}."
    return chart(
        "incumbent", "Best score over time", plot, alt=f"Best {view.score_name} over time: {told}", note=note
    )


def curves_chart(view: RunView) -> Chart:
    """Learning curves of all pipelines; the winner and what was finetuned stand out."""
    history, winner = view.history, view.best
    assert winner is not None
    finetuned = History(entry.result for entry in view.record.finetuning)

    def plot(figure: "Figure") -> None:
        axes = figure.add_subplot()
        _others(axes, view, winner.config_id)
        _failures(axes, history)
        _winner(axes, history, winner.config_id)
        _continued(axes, history, finetuned)
        axes.locator_params(axis="x", integer=True)
        axes.set(xlabel="epoch", ylabel=view.score_name)
        legend_below(figure, axes, columns=2)

    longest = max(history.fidelity(i) for i in history.observed)
    early = [i for i in history.failed if not history.fidelity(i)]
    count = words.counted(len(history.observed), "pipeline")
    note = f"{count}, trained for up to {words.counted(longest, 'epoch')}."
    if early:
        note += (
            f" {words.counted(len(early), 'pipeline')} failed before the first epoch ended and have no curve."
        )
    alt = f"Learning curves. {note} The winner is {view.label(winner.config_id)}."
    return chart("learning-curves", "Learning curves", plot, alt=alt, note=note)


def _others(axes: "Axes", view: RunView, winner: int) -> None:
    history = view.history
    rasterized = history.evaluations > MOST_VECTORS
    label: str | None = "other pipelines"
    for config_id in history.observed:
        if config_id != winner:
            curve = history.curve(config_id)
            epochs, scores = [seen.fidelity for seen in curve], [seen.score for seen in curve]
            axes.plot(
                epochs, scores, "-", color=FAINT, lw=1, marker=".", ms=4, label=label, rasterized=rasterized
            )
            label = None


def _failures(axes: "Axes", history: History) -> None:
    ends = [history.curve(i)[-1] for i in history.failed if history.fidelity(i)]
    if ends:
        epochs, scores = [seen.fidelity for seen in ends], [seen.score for seen in ends]
        axes.plot(epochs, scores, "x", color=RED, ms=8, mew=2, label="failed in the next epoch")


def _winner(axes: "Axes", history: History, winner: int) -> None:
    curve, best = history.curve(winner), history.best(winner)
    assert best is not None
    epochs, scores = [seen.fidelity for seen in curve], [seen.score for seen in curve]
    axes.plot(epochs, scores, "-o", color=BLUE, lw=2.4, ms=5, label=f"winner, #{winner}")
    axes.plot(best.fidelity, best.score, "*", color=BLUE, mec="white", ms=15, label="its best epoch")


def _continued(axes: "Axes", searched: History, finetuned: History) -> None:
    label: str | None = "finetuned afterwards"
    for config_id in finetuned.observed:
        curve = [*searched.curve(config_id)[-1:], *finetuned.curve(config_id)]
        epochs, scores = [seen.fidelity for seen in curve], [seen.score for seen in curve]
        axes.plot(epochs, scores, "--", color=GREEN, lw=1.8, marker="^", ms=3.5, label=label)
        label = None
