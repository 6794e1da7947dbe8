"""Random budgets of seconds are kept, and what is left of them has a true reason."""

import random
from pathlib import Path

import pytest

from faults.budgets import Budgets


@pytest.mark.parametrize("isolation", ["inline", "process"])
@pytest.mark.parametrize("count", [3, pytest.param(25, marks=pytest.mark.slow)])
def test_budgets(tmp_path: Path, isolation: str, count: int) -> None:
    budgets = Budgets(isolation)
    for number in range(count):
        budgets.inject(tmp_path / str(number), random.Random(f"{isolation} {number}"))
