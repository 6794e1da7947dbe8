"""Numbers and values as people say them."""

from collections.abc import Iterable
from typing import Any

SPACE = "\u00a0"

INACTIVE = "–"
"""Stands for a hyperparameter that a pipeline does not have."""


def duration(seconds: float) -> str:
    """Two units at most, that stay on one line: 0.4 s, 45 s, 2 min, 1 h 20 min."""
    if seconds < 9.5:
        return f"{seconds:.2g}{SPACE}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{SPACE}s"
    units = (whole // 60, "min", whole % 60, "s")
    if whole >= 3600:
        minutes = round(seconds / 60)
        units = (minutes // 60, "h", minutes % 60, "min")
    large, unit, small, part = units
    return SPACE.join([f"{large}", unit, *([f"{small}", part] if small else [])])


def counted(number: int, noun: str) -> str:
    """1 epoch, 2 epochs, 2 classes; the plural takes an s, or es."""
    plural = "es" if noun.endswith(("s", "rch")) else "s"
    return f"{number:,} {noun}{'' if number == 1 else plural}".replace(",", "\u202f")


def score(value: float) -> str:
    """Four decimals, as everywhere in qtt; six digits of large numbers."""
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.6g}"


def capitalized(text: str) -> str:
    """With a large first letter; the others stay, for an F1 is none of f1."""
    return text[:1].upper() + text[1:]


def mean_and_std(mean: float, std: float | None) -> str:
    """0.9420 ± 0.0031; without the second part where there is no spread to speak of."""
    return score(mean) if std is None else f"{score(mean)} ± {score(std)}"


def value(item: Any) -> str:
    """A hyperparameter's value."""
    if item is None:
        return "none"
    if isinstance(item, bool):
        return "yes" if item else "no"
    if isinstance(item, float):
        return f"{item:g}"
    if isinstance(item, (tuple, list)):
        return ", ".join(value(part) for part in item)
    return str(item)


def listed(words: Iterable[str], most: int = 6) -> str:
    """a, b and c; a tail of others is counted."""
    words = list(words)
    if len(words) > most:
        words = [*words[: most - 1], f"{len(words) - most + 1} others"]
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def shortened(text: str, most: int = 26) -> str:
    """A label that fits beside an axis; what is cut out of its middle is an ellipsis."""
    keep = (most - 1) // 2
    return text if len(text) <= most else f"{text[: most - 1 - keep]}…{text[-keep:]}"
