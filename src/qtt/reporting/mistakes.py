"""The mistakes of a classifier as parts of a report: confusion, calibration, and the worst of them."""

from collections.abc import Callable
from html import escape

from qtt.reporting import page, words
from qtt.reporting.calibration import calibration_chart
from qtt.reporting.confusion import confusion_chart
from qtt.reporting.page import Section
from qtt.reporting.validated import Mistake, Validated, worst_mistakes
from qtt.runs.kept_models import KeptModel
from qtt.tasks.contract import ReportParts

MISTAKES, SHOWN, SIDE = 6, 6, 72
"""Confusions that are shown, examples of each, and pixels of a picture."""

DOUBTFUL = 0.005
"""Difference from the accuracy in the journal that is worth a remark; another device makes smaller ones."""

Picture = Callable[[int], bytes | None]
"""JPEG of the example at a position; None where it is gone."""


def mistakes_parts(
    model: KeptModel, seen: Validated, examples: str, picture: Picture | None = None
) -> ReportParts:
    """The section of what a kept network says of the validation examples, with its charts.

    examples: what they are called. picture: None for those that cannot be shown as one; their names stand.
    """
    drawn = (confusion_chart(seen, examples), calibration_chart(seen, examples))
    which = f"{model.name} (pipeline #{model.config_id}, epoch {model.fidelity})"
    lead = f"What the best kept network, {which}, says of the validation {examples}."
    if abs(seen.accuracy - model.score) > DOUBTFUL:
        lead += (
            f" Its accuracy was {words.score(model.score)} when it was trained: the {examples}, or how they "
            "are read, have changed since."
        )
    body = page.paragraph(lead) + page.figures(drawn) + mistakes_html(seen, examples, picture)
    return ReportParts((Section("Mistakes", body),), drawn)


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
