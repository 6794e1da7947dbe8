"""Errors that say what was wrong, where, and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


class QTTError(Exception):
    """Base class of every error that qtt raises on purpose."""


class ConfigError(QTTError):
    """A configuration, pipeline or option that cannot be used."""


class DamagedFileError(ConfigError, ValueError):
    """A file that cannot be read as what it should be."""


class DatasetError(QTTError):
    """A folder or image that cannot be used as a dataset."""


class ModelHubError(QTTError):
    """A model that is unknown to the hub, or weights that cannot be had."""


class EnvironmentFault(QTTError):  # noqa: N818 - it is no error of anyone's
    """A fault of the world and of no pipeline: a device, a disk or memory that is not there now."""


class JournalError(QTTError):
    """A journal that cannot be read, or does not belong to this search."""


class ObjectiveError(QTTError):
    """An objective that broke its contract, for instance by returning a malformed result."""


class PredictionError(QTTError):
    """A predictor that was used wrongly or produced unusable numbers."""


class ArtifactError(QTTError):
    """A predictor artifact that is missing or malformed."""


class CurveTableError(QTTError):
    """Learning curves, or files to import them from, that are missing, malformed or contradictory."""


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Message for an unknown `name`, with close matches, or all names when there are few."""
    names = sorted(set(known))
    close = get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f"Unknown {kind} '{name}'. Did you mean {' or '.join(repr(c) for c in close)}?"
    listed = ", ".join(names[:30]) + (", …" if len(names) > 30 else "")
    return f"Unknown {kind} '{name}'. Known: {listed or 'none'}."
