import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from curve_frames import small_frames, with_cell
from qtt.curves.schema import NUMBER, Frames
from qtt.curves.validation import checked
from qtt.errors import CurveTableError

WRONG = [
    (
        "curves",
        1,
        "score",
        1.5,
        r"curves, row 2 \(run_id r5, epoch 1\), column 'score': 1.5 lies outside 0 to 1",
    ),
    ("curves", 1, "score", -0.1, "lies outside 0 to 1"),
    ("curves", 2, "score", math.nan, r"row 3 \(run_id r1, epoch 1\), column 'score': nan is missing"),
    ("curves", 2, "score", "0.5", "'0.5' is not a number"),
    ("curves", 2, "score", math.inf, "inf is not a number"),
    ("curves", 2, "seconds", 0.0, r"column 'seconds': 0.0 must be positive"),
    ("curves", 2, "epoch", 0, "0 must be at least 1"),
    ("curves", 2, "epoch", 1.5, "1.5 is not an integer"),
    ("curves", 4, "epoch", 3, r"row 5 \(run_id r1, epoch 3\), column 'epoch': 3 appears twice"),
    ("curves", 4, "epoch", 5, r"row 4 \(run_id r1, epoch 3\), column 'epoch': 3 does not follow"),
    ("curves", 5, "epoch", 2, r"\(run_id r2, epoch 2\), column 'epoch': 2 does not follow"),
    ("curves", 5, "run_id", "r9", "column 'run_id': 'r9' is not in configs"),
    ("curves", 5, "test_score", 7.0, "column 'test_score': 7.0 lies outside 0 to 1"),
    ("curves", 5, "speed", 7.0, "Unknown column of curves 'speed'"),
    ("configs", 0, "dataset", "NO", r"configs, row 1 \(run_id r5, dataset NO\).*'NO' is not in datasets"),
    ("configs", 1, "run_id", "r5", r"configs, row 2 \(run_id r5, dataset APL\).*appears twice"),
    ("configs", 1, "run_id", "", "'' is missing"),
    ("configs", 1, "model", None, r"column 'model': None is missing"),
    ("configs", 1, "lr", "fast", "'fast' is not a number"),
    ("configs", 1, "lr", True, "True is not a number"),
    ("configs", 1, "amp", 1, "1 is not true or false"),
    ("configs", 0, "opt_betas", 0.9, "0.9 is not a list of numbers"),
    ("configs", 0, "momentum", 0.9, r"row 1 .*column 'momentum': 0.9 has no effect with opt='adam'"),
    ("configs", 0, "drop_path", "much", "column 'drop_path' mixes"),
    ("configs", 0, "drop_path", object(), "column 'drop_path' holds a object"),
    ("configs", 0, "decay_rate", 0.1, "'decay_rate' but not 'sched', on which it depends"),
    (
        "datasets",
        0,
        "channels",
        0,
        r"datasets, row 1 \(dataset TEX\), column 'channels': 0 must be at least 1",
    ),
    ("datasets", 1, "dataset", "TEX", "'TEX' appears twice"),
    ("runs", 0, "status", "done", "'done' is none of finished, capped, failed, unusable"),
    ("runs", 0, "run_id", "r9", r"configs, row 2 .*'r1' is not in runs"),
    ("runs", 0, "max_memory", -1.0, "must be positive bytes, or null"),
]


@pytest.mark.parametrize(("file", "row", "column", "value", "message"), WRONG)
def test_every_violation_is_named(file: str, row: int, column: str, value: Any, message: str) -> None:
    with pytest.raises(CurveTableError, match=message):
        checked(with_cell(small_frames(), file, row, column, value))


def test_a_run_of_runs_that_has_no_config_is_named() -> None:
    frames = small_frames()
    more = pd.concat([frames.runs, pd.DataFrame([{"run_id": "r6", "status": "failed"}])])
    with pytest.raises(CurveTableError, match=r"runs, row 6 \(run_id r6\).*'r6' is not in configs"):
        checked(replace(frames, runs=more))


@pytest.mark.parametrize("file", ["configs", "curves", "datasets", "runs"])
def test_missing_columns_are_named(file: str) -> None:
    frames = small_frames()
    frame = getattr(frames, file)
    column = frame.columns[1]
    with pytest.raises(CurveTableError, match=f"{file} lacks the column '{column}'; it has"):
        checked(replace(frames, **{file: frame.drop(columns=column)}))


def test_numbers_of_numpy_and_of_other_types_become_native() -> None:
    frames = with_cell(small_frames(), "configs", 1, "lr", np.float32(0.5))
    frames = with_cell(frames, "configs", 2, "lr", 1)
    frames = with_cell(frames, "configs", 0, "amp", np.bool_(False))
    frames = replace(frames, datasets=frames.datasets.astype({"channels": float}))
    values, kinds = checked(frames)
    assert values["configs"]["lr"] == [0.01, 0.5, 1.0, 0.001, 0.001]
    assert [type(value) for value in values["configs"]["lr"]] == [float] * 5
    assert values["configs"]["amp"][0] is False
    assert [type(value) for value in values["datasets"]["channels"]] == [int, int]
    assert kinds["configs"]["drop_path"] == NUMBER


def test_gaps_are_allowed_where_only_last_epochs_are_known() -> None:
    frames = small_frames()
    frames = Frames(frames.configs, frames.curves.drop(index=[2, 4]), frames.datasets, frames.runs)
    checked(frames, all_epochs=False)
    with pytest.raises(CurveTableError, match="3 does not follow"):
        checked(frames)
