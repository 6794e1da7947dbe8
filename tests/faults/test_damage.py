"""Damaged files of a run folder: a clear error, or the same story as before."""

import random
from pathlib import Path

import pytest

from faults.damage import Damage


@pytest.mark.parametrize("number", range(20))
@pytest.mark.parametrize("kind", ["flipped", "torn"])
def test_damage_is_noticed_or_does_no_harm(tmp_path: Path, kind: str, number: int) -> None:
    Damage(kind).inject(tmp_path / "run", random.Random(f"{kind} {number}"))
