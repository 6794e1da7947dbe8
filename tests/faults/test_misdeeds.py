"""An objective that breaks its contract costs its pipeline alone, whatever it does."""

import random
from pathlib import Path

import pytest

from faults.misdeeds import Misdeeds
from faults.objectives import APART, DEEDS


@pytest.mark.parametrize(
    "deed", [pytest.param(deed, marks=[pytest.mark.slow] if deed in APART else []) for deed in DEEDS]
)
def test_one_pipeline_fails_and_the_others_are_asked_as_ever(tmp_path: Path, deed: str) -> None:
    Misdeeds((deed,)).inject(tmp_path / "run", random.Random(deed))
