"""How far predictions can be trusted on datasets that meta-training has not seen, and how well they rank.

python experiments/search_quality/calibration.py [--folds K …] [--out DIR] [--results DIR]

With the artifacts of `folds.py`. The first k epochs of every pipeline are known, k = 0, 1, 5 and 20, and
those with further epochs are predicted: the best score of the next epoch, and of all epochs until the last
recorded one. Writes
  RESULTS/calibration.csv  dataset, known, horizon, pipelines, coverage of central 50, 80, 90 % intervals, nll
  RESULTS/ranking.csv      table, dataset, known, pipelines, Spearman's rank correlation of the best score
  RESULTS/calibration.png  coverage of all central intervals, mean over datasets
nll: mean negative log density of the best score, logit-normal as predicted, in nats; scores outside of
[.004, .996] count as these.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from protocol import FINAL_TABLE, TABLE, Study, mean_and_error
from rich.console import Console
from scipy.stats import norm, spearmanr

from qtt.artifacts.files import read_artifact
from qtt.curves.table import CurveTable
from qtt.hub.model_hub import ModelHub
from qtt.metatraining.runs import Runs, read_runs
from qtt.predictors.base import SearchTask
from qtt.predictors.meta import MetaPerformance
from qtt.predictors.prior import logit
from qtt.runs.history import History
from qtt.types import Result

Array = NDArray[np.float64]

KNOWN = (0, 1, 5, 20)
LEVELS = (0.5, 0.8, 0.9)
GRID = np.linspace(0.05, 0.95, 19)
"""Central intervals of the plot."""

NEXT, END = "next epoch", "to the end"
COLOURS = dict(zip(KNOWN, ("#000000", "#0072B2", "#009E73", "#D55E00"), strict=True))


def main() -> None:
    """Predict every fold's datasets, write the tables and the plot, and print means over datasets."""
    arguments = _arguments()
    console = Console(highlight=False, soft_wrap=True)
    study = Study(arguments.out)
    results = arguments.results or study.out / "results"
    results.mkdir(parents=True, exist_ok=True)
    calibrated: list[dict[str, Any]] = []
    ranked: list[dict[str, Any]] = []
    for fold in arguments.folds:
        artifact = read_artifact(study.artifact(fold, "all", console))
        predictor = MetaPerformance.from_tensors(artifact.features, artifact.performance)
        hub = ModelHub.load(study.hub)
        for runs in read_runs(study.table, hub, study.folds[fold]):
            for known in KNOWN:
                calibrated += calibration(predictor, runs, known)
                ranked.append({"table": TABLE.name, **ranking(predictor, runs, known)})
        final = [name for name in study.folds[fold] if name in CurveTable.load(FINAL_TABLE).datasets]
        ranked += [
            {"table": FINAL_TABLE.name, **ranking(predictor, runs, 0)}
            for runs in read_runs(FINAL_TABLE, hub, final)
        ]
    frames = pd.DataFrame(calibrated), pd.DataFrame(ranked)
    for name, frame in zip(("calibration", "ranking"), frames, strict=True):
        shown = [column for column in frame if not str(column).startswith("grid")]
        frame[shown].to_csv(results / f"{name}.csv", index=False, float_format="%.4f")
    plot(frames[0], results / "calibration.png")
    console.print(as_markdown(*frames))


def predicted(
    predictor: MetaPerformance, runs: Runs, known: int, ends: NDArray[np.int64]
) -> tuple[NDArray[np.int64], Array, Array, Array]:
    """Pipelines with epochs beyond the known ones: ids; mean and std of the best score's logit; that score.

    ends: (n,) epochs until which to predict, where they lie beyond `known`.
    """
    predictor.setup(SearchTask(runs.candidates, runs.metafeatures))
    predictor.condition(History(_observations(runs, known)))
    ids = np.flatnonzero((runs.lengths > known) & (ends > known))
    prediction = predictor.predict(list(ids), list(ends[ids]))
    best = np.array([np.nanmax(runs.scores[i, known : ends[i]]) for i in ids])
    return ids, prediction.mean, prediction.std, best


def calibration(predictor: MetaPerformance, runs: Runs, known: int) -> list[dict[str, Any]]:
    """A row for the next epoch and one for all that are left; none where there are no pipelines."""
    rows = []
    for horizon, ends in ((NEXT, np.full(len(runs), known + 1)), (END, runs.lengths)):
        ids, mean, std, best = predicted(predictor, runs, known, ends)
        if len(ids):
            where = {"dataset": runs.dataset, "known": known, "horizon": horizon, "pipelines": len(ids)}
            rows.append({**where, **agreement(mean, std, best)})
    return rows


def agreement(mean: Array, std: Array, score: Array) -> dict[str, float]:
    """Coverage of central intervals and negative log density of scores (n,), predicted to be logit-normal."""
    found = logit(score)
    z = (found - mean) / std
    inside = np.clip(score, 0.004, 0.996)
    nll = -(norm.logpdf(z) - np.log(std) - np.log(inside * (1.0 - inside)))
    covered = np.abs(z)[:, None] <= norm.ppf(0.5 + 0.5 * np.array([*LEVELS, *GRID]))
    names = [f"coverage {level:.0%}" for level in LEVELS] + [f"grid {level:.2f}" for level in GRID]
    return dict(zip(names, covered.mean(axis=0).tolist(), strict=True)) | {"nll": float(nll.mean())}


def ranking(predictor: MetaPerformance, runs: Runs, known: int) -> dict[str, Any]:
    """Rank correlation of predicted with true best score until each run's last recorded epoch.

    With known epochs, both are the better of what was seen and what is to come.
    """
    ids, mean, _, best = predicted(predictor, runs, known, runs.lengths)
    if known:
        seen = np.nanmax(runs.scores[ids, :known], axis=1)
        mean, best = np.maximum(mean, logit(seen)), np.maximum(best, seen)
    correlation = float(spearmanr(mean, best).statistic)
    return {"dataset": runs.dataset, "known": known, "pipelines": len(ids), "spearman": correlation}


def _observations(runs: Runs, known: int) -> Iterator[Result]:
    for epoch in range(1, known + 1):
        for i in np.flatnonzero(runs.lengths >= epoch):
            yield Result(int(i), epoch, float(runs.scores[i, epoch - 1]), float(runs.seconds[i, epoch - 1]))


def plot(calibrated: pd.DataFrame, path: Path) -> None:
    """Share of scores inside of central intervals, over the probability that these were said to have."""
    figure = Figure(figsize=(8.0, 4.2), dpi=150, layout="constrained")
    count = calibrated["dataset"].nunique()
    for axes, horizon in zip(figure.subplots(1, 2, sharey=True), (NEXT, END), strict=True):
        axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--")
        for known in KNOWN:
            rows = calibrated[(calibrated["known"] == known) & (calibrated["horizon"] == horizon)]
            shares = [rows[f"grid {level:.2f}"].mean() for level in GRID]
            axes.plot(GRID, shares, color=COLOURS[known], marker=".", label=f"{known}")
        axes.set(title=horizon, xlabel="central interval", xlim=(0, 1), ylim=(0, 1), aspect="equal")
        axes.grid(color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
    axes.legend(title="epochs known", frameon=False, loc="lower right")
    figure.supylabel(f"share of best scores inside, {count} datasets", fontsize="medium")
    figure.savefig(path)


def as_markdown(calibrated: pd.DataFrame, ranked: pd.DataFrame) -> str:
    """Mean ± standard error over datasets."""
    measures = [*(f"coverage {level:.0%}" for level in LEVELS), "nll"]
    lines = ["| known | horizon | " + " | ".join(measures) + " |", "|---" * (len(measures) + 2) + "|"]
    for (known, horizon), group in calibrated.groupby(["known", "horizon"]):
        cells = [mean_and_error(group[name]) for name in measures]
        lines.append(f"| {known} | {horizon} | " + " | ".join(cells) + " |")
    lines += ["", "| table | known | datasets | rank correlation | lowest |", "|---|---|---|---|---|"]
    for (table, known), group in ranked.groupby(["table", "known"]):
        values = group["spearman"]
        lines.append(f"| {table} | {known} | {len(group)} | {mean_and_error(values)} | {values.min():.3f} |")
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Calibration and ranking on held-out datasets.")
    parser.add_argument("--folds", nargs="+", type=int, default=[0, 1, 2], choices=(0, 1, 2), metavar="K")
    parser.add_argument("--out", type=Path, default=Path("runs/search_quality"), help="folder of the work")
    parser.add_argument("--results", type=Path, help="folder of the tables to keep; default: OUT/results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
