"""Recorded runs as the tables of a curve table (DESIGN section 5)."""

from collections.abc import Sequence
from dataclasses import asdict

import pandas as pd

from qtt.collecting.plan import Plan
from qtt.collecting.runs import Run
from qtt.curves.schema import Frames


def to_frames(plans: Sequence[Plan], ended: Sequence[tuple[Run, str]]) -> Frames:
    """Everything that is recorded; `ended`: the runs that ended, and how."""
    return Frames(config_rows(ended), curve_rows(ended), dataset_rows(plans), run_rows(ended))


def config_rows(ended: Sequence[tuple[Run, str]]) -> pd.DataFrame:
    """`configs`: run_id, dataset and one column per hyperparameter, None where inactive."""
    rows = [
        {"run_id": run.name, "dataset": run.plan.name, **run.plan.candidates.configs[run.config_id]}
        for run, _ in ended
    ]
    names = dict.fromkeys(name for row in rows for name in row)
    return pd.DataFrame(
        [[row.get(name) for name in names] for row in rows], columns=list(names), dtype=object
    )


def curve_rows(ended: Sequence[tuple[Run, str]]) -> pd.DataFrame:
    """`curves`: run_id, epoch, score, seconds, and the validation loss where the objective reports it."""
    return pd.DataFrame(
        [
            (run.name, result.fidelity, result.score, result.cost, result.info.get("val_loss"))
            for run, _ in ended
            for result in run.record.curve
        ],
        columns=["run_id", "epoch", "score", "seconds", "loss"],
    ).astype({"loss": float})


def dataset_rows(plans: Sequence[Plan]) -> pd.DataFrame:
    """`datasets`: name, set, domain and meta-features."""
    return pd.DataFrame(
        [
            {"dataset": plan.name, "set": plan.group, "domain": plan.domain, **asdict(plan.metafeatures)}
            for plan in plans
        ]
    )


def run_rows(ended: Sequence[tuple[Run, str]]) -> pd.DataFrame:
    """`runs`: run_id, status, peak memory in bytes, and the reason of a failure."""
    return pd.DataFrame(
        [(run.name, end, run.record.max_memory, run.record.note) for run, end in ended],
        columns=["run_id", "status", "max_memory", "note"],
    ).astype({"max_memory": float})
