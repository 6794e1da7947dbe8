"""Draws the figures of the documentation and writes the figures' data beside them.

python docs/figures/make.py
"""

import numpy as np
import pandas as pd
import story as stories
from drawing import FOLDER, figure
from palette import light
from story import Story

SHOWN = 10
"""Candidates in the figure of a decision."""

BEGINNING = 12
"""Steps after which a decision is shown: late enough to know something, early enough to be open."""


def decision() -> None:
    """One decision: expected score, seconds, and expected improvement per second."""
    story = stories.search(BEGINNING)
    table = stories.decision(story)
    table.round(6).to_csv(FOLDER / "decision.csv", index=False)
    rows, best = table.head(SHOWN), story.optimizer.history.incumbent.score
    place = np.arange(len(rows))
    colours = [light("orange")] + [light("grey")] * (len(rows) - 1)
    with figure("decision", 3.3, 3, sharey=True, width_ratios=[1.5, 1, 1]) as (score, seconds, value):
        bars = [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]
        score.errorbar(rows["mean"], place, xerr=bars, fmt="none", ecolor=light("blue"), elinewidth=1.4)
        score.scatter(rows["mean"], place, s=18, color=light("blue"), zorder=3)
        score.axvline(best, color=light("muted"), linewidth=1, linestyle=(0, (3, 3)))
        score.text(best, -0.75, " incumbent", color=light("muted"), fontsize=8, va="bottom")
        seconds.barh(place, rows["seconds"], color=light("grey"), height=0.6)
        value.barh(place, 1e3 * rows["value"], color=colours, height=0.6)
        score.set_title("score")
        seconds.set_title("seconds")
        value.set_title("gain / s · 10⁻³")
        labels = [f"#{r.config_id} {r.model} {r.done}+{r.ahead}" for r in rows.itertuples()]
        score.set_yticks(place, labels)
        score.set_ylim(len(rows) - 0.4, -0.8)
        for axes in (score, seconds, value):
            axes.tick_params(axis="y", length=0)
            axes.spines["left"].set_visible(False)
            axes.grid(axis="x", linewidth=0.6)
            axes.set_axisbelow(True)


def posterior(story: Story) -> None:
    """What is expected of three pipelines, what was seen of them, and what would come."""
    history = story.optimizer.history
    best, *others = history.ranking()
    untouched = next(i for i in story.optimizer.live() if not history.fidelity(i))
    known = [best, max(others, key=lambda i: (1 < history.fidelity(i) < 12, history.fidelity(i))), untouched]
    with figure("posterior", 2.5, 3, sharey=True) as drawn:
        for axes, config_id in zip(drawn, known, strict=True):
            expected = stories.posterior(story, config_id)
            seen = history.curve(config_id)
            axes.fill_between(
                expected["epoch"], expected["low"], expected["high"], color=light("pale"), linewidth=0
            )
            axes.plot(expected["epoch"], expected["mean"], color=light("blue"), linewidth=1.5)
            axes.plot(expected["epoch"], expected["truth"], color=light("grey"), linewidth=1, linestyle=":")
            axes.plot(
                [s.fidelity for s in seen], [s.score for s in seen], ".", color=light("orange"), markersize=4
            )
            axes.set_title(f"#{config_id}: {len(seen)} epochs")
            axes.set_xlim(0, 51)
            axes.set_xlabel("epoch")
        drawn[0].set_ylim(0, 1)
        drawn[0].set_ylabel("score")


def budget(story: Story) -> None:
    """Where the seconds went: every step as a block of its pipeline, and the incumbent's score."""
    clock, best, rows, line = 0.0, 0.0, {}, [(0.0, 0.0)]
    steps = []
    for result in story.told:
        row = rows.setdefault(result.config_id, len(rows))
        improved = result.score > best
        steps.append((row, clock, result.cost, improved))
        clock += result.cost
        if improved:
            best = result.score
        line.append((clock, best))
    table = pd.DataFrame(steps, columns=["row", "start", "seconds", "improved"])
    with figure("budget", 3.2) as (axes,):
        for improved, colour in ((False, "pale"), (True, "blue")):
            some = table[table["improved"] == improved]
            axes.barh(
                some["row"],
                some["seconds"],
                left=some["start"],
                height=0.72,
                color=light(colour),
                linewidth=0,
            )
        names = story.optimizer.candidates.configs
        axes.set_yticks(list(rows.values()), [f"#{i} {names[i]['model']}" for i in rows])
        axes.invert_yaxis()
        axes.set_xlabel("seconds of the budget")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", linewidth=0.6)
        axes.set_axisbelow(True)
        score = axes.twinx()
        times, scores = zip(*line, strict=True)
        score.step(times, scores, where="post", color=light("orange"), linewidth=1.5)
        score.set_ylim(0, 1)
        score.set_ylabel("incumbent", color=light("orange"))
        score.spines["top"].set_visible(False)


def main() -> None:
    """All figures."""
    decision()
    story = stories.search()
    posterior(story)
    budget(story)


if __name__ == "__main__":
    main()
