"""How close models and options are to each other: what a pipeline of one hub or space becomes in another."""

import math
from collections.abc import Sequence
from typing import Any

from qtt.types import ModelCard

UNKNOWN = math.log(2)
"""Distance where one of two cards does not know a number: as if it differed by a factor of two."""

POINTS_OF_TOP1 = 5.0
"""A difference of ImageNet accuracy, in percent, that counts like a factor of e in size."""

OTHER_KIND = 0.5
"""What another family, and another pretraining, adds to the distance of two models."""

SMALLEST = 1e-6
"""Added to numbers before logarithms are compared, so that 0 is close to the smallest option of a scale."""


def card_distance(first: ModelCard, second: ModelCard) -> float:
    """How far two models are from each other, ≥ 0, by their descriptors alone.

    The sum of the differences of log parameters, log multiply-adds, log input size and ImageNet accuracy, and
    a little for another family or pretraining.
    """
    sizes = (
        _log_ratio(first.params, second.params),
        _log_ratio(first.macs, second.macs),
        _log_ratio(first.input_size, second.input_size),
    )
    known = first.top1 is not None and second.top1 is not None
    accuracy = abs((first.top1 or 0.0) - (second.top1 or 0.0)) / POINTS_OF_TOP1 if known else UNKNOWN
    kinds = (first.family != second.family) + (first.pretraining != second.pretraining)
    return sum(sizes) + accuracy + OTHER_KIND * kinds


def nearest_option(value: Any, options: Sequence[Any]) -> Any:
    """The option nearest to a number on a logarithmic scale; `default_option` where there are no numbers."""
    numbers = [option for option in options if is_number(option)]
    if not (is_number(value) and numbers):
        return default_option(options)
    return min(numbers, key=lambda option: abs(_log(option) - _log(value)))


def default_option(options: Sequence[Any]) -> Any:
    """None, False or 0 if there is one; else the middle of numbers, and the first of other options."""
    for option in options:
        if option is None or option is False or (is_number(option) and option == 0):
            return option
    numbers = sorted(option for option in options if is_number(option))
    return numbers[len(numbers) // 2] if numbers else options[0]


def is_number(value: Any) -> bool:
    """Whether an option is a number; booleans are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _log(value: float) -> float:
    return math.log(abs(value) + SMALLEST)


def _log_ratio(first: float | None, second: float | None) -> float:
    return abs(math.log(first / second)) if first and second else UNKNOWN
