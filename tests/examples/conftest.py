"""Example packages, installed into a folder of the path as an installer would."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="session")
def tabular(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder in which `examples/tabular` is installed."""
    site = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--offline", "--no-deps"]
    command += ["--no-build-isolation", "--target", str(site), str(EXAMPLES / "tabular")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return site


@pytest.fixture
def installed(tabular: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, visible in this process and in those that it starts."""
    monkeypatch.syspath_prepend(str(tabular))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tabular), os.environ.get("PYTHONPATH", "")]))
    return tabular
