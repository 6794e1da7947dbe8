"""Predictor artifacts, their files, and optimizers by the names of artifacts."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qtt.artifacts.pretrained import get_pretrained_optimizer, quick_tune

__all__ = ["get_pretrained_optimizer", "quick_tune"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("qtt.artifacts.pretrained"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
