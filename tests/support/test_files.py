"""Files get the permissions that the user's umask gives, whoever writes them."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from qtt.support.files import usual_permissions


@pytest.fixture(params=[0o022, 0o002, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_a_library_that_writes_privately_leaves_an_ordinary_file(umask: int, tmp_path: Path) -> None:
    file = tmp_path / "tensors"
    with usual_permissions(file):
        save_file({"a": np.arange(3)}, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~umask
    assert load_file(file)["a"].tolist() == [0, 1, 2]
