"""Tasks: all that is particular to a kind of data, behind one contract.

A search, its commands and its report know `Task` alone. Image classification is one, found like those of
other packages by its entry point (group `qtt.tasks`).
"""

from qtt.tasks.contract import (
    Column,
    Export,
    LeftOut,
    Predictions,
    Predictor,
    ReportParts,
    Scoreboard,
    Task,
    Watch,
)
from qtt.tasks.preflight import Needs, Rehearsal, Said
from qtt.tasks.registry import load_predictor, load_task, objective_of, task_of, task_of_objective

__all__ = [
    "Column",
    "Export",
    "LeftOut",
    "Needs",
    "Predictions",
    "Predictor",
    "Rehearsal",
    "ReportParts",
    "Said",
    "Scoreboard",
    "Task",
    "Watch",
    "load_predictor",
    "load_task",
    "objective_of",
    "task_of",
    "task_of_objective",
]
