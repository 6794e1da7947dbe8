"""The fit of gains over probes finds what data were made of, and reads the committed ones."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from qtt.predictors.gains import COLUMNS

SCRIPTS = Path(__file__).parents[2] / "experiments" / "images"
Load = Callable[[str], ModuleType]


@pytest.fixture
def script(load: Load) -> ModuleType:
    return load("fit_gains")


def made(script: ModuleType, gain: float, seed: int) -> Any:
    """Points of the recorded sets, with other gains: `gain` at the end of each schedule."""
    generator = np.random.default_rng(seed)
    points = next(iter(script.read(SCRIPTS / "gains.csv").values()))
    noise = 0.05 * generator.normal(size=len(points.gain))
    return replace(points, gain=gain * points.psi[:, 0] + noise)


def test_it_finds_the_gain_that_the_data_have(script: ModuleType) -> None:
    found = script.fit([made(script, 1.0, seed) for seed in range(6)])
    assert found.means[list(COLUMNS).index("intercept")] > 0.6
    assert found.own["noise"] < 0.15


def test_each_recorded_pipeline_has_points_within_its_schedule(script: ModuleType) -> None:
    with (SCRIPTS / "gains.csv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    sets = script.read(SCRIPTS / "gains.csv")
    assert sum(len(set(points.run.tolist())) for points in sets.values()) == len(rows)
    for points in sets.values():
        assert points.psi.shape == (len(points.gain), len(COLUMNS))
        assert 0 < points.share.min() <= points.share.max() <= 1
        assert np.isfinite(script.Fit.of(script.start()).loss(points))
