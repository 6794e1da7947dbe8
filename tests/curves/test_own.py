"""The curve table that this project recorded and ships."""

from pathlib import Path

import numpy as np

from qtt.curves.table import CurveTable
from qtt.finetune.cv.classification.recipe import Recipe

TABLE = Path(__file__).parents[2] / "meta_dataset" / "tables" / "own" / "micro"


def test_the_shipped_curves_are_whole_and_of_the_search_space() -> None:
    table = CurveTable.load(TABLE)
    table.check()
    curves = [table.curves(dataset) for dataset in table.datasets]
    assert sum(int((found.lengths >= 10).sum()) for found in curves) >= 60
    for found in curves:
        for config, scores in zip(found.configs, found.scores, strict=True):
            assert Recipe.from_config(config).model == config["model"]
            assert np.nanmax(scores) <= 1
    assert sum(file.stat().st_size for file in TABLE.iterdir()) < 4e6
