"""A few of the faults that `make faults` injects by the hundred, from outside of the search."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from waiting import LIMIT

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")

TESTS = Path(__file__).parents[1]


def test_one_fault_of_each_kind(tmp_path: Path) -> None:
    """In a process of its own, which has no threads and may be forked."""
    path = os.pathsep.join([str(TESTS), *filter(None, sys.path)])
    command = [sys.executable, "-m", "faults.run", "--quick", "--folder", str(tmp_path / "faults")]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=LIMIT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 failures" in done.stdout
