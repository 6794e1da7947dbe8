"""Makes the searches of the guides short, while what is printed there stays as it is.

On the path of a Python process, it turns every budget of seconds into a few epochs, because how long these
take says nothing on a busy machine, and ends finetuning after a few seconds.
"""

import math
import sys
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

EPOCHS, SECONDS = 4, 6.0


def _bounded(kind: Any, bounds: dict[str, float]) -> None:
    """Let a dataclass begin with at most these values; None, no bound, is more than any."""
    begin = kind.__init__

    def shorter(self: Any, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        for name, most in bounds.items():
            given = getattr(self, name)
            object.__setattr__(self, name, most if given is None else min(given, most))

    kind.__init__ = shorter


def _budget(module: ModuleType) -> None:
    """So many epochs for every hour that is begun; a budget of epochs alone stays."""
    begin = module.Budget.__init__

    def shorter(self: Any, seconds: float | None = None, evaluations: int | None = None) -> None:
        begin(self, seconds, evaluations)
        if seconds is not None:
            epochs = EPOCHS * math.ceil(seconds / 3600)
            begin(self, None, epochs if evaluations is None else min(evaluations, epochs))

    module.Budget.__init__ = shorter


def _final_training(module: ModuleType) -> None:
    _bounded(module.FinalTraining, {"seconds": SECONDS})


SHORTER: dict[str, Callable[[ModuleType], None]] = {
    "qtt.types": _budget,
    "qtt.search.final_training": _final_training,
}


class _Shortened(Loader):
    def __init__(self, loader: Any, change: Callable[[ModuleType], None]) -> None:
        self._loader, self._change = loader, change

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._change(module)


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name not in SHORTER:
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is not None:
            spec.loader = _Shortened(spec.loader, SHORTER[name])
        return spec


sys.meta_path.insert(0, _Finder())
