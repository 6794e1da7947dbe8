"""qtt: which pretrained model should I finetune, and how?"""

from qtt.cli.interrupts import end_imports_quietly

end_imports_quietly()

from importlib import import_module  # noqa: E402 - an interrupt may come meanwhile
from typing import TYPE_CHECKING, Any  # noqa: E402

if TYPE_CHECKING:
    from qtt.artifacts.pretrained import get_pretrained_optimizer
    from qtt.search.tuner import QuickTuner
    from qtt.tasks import Task, load_predictor
    from qtt.types import Budget, MetaFeatures, Result, Status, TaskInfo, Trial

__version__ = "0.1.0"

__all__ = [
    "Budget",
    "MetaFeatures",
    "QuickTuner",
    "Result",
    "Status",
    "Task",
    "TaskInfo",
    "Trial",
    "__version__",
    "get_pretrained_optimizer",
    "load_predictor",
]

_HOMES = {
    "QuickTuner": "qtt.search.tuner",
    "get_pretrained_optimizer": "qtt.artifacts.pretrained",
    "Task": "qtt.tasks",
    "load_predictor": "qtt.tasks",
}


def __getattr__(name: str) -> Any:
    """Import public names on first use, so that `import qtt` costs nothing."""
    if name in __all__:
        return getattr(import_module(_HOMES.get(name, "qtt.types")), name)
    raise AttributeError(f"module 'qtt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
