"""Finetuning image classifiers: the objective, and what it must know of a dataset.

Torch and Lightning are imported when the objective is first used, not before.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qtt.finetune.cv.classification.evaluate import evaluate_incumbent
    from qtt.finetune.cv.classification.export import export_model
    from qtt.finetune.cv.classification.footprint import footprints
    from qtt.finetune.cv.classification.loss_terms import NotApplicable, Start, register_regularizer
    from qtt.finetune.cv.classification.metafeatures import extract_task_info_metafeat
    from qtt.finetune.cv.classification.predictor import load_predictor
    from qtt.finetune.cv.classification.script import check_candidates, finetune_script
    from qtt.finetune.cv.classification.settings import FinetuneSettings

__all__ = [
    "FinetuneSettings",
    "NotApplicable",
    "Start",
    "check_candidates",
    "evaluate_incumbent",
    "export_model",
    "extract_task_info_metafeat",
    "finetune_script",
    "footprints",
    "load_predictor",
    "register_regularizer",
]

_HOMES = {
    "FinetuneSettings": "settings",
    "evaluate_incumbent": "evaluate",
    "export_model": "export",
    "footprints": "footprint",
    "extract_task_info_metafeat": "metafeatures",
    "check_candidates": "script",
    "finetune_script": "script",
    "load_predictor": "predictor",
    "NotApplicable": "loss_terms",
    "Start": "loss_terms",
    "register_regularizer": "loss_terms",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
