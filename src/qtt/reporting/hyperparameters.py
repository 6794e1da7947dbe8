"""Importance of hyperparameters, and the score by value of the most important ones."""

from typing import TYPE_CHECKING, Any

import numpy as np

from qtt.reporting import words
from qtt.reporting.charts import BLUE, INK, MUTED, WIDTH, Chart, chart
from qtt.reporting.importance import EPOCH, LEAST_PIPELINES, Importance, hyperparameter_importance, varying
from qtt.reporting.run_view import RunView
from qtt.statistics import HEADLINE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_EPOCHS = 5
"""Epochs of one pipeline that the forest sees, evenly spread: neighbouring ones say nearly the same."""

LEAST_R2 = 0.1
"""Fit on unseen pipelines below which the forest's opinion is noise."""

SLICES, BARS, MOST_VALUES = 4, 12, 12
ABSENT = "not used"


def measure(view: RunView) -> Importance | None:
    """Importance from what the search has seen; None where that is too little."""
    pipeline, epochs, scores = [], [], []
    for position, config_id in enumerate(view.history.observed):
        curve = view.history.curve(config_id)
        spread = np.linspace(0, len(curve) - 1, min(len(curve), MOST_EPOCHS)).round().astype(int)
        for seen in (curve[i] for i in spread):
            pipeline.append(position)
            epochs.append(seen.fidelity)
            scores.append(seen.score)
    configs = [view.pipeline(i) for i in view.history.observed]
    return hyperparameter_importance(configs, pipeline, epochs, scores)


def judgement(found: Importance | None, pipelines: int) -> tuple[str, bool]:
    """How far the importance can be trusted, in words, and whether it is worth drawing."""
    if found is None:
        few = (
            f"Only {words.counted(pipelines, 'pipeline')} finished an epoch; {LEAST_PIPELINES} are the least"
        )
        same = "The pipelines that finished an epoch do not differ in settings or scores; they would have to"
        return f"{few if pipelines < LEAST_PIPELINES else same} to say which hyperparameters matter.", False
    basis = (
        f"From {words.counted(found.observations, 'finished epoch')} of "
        f"{words.counted(found.pipelines, 'pipeline')}: a random forest that predicts the scores of "
        f"pipelines it has not seen with R² = {found.r2:.2f}"
    )
    if found.r2 < LEAST_R2:
        return f"{basis}, which is too poor a fit to say which hyperparameters matter.", False
    trust = "a rough fit: read the order of the bars, not their lengths" if found.r2 < 0.5 else "a good fit"
    return (
        f"{basis} (1 would be perfect), {trust}. The search chose what to try, and tried few combinations of "
        "the rest; failed pipelines are left out.",
        True,
    )


def importance_chart(found: Importance) -> Chart:
    """Bars of how much worse unseen pipelines are predicted without a hyperparameter."""
    names = list(found.names[:BARS])
    drop, spread = found.drop[: len(names)], found.spread[: len(names)]

    def plot(figure: "Figure") -> None:
        axes = figure.add_subplot()
        colours = [MUTED if name == EPOCH else BLUE for name in names]
        hatches = ["///" if name == EPOCH else "" for name in names]
        axes.barh(names, drop, xerr=spread, color=colours, hatch=hatches, error_kw={"ecolor": INK, "lw": 1})
        axes.axvline(0, color=MUTED, lw=0.8)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("fall of R² when its values are shuffled")

    leaders = [f"{name} ({value:.2f})" for name, value in zip(names[:3], drop[:3], strict=True)]
    note = "Whiskers: standard deviation over shuffles." + (
        " The epoch (hatched) is no hyperparameter but counts too." if EPOCH in names else ""
    )
    alt = f"Importance of hyperparameters; the most important: {words.listed(leaders)}."
    return chart(
        "importance",
        "Importance of hyperparameters",
        plot,
        alt=alt,
        note=note,
        inches=(WIDTH, 1.1 + 0.27 * len(names)),
    )


def sliced(view: RunView, found: Importance | None) -> list[str]:
    """Names to look at closely: the most important where that is known, else the usual ones."""
    names = varying([view.pipeline(i) for i in view.history.observed])
    if found is not None and found.r2 >= LEAST_R2:
        return [name for name in found.names if name != EPOCH][:SLICES]
    usual = [name for name in ("model", *HEADLINE) if name in names]
    return [*usual, *(name for name in names if name not in usual)][:SLICES]


def slice_chart(view: RunView, name: str) -> Chart:
    """Best scores of pipelines by value of one hyperparameter."""
    ids = view.history.ranking()
    values = [view.pipeline(i).get(name, ...) for i in ids]
    scores = [best.score for i in ids if (best := view.history.best(i)) is not None]
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    many = len(set(numbers)) > MOST_VALUES

    def plot(figure: "Figure") -> None:
        axes = figure.add_subplot()
        label = f"best {view.score_name}"
        if many:
            _scatter(axes, values, scores)
            axes.set(xlabel=name, ylabel=label)
        else:
            _strips(axes, values, scores)
            axes.set(xlabel=label, ylabel=name)

    rows = min(len({repr(v) for v in values}), MOST_VALUES)
    height = 3.3 if many else 0.9 + 0.42 * max(rows, 2)
    note = "One dot per pipeline" + ("." if many else "; bars: medians; in brackets: how many pipelines.")
    alt = f"Best {view.score_name} by {name}. {_medians(values, scores) if not many else ''}".strip()
    title = f"{words.capitalized(view.score_name)} by {name}"
    return chart(f"slice-{_file_name(name)}", title, plot, alt=alt, note=note, inches=(WIDTH, height))


def _scatter(axes: "Axes", values: list[Any], scores: list[float]) -> None:
    pairs = [(v, s) for v, s in zip(values, scores, strict=True) if isinstance(v, int | float)]
    x, y = [v for v, _ in pairs], [s for _, s in pairs]
    axes.plot(x, y, "o", color=BLUE, alpha=0.6, mew=0, ms=5)
    if min(x) > 0 and max(x) > 50 * min(x):
        axes.set_xscale("log")


def _strips(axes: "Axes", values: list[Any], scores: list[float]) -> None:
    """One row of dots for each value, with its median and count."""
    groups = _groups(values, scores)
    generator = np.random.default_rng(0)
    for place, (_, group) in enumerate(groups):
        y = place + generator.uniform(-0.2, 0.2, len(group))
        axes.plot(group, y, "o", color=BLUE, alpha=0.55, mew=0, ms=5)
        axes.plot([np.median(group)] * 2, [place - 0.32, place + 0.32], "-", color=INK, lw=2)
    names = [f"{words.shortened(label)} ({len(group)})" for label, group in groups]
    axes.set_yticks(range(len(groups)), names)
    axes.set_ylim(len(groups) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")


def _groups(values: list[Any], scores: list[float]) -> list[tuple[str, list[float]]]:
    """Scores by value: numbers ascending, then words, then pipelines that do not have the hyperparameter."""
    groups: dict[str, tuple[Any, list[float]]] = {}
    for v, s in zip(values, scores, strict=True):
        groups.setdefault(repr(v), (v, []))[1].append(s)
    ordered = sorted(groups.values(), key=lambda group: _rank(group[0]))
    if len(ordered) > MOST_VALUES:
        ordered = sorted(ordered, key=lambda group: -len(group[1]))[:MOST_VALUES]
    return [(ABSENT if v is ... else words.value(v), group) for v, group in ordered]


def _rank(v: Any) -> tuple[int, float, str]:
    if v is ...:
        return 3, 0.0, ""
    if v is None:
        return 0, 0.0, ""
    number = isinstance(v, int | float)
    return (1, float(v), "") if number else (2, 0.0, words.value(v))


def _medians(values: list[Any], scores: list[float]) -> str:
    told = [f"{label} {words.score(float(np.median(g)))} ({len(g)})" for label, g in _groups(values, scores)]
    return f"Medians: {words.listed(told, most=MOST_VALUES)}."


def _file_name(name: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in name)
