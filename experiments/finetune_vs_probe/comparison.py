"""Runs and their table: which method is compared with which, and what may choose between them."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

PROBE = "probe"
KEY = ["dataset", "model", "method", "image_size", "seed", "epochs"]
"""Columns that tell runs apart."""


@dataclass(frozen=True)
class Run:
    """One row of the results.

    method: `probe`, or a pipeline's name.
    epochs: trained, 0 for a probe; chosen: what did best on validation, an epoch, or a probe's C.
    cpu_seconds: of the whole run.
    """

    dataset: str
    model: str
    method: str
    image_size: int
    seed: int
    epochs: int
    chosen: float
    val_accuracy: float
    test_accuracy: float
    cpu_seconds: float


def read_runs(path: Path) -> pd.DataFrame:
    """All rows of a results file, an empty table where there is none."""
    return pd.read_csv(path) if path.exists() else pd.DataFrame(columns=list(Run.__dataclass_fields__))


def is_done(path: Path, **key: Any) -> bool:
    """Whether the results hold the run with these values of `KEY`."""
    runs = read_runs(path)
    return bool((runs[KEY] == pd.Series(key)[KEY]).all(axis=1).any())


def append_run(path: Path, run: Run) -> None:
    """Add one row, with the header first in a new file."""
    new = not path.exists()
    pd.DataFrame([asdict(run)]).to_csv(path, mode="a", header=new, index=False, float_format="%.5g")


def best_on_validation(runs: pd.DataFrame) -> pd.DataFrame:
    """All seeds of the method and size that did best on validation with seed 0; the first among equals."""
    first = runs[runs["seed"] == 0].reset_index(drop=True)
    best = first.loc[first["val_accuracy"].astype(float).idxmax()]
    same = (runs["method"] == best["method"]) & (runs["image_size"] == best["image_size"])
    return runs[same & (runs["epochs"] == best["epochs"])]


def summary(runs: pd.DataFrame) -> str:
    """Markdown, a row a dataset and model: test accuracy of the probe and pipeline that validation chose."""
    lines = [
        "| dataset | model | probe | test | pipeline | test | seeds | difference |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (dataset, model), group in runs.groupby(["dataset", "model"], sort=False):
        is_probe = group["method"] == PROBE
        if is_probe.all() or not is_probe.any():
            continue
        probe, tuned = best_on_validation(group[is_probe]), best_on_validation(group[~is_probe])
        pipeline = f"{tuned['method'].iloc[0]}, {tuned['image_size'].iloc[0]} px"
        gain = f"{tuned['test_accuracy'].mean() - probe['test_accuracy'].mean():+.3f}"
        size = f"{probe['image_size'].iloc[0]} px"
        cells = [dataset, model, size, _mean(probe), pipeline, _mean(tuned), len(tuned), gain]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def every_method(runs: pd.DataFrame) -> str:
    """Markdown, a row a method: accuracy on validation / test for every dataset and model."""
    cells = list(runs[["dataset", "model"]].drop_duplicates().itertuples(index=False, name=None))
    lines = ["| method | " + " | ".join(f"{dataset}, {model}" for dataset, model in cells) + " |"]
    lines.append("|---" * (len(cells) + 1) + "|")
    for (method, size, epochs), group in runs.groupby(["method", "image_size", "epochs"], sort=False):
        row = []
        for dataset, model in cells:
            mine = group[(group["dataset"] == dataset) & (group["model"] == model)]
            row.append("" if mine.empty else f"{mine['val_accuracy'].mean():.3f} / {_mean(mine)}")
        trained = f", {epochs} epochs" if epochs else ""
        lines.append(f"| {method}, {size} px{trained} | " + " | ".join(row) + " |")
    return "\n".join(lines)


def _mean(runs: pd.DataFrame) -> str:
    scores = runs["test_accuracy"].astype(float)
    return f"{scores.mean():.3f}" + (f" ± {scores.std(ddof=1):.3f}" if len(scores) > 1 else "")
