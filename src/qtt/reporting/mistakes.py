"""The mistakes of a classifier as parts of a report: confusion, calibration, and the worst of them."""

from collections.abc import Callable
from html import escape

from qtt.reporting import page, words
from qtt.reporting.calibration import calibration_chart
from qtt.reporting.confusion import confusion_chart
from qtt.reporting.page import Cell, Section
from qtt.reporting.tables import number
from qtt.reporting.validated import Mistake, Validated, worst_mistakes
from qtt.runs.kept_models import KeptModel
from qtt.statistics.by_class import class_table, majority_note
from qtt.statistics.scores import METRICS, Metric
from qtt.tasks.contract import ReportParts
from qtt.types import ACCURACY

MISTAKES, SHOWN, SIDE = 6, 6, 72
"""Confusions that are shown, examples of each, and pixels of a picture."""

DOUBTFUL = 0.005
"""Difference from the accuracy in the journal that is worth a remark; another device makes smaller ones."""

Picture = Callable[[int], bytes | None]
"""JPEG of the example at a position; None where it is gone."""


def mistakes_parts(
    model: KeptModel,
    seen: Validated,
    examples: str,
    picture: Picture | None = None,
    metric: Metric = METRICS[ACCURACY],
) -> ReportParts:
    """The section of what a kept network says of the validation examples, with its charts.

    examples: what they are called. picture: None for those that cannot be shown as one; their names stand.
    metric: that of the search.
    """
    drawn = (confusion_chart(seen, examples), calibration_chart(seen, examples))
    which = f"{model.name} (pipeline #{model.config_id}, epoch {model.fidelity})"
    lead = f"What the best kept network, {which}, says of the validation {examples}."
    if abs(metric.score(seen.probabilities, seen.labels) - model.score) > DOUBTFUL:
        lead += (
            f" Its {metric.title} was {words.score(model.score)} when it was trained: the {examples}, or how "
            "they are read, have changed since."
        )
    body = page.paragraph(lead) + page.figures(drawn) + _classes(seen, examples)
    body += mistakes_html(seen, examples, picture)
    return ReportParts((Section("Mistakes", body),), drawn)


def _classes(seen: Validated, examples: str) -> str:
    """What is recognised of each class."""
    table = class_table(seen.probabilities, seen.labels, seen.class_names)
    rows = [
        [
            Cell(row["class"]),
            number(row["examples"]),
            number(row["recall"], words.score(row["recall"])),
            Cell(words.INACTIVE)
            if row["precision"] != row["precision"]
            else number(row["precision"], words.score(row["precision"])),
            Cell(row["taken_for"] or words.INACTIVE),
        ]
        for row in table.to_dict("records")
    ]
    heads = ["class", f"validation {examples}", "recall", "precision", "mostly taken for"]
    note = page.paragraph(majority_note(seen.labels, seen.class_names), "note")
    return f'<h3 class="apart">Classes</h3>{note}' + page.table(
        "Classes, the least recognised first", heads, rows
    )


def mistakes_html(seen: Validated, examples: str, picture: Picture | None = None) -> str:
    """The worst confusions with examples."""
    mistakes = worst_mistakes(seen, MISTAKES)
    if not mistakes:
        return page.paragraph(f"None of the validation {examples} is misclassified.")
    total = int((seen.predicted != seen.labels).sum())
    shown = sum(len(m.examples) for m in mistakes)
    cards = "".join(_card(seen, mistake, examples, picture) for mistake in mistakes)
    head = "The most frequent confusions, the network's most confident mistakes first"
    told = page.paragraph(f"{head}: {shown} of {total} mistakes.", "note")
    return f'<h3 class="apart">Worst confusions</h3>{told}<div class="mistakes">{cards}</div>'


def _card(seen: Validated, mistake: Mistake, examples: str, picture: Picture | None) -> str:
    true, predicted = seen.class_names[mistake.true], seen.class_names[mistake.predicted]
    chosen = mistake.examples[:SHOWN]
    if picture is None:
        body = page.paragraph(", ".join(seen.names[position] for position in chosen), "note")
    else:
        pictures = [_picture(seen, position, picture(position)) for position in chosen]
        gone = page.paragraph(f"{examples.capitalize()} that are gone cannot be shown.", "note")
        body = f"<div>{''.join(pictures)}</div>{gone if '' in pictures else ''}"
    count = f"<small>{len(mistake.examples)} of {mistake.of}</small>"
    return f"<article><h4>{escape(true)} → {escape(predicted)} {count}</h4>{body}</article>"


def _picture(seen: Validated, position: int, data: bytes | None) -> str:
    true, predicted = seen.class_names[seen.labels[position]], seen.class_names[seen.predicted[position]]
    name, sure = seen.names[position].rpartition("/")[2], seen.confidence[position]
    alt = f"{name}: labelled {true}, taken for {predicted} with probability {sure:.2f}"
    return "" if data is None else page.image(data, alt, SIDE)
