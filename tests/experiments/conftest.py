"""Import the scripts of an experiment as they import each other."""

import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from types import ModuleType

import pytest


@pytest.fixture
def load(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Callable[[str], ModuleType]]:
    """Import a module of the folder that the test names as SCRIPTS, and forget its modules afterwards."""
    folder = request.module.SCRIPTS
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    yield import_module
    for name in {path.stem for path in folder.glob("*.py")} & (set(sys.modules) - before):
        del sys.modules[name]
