"""How long Quick-Tune thinks between two steps (`make bench-optimizer`).

python experiments/search_quality/decisions.py [--weights NAME_OR_DIR] [--cases NAME …] [--csv FILE]

A decision is `tell` and the next `ask`, everything that is refitted in between included. Searches run on
made-up curves of pipelines sampled from the full search space with the hub `table4`, on one core:
  200 candidates until 1,000 epochs are observed, with weights and without; all decisions are measured
  512 candidates until 2,000 epochs are observed, with weights; the last 200 decisions are measured
Beside them, at the end of a search with weights, the posterior of its Gaussian process in bare GPyTorch, on
the same points with the same queries, computed anew; where these must be, predictions are the same (checked).
"""

import argparse
import platform
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from bare_gp import Situation, decide
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from qtt.artifacts.pretrained import COLD, quick_tune
from qtt.hub.model_hub import ModelHub
from qtt.optimizers.quick import QuickTune
from qtt.predictors.meta import MetaPerformance
from qtt.space.config_manager import ConfigManager
from qtt.space.search_space import build_space
from qtt.types import Candidates, MetaFeatures, Result

Array = NDArray[np.float64]

TASK = MetaFeatures(train_images=2000, num_classes=20, image_size=128, channels=3)
BARE_REPEATS = 5


@dataclass(frozen=True)
class Case:
    """One search: until `observed` epochs, of whose decisions the last `measured` count."""

    name: str
    candidates: int
    observed: int
    measured: int
    warm: bool = True


CASES = (
    Case("200", 200, 1000, 1000),
    Case("512", 512, 2000, 200),
    Case("cold", 200, 1000, 1000, warm=False),
)


@dataclass(frozen=True, eq=False)
class MadeUpCurves:
    """Scores that rise to a level and seconds that do not change, drawn for each pipeline; scores (n, T)."""

    scores: Array
    seconds: Array

    @classmethod
    def draw(cls, count: int, epochs: int, seed: int) -> "MadeUpCurves":
        """Levels around .6, time constants around five epochs, steps around a minute."""
        generator = np.random.default_rng(seed)
        level = generator.beta(3.0, 2.0, (count, 1))
        pace = np.exp(generator.normal(np.log(5.0), 0.7, (count, 1)))
        rise = 1.0 - np.exp(-np.arange(1, epochs + 1) / pace)
        noise = generator.normal(0.0, 0.01, (count, epochs))
        seconds = np.exp(generator.normal(np.log(60.0), 1.0, count))
        return cls(np.clip(level * rise + noise, 0.0, 1.0), seconds)

    def result(self, config_id: int, epoch: int) -> Result:
        """What training this epoch gives."""
        return Result(
            config_id, epoch, float(self.scores[config_id, epoch - 1]), float(self.seconds[config_id])
        )


def main() -> None:
    """Measure all cases and print one row for each."""
    parser = argparse.ArgumentParser(description="Measure how long decisions take.")
    parser.add_argument("--weights", default="mtlbm/extended", help="artifact: name or folder")
    names = [case.name for case in CASES]
    parser.add_argument("--cases", nargs="+", default=names, choices=names, help="default: all")
    parser.add_argument("--csv", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    rows = []
    for case in CASES:
        if case.name in arguments.cases:
            with (
                console.status(f"{case.candidates} candidates, {case.observed} epochs"),
                threadpool_limits(1),
            ):
                rows += measure(case, arguments.weights)
    console.print(as_table(rows))
    if arguments.csv:
        pd.DataFrame(rows).to_csv(arguments.csv, index=False, float_format="%.3f")


def sampled(count: int) -> Candidates:
    """Pipelines of the full search space."""
    hub = ModelHub.load("table4")
    return ConfigManager(build_space("full", hub), hub).sample(count, seed=0)


def measure(case: Case, weights: str) -> list[dict[str, Any]]:
    """Figures of a case, and where it has weights, of the same Gaussian process in bare GPyTorch."""
    optimizer = quick_tune(weights=weights if case.warm else COLD, seed=0)
    optimizer.setup(sampled(case.candidates), TASK)
    times = search(optimizer, case.observed)[-case.measured :]
    first = case.observed - len(times)
    where = {"candidates": case.candidates, "observed": f"{first:,} to {case.observed:,}"}
    ours = {"what": "Quick-Tune with weights" if case.warm else "Quick-Tune, cold", **_figures(times)}
    if not case.warm:
        return [{**where, **ours}]
    late = np.median(times[-100:])
    bare = bare_times(optimizer)
    return [
        {**where, **ours},
        {
            "candidates": case.candidates,
            "observed": f"{case.observed:,}",
            "what": "its Gaussian process alone, bare GPyTorch",
            **_figures(bare),
            "ratio": float(np.median(bare) / late),
        },
    ]


def search(optimizer: QuickTune, epochs: int) -> Array:
    """Seconds of every decision until so many epochs were observed; (epochs,)."""
    curves = MadeUpCurves.draw(len(optimizer.candidates), optimizer.max_fidelity, seed=0)
    trial = optimizer.ask()
    times = []
    for _ in range(epochs):
        assert trial is not None, "there are more epochs than are asked for"
        result = curves.result(trial.config_id, trial.fidelity)
        begin = time.perf_counter()
        optimizer.tell(result)
        trial = optimizer.ask()
        times.append(time.perf_counter() - begin)
    return np.array(times)


def bare_times(optimizer: QuickTune) -> Array:
    """Seconds of the exact posterior in bare GPyTorch, for the next decision; (BARE_REPEATS,).

    Raises:
        AssertionError: for pipelines that have not begun it is not what the optimizer's own predictor says.
    """
    performance = optimizer.performance
    assert isinstance(performance, MetaPerformance) and performance.kernel is not None
    situation = Situation.of(optimizer)
    mean, std = decide(performance.kernel, situation)  # the first call in a process takes seconds
    times = []
    for _ in range(BARE_REPEATS):
        begin = time.perf_counter()
        decide(performance.kernel, situation)
        times.append(time.perf_counter() - begin)
    fresh = situation.start == 0
    ours = performance.predict(list(situation.ids[fresh]), list(situation.end[fresh].astype(int)))
    np.testing.assert_allclose(mean[fresh], ours.mean, atol=1e-4)
    np.testing.assert_allclose(std[fresh], ours.std, rtol=1e-4)
    return np.array(times)


def _figures(seconds: Array) -> dict[str, float]:
    return {"median ms": 1e3 * float(np.median(seconds)), "p99 ms": 1e3 * float(np.quantile(seconds, 0.99))}


def as_table(rows: list[dict[str, Any]]) -> Table:
    """One row a case; the ratio is to the median of the last hundred decisions of the search above it."""
    table = Table(title=f"Decisions on one core ({_processor()})", title_justify="left")
    for name in ("candidates", "epochs observed", "what"):
        table.add_column(name, justify="left" if name == "what" else "right")
    for name in ("median ms", "99 % ms", "ratio"):
        table.add_column(name, justify="right")
    for row in rows:
        ratio = f"{row['ratio']:.1f}" if "ratio" in row else ""
        times = (f"{row[name]:.1f}" for name in ("median ms", "p99 ms"))
        table.add_row(str(row["candidates"]), row["observed"], row["what"], *times, ratio)
    return table


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
