"""Contents of small curve tables."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from qtt.curves.schema import Frames
from qtt.types import Config

BETAS = (0.9, 0.99)


def small_frames() -> Frames:
    """Two datasets and five runs with all statuses; a run without an epoch; rows mixed up."""
    names = [
        "run_id",
        "dataset",
        "model",
        "lr",
        "clip_grad",
        "opt",
        "opt_betas",
        "momentum",
        "amp",
        "drop_path",
    ]
    configs = [
        ["r5", "TEX", "volo_d1_384", 0.01, None, "adam", BETAS, None, True, 0.5],
        ["r1", "APL", "dla46x_c", 1e-5, 1.0, "momentum", None, 0.9, False, None],
        ["r3", "APL", "dla46x_c", 0.1, 10.0, "sgd", None, None, False, 0.1],
        ["r2", "APL", "edgenext_small", 0.001, None, "adamw", (0, 0.999), None, True, 0.2],
        ["r4", "APL", "edgenext_small", 0.001, None, "sgd", None, None, True, 0.2],
    ]
    curves = [
        ["r5", 2, 0.5, 20.0],
        ["r5", 1, 0.25, 10.5],
        ["r1", 1, 0.0, 1.0],
        ["r1", 3, 1.0, 1.5],
        ["r1", 2, 0.75, 1.25],
        ["r2", 1, 0.125, 7.0],
        ["r4", 1, 0.625, 3.0],
    ]
    datasets = [["TEX", None, None, 5205, 64, 128, 3], ["APL", "set1", "vehicles", 5775, 21, 128, 3]]
    runs = [
        ["r1", "finished", 2.0**30, None],
        ["r2", "failed", None, "the loss became NaN"],
        ["r3", "failed", None, "out of memory"],
        ["r4", "unusable", None, None],
        ["r5", "capped", None, None],
    ]
    described = ["dataset", "set", "domain", "train_images", "num_classes", "image_size", "channels"]
    return Frames(
        pd.DataFrame(configs, columns=names, dtype=object),
        pd.DataFrame(curves, columns=["run_id", "epoch", "score", "seconds"]),
        pd.DataFrame(datasets, columns=described),
        pd.DataFrame(runs, columns=["run_id", "status", "max_memory", "note"]),
    )


def with_cell(frames: Frames, file: str, row: int, column: str, value: Any) -> Frames:
    """`frames` with one other value, or one column more."""
    frame: pd.DataFrame = getattr(frames, file).astype(object)
    if column not in frame:
        frame[column] = None
    frame.iloc[row, frame.columns.get_loc(column)] = value
    return replace(frames, **{file: frame})


def frames_with(configs: Sequence[Config]) -> Frames:
    """A table of one dataset and one epoch a run, with these configs."""
    names = dict.fromkeys(name for config in configs for name in config)
    ids = [f"r{number:04d}" for number in range(len(configs))]
    rows = [[run, "D", *map(config.get, names)] for run, config in zip(ids, configs, strict=True)]
    dataset: Mapping[str, Any] = {"dataset": "D", "set": None, "domain": None, "channels": 3}
    return Frames(
        pd.DataFrame(rows, columns=["run_id", "dataset", *names], dtype=object),
        pd.DataFrame({"run_id": ids, "epoch": 1, "score": 0.5, "seconds": 1.0}),
        pd.DataFrame([{**dataset, "train_images": 10, "num_classes": 2, "image_size": 64}]),
        pd.DataFrame({"run_id": ids, "status": "finished"}),
    )
