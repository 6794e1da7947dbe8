"""The tables of a run's report."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from qtt.reporting import page, words
from qtt.reporting.page import Cell
from qtt.reporting.run_view import RunView
from qtt.reporting.spending import spending
from qtt.statistics import pipeline_table
from qtt.statistics.certainty import TIE, legend
from qtt.types import ModelCard, Status

FIRST = {
    "config_id": "pipeline",
    "score": "score",
    "stderr": "±",
    "tie": "",
    "epoch": "at epoch",
    "epochs": "epochs",
    "seconds": "seconds",
}
"""Columns that every pipeline has, and their headings."""


def number(value: float | None, text: str | None = None) -> Cell:
    """A cell of a number; empty where there is none."""
    return Cell("") if value is None else Cell(f"{value:g}" if text is None else text, float(value))


def _millions(card: ModelCard | None) -> Cell:
    """Million parameters of a model."""
    return Cell("") if card is None else number(card.params, f"{card.params:.3g}")


def models(view: RunView) -> str:
    """What was tried of each model, the best first."""
    spent = {row.name: row for row in spending(view)}
    rows = []
    for name in view.models:
        of = [i for i in view.history.ranking() if view.model(i) == name]
        best, card, row = view.history.best(of[0]), view.card(of[0]), spent[name]
        assert best is not None
        cells = [Cell(name), number(best.score, words.score(best.score)), number(row.pipelines)]
        cells += [number(row.epochs), number(row.total, f"{row.total:.0f}")]
        rows.append([*cells, _millions(card)])
    heads = ["model", "best", "tried", "epochs", "seconds", "million params"]
    return page.table("Models: best score, pipelines tried, what was spent", heads, rows, sortable=False)


def pipelines(view: RunView) -> str:
    """All pipelines that finished an epoch, best first, with the hyperparameters that differ."""
    frame = pipeline_table(view.history, view.record.candidates)
    names = [name for name in frame.columns if name not in FIRST]
    rows = [_pipeline(view, row, names) for row in frame.to_dict("records")]
    heads = [
        "pipeline",
        "score",
        *(["±"] if "stderr" in frame else []),
        *(n for n in names if n == "model"),
        "at epoch",
        "epochs",
        "seconds",
        "s / epoch",
    ]
    heads += [name for name in names if name != "model"]
    told = legend(view.history, view.record.task.metric)
    return page.paragraph(words.capitalized(told), "note") + page.table(
        "All pipelines that finished an epoch, best first", heads, rows
    )


def _pipeline(view: RunView, row: Mapping[Any, Any], names: list[str]) -> list[Cell]:
    config = view.pipeline(row["config_id"])
    cells = [
        number(row["config_id"], f"#{row['config_id']}"),
        number(row["score"], _tied(view, row) + words.score(row["score"])),
    ]
    if "stderr" in row:
        known = None if pd.isna(row["stderr"]) else row["stderr"]
        cells.append(number(known, None if known is None else words.score(known)))
    if "model" in names:
        cells.append(Cell(str(config.get("model", words.INACTIVE))))
    per_epoch = view.seconds_per_epoch(row["config_id"])
    cells += [number(row["epoch"]), number(row["epochs"]), number(row["seconds"], f"{row['seconds']:.1f}")]
    cells.append(number(per_epoch, f"{per_epoch:.2f}"))
    return cells + [hyperparameter(config, name) for name in names if name != "model"]


def _tied(view: RunView, row: Mapping[Any, Any]) -> str:
    best = view.best
    tied = row.get("tie") and best is not None and row["config_id"] != best.config_id
    return f"{TIE}{words.SPACE}" if tied else ""


def hyperparameter(config: Mapping[str, Any], name: str) -> Cell:
    """The value that a pipeline has for a hyperparameter."""
    if name not in config:
        return Cell(words.INACTIVE)
    value = config[name]
    order = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    return Cell(words.value(value), order)


def failures(view: RunView) -> str:
    """What failed or was cut off, with reasons; in finetuning as well."""
    rows = []
    for where, entries in (("search", view.record.entries), ("finetuning", view.record.finetuning)):
        for result in (entry.result for entry in entries):
            if result.status is Status.FAILED:
                reason = str(result.info.get("reason", "no reason given"))
                name = number(result.config_id, f"#{result.config_id}")
                model = Cell(view.model(result.config_id) or words.INACTIVE)
                rows.append([name, model, number(result.fidelity), Cell(where), Cell(reason)])
    if not rows:
        return page.paragraph("No pipeline failed.")
    return page.table("Failures", ["pipeline", "model", "in epoch", "during", "reason"], rows)


def kept(view: RunView) -> str:
    """The networks whose weights lie in the run folder."""
    if not view.kept:
        return page.paragraph("The run folder holds no weights: " + _why_none(view))
    tested = {model.name: view.test_figures(model.folder) for model in view.kept}
    figures = list(dict.fromkeys(name for values in tested.values() for name in values))
    rows = []
    for model in view.kept:
        searched = view.history.best(model.config_id)
        megabytes = model.weights.stat().st_size / 1e6
        rows.append(
            [
                Cell(model.name),
                number(model.config_id, f"#{model.config_id}"),
                Cell(words.INACTIVE if model.card is None else model.card.name),
                number(model.score, words.score(model.score)),
                number(model.fidelity),
                number(
                    None if searched is None else searched.score,
                    "" if searched is None else words.score(searched.score),
                ),
                *(
                    number(v, words.score(v)) if (v := tested[model.name].get(name)) is not None else Cell("")
                    for name in figures
                ),
                _millions(model.card),
                number(megabytes, f"{megabytes:.1f}"),
            ]
        )
    heads = ["folder", "pipeline", "model", "score", "epoch", "score in the search", *figures]
    return page.table(
        "Kept networks, best on the validation images first", [*heads, "million parameters", "MB"], rows
    )


def _why_none(view: RunView) -> str:
    if view.best is None:
        return "no pipeline has finished an epoch."
    return "the objective left none, or they were removed."
