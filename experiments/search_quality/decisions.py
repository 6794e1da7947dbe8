"""How long Quick-Tune thinks between two steps, and what it needs for that (`make bench-optimizer`).

python experiments/search_quality/decisions.py [--weights NAME_OR_DIR] [--cases NAME …] [--measured N]
    [--csv FILE]

A decision is `tell` and the next `ask`, everything that is refitted in between included. Searches run on
made-up curves of pipelines sampled from the full search space with the hub `table4`, on one core, each in a
process of its own:
  200 candidates until 1,000 epochs are observed, with weights and without; all decisions are measured
  512 candidates until 2,000 epochs are observed, with weights; the last 200 decisions are measured
  10,000 candidates, with weights and without, that are told 4,980 results at once, as a search is that is
    resumed, and then decide 20 times. `large`: results as successive halving gives them, of 1,660 pipelines;
    `wide`: each is the first epoch of another pipeline
Set-up is sampling and `setup`; resuming is `tell` of what is known and the first `ask`. CPU is the time that
the process had the core, which is what counts where others had it, too. Memory is the largest resident set of
the process, beside what it was when everything was imported and nothing done.
Beside the small cases, at the end of a search with weights, the posterior of its Gaussian process in bare
GPyTorch, on the same points with the same queries, computed anew; where these must be, predictions are the
same (checked).
"""

import argparse
import multiprocessing
import platform
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
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
from qtt.types import Candidates, MetaFeatures, Result, Trial

Array = NDArray[np.float64]

TASK = MetaFeatures(train_images=2000, num_classes=20, image_size=128, channels=3)
BARE_REPEATS = 5


RUNGS = (1, 3, 9, 27, 50)
"""Epochs after which, in a record of successive halving, the better third goes on."""


@dataclass(frozen=True)
class Case:
    """One search: until `observed` epochs, of whose decisions the last `measured` count.

    told: epochs that are told at once, before the first decision. wide: each of another pipeline.
    """

    name: str
    candidates: int
    observed: int
    measured: int
    warm: bool = True
    told: int = 0
    wide: bool = False


CASES = (
    Case("200", 200, 1000, 1000),
    Case("512", 512, 2000, 200),
    Case("cold", 200, 1000, 1000, warm=False),
    Case("large", 10_000, 5000, 20, told=4980),
    Case("large-cold", 10_000, 5000, 20, warm=False, told=4980),
    Case("wide", 10_000, 5000, 20, told=4980, wide=True),
    Case("wide-cold", 10_000, 5000, 20, warm=False, told=4980, wide=True),
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

    def record(self, epochs: int, wide: bool) -> list[Result]:
        """Results of so many epochs, rung by rung as in successive halving, or all of them first ones."""
        order = np.random.default_rng(1).permutation(len(self.scores)).tolist()
        members = order[: epochs if wide else epochs // 3]
        found: list[Result] = []
        done = 0
        for rung in (1,) if wide else RUNGS:
            found += [self.result(i, epoch) for i in members for epoch in range(done + 1, rung + 1)]
            members = sorted(members, key=lambda i: -self.scores[i, rung - 1])[: len(members) // 3]
            done = rung
        return found[:epochs]


def main() -> None:
    """Measure all cases and print one row for each."""
    parser = argparse.ArgumentParser(description="Measure how long decisions take.")
    parser.add_argument("--weights", default="mtlbm/extended", help="artifact: name or folder")
    names = [case.name for case in CASES]
    parser.add_argument("--cases", nargs="+", default=names, choices=names, help="default: all")
    parser.add_argument("--measured", type=int, help="decisions of cases that are told results; default: 20")
    parser.add_argument("--csv", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 180)
    rows = []
    for case in (case for case in CASES if case.name in arguments.cases):
        if arguments.measured and case.told:
            case = replace(case, measured=arguments.measured, observed=case.told + arguments.measured)
        with console.status(f"{case.name}: {case.candidates} candidates, {case.observed} epochs"):
            rows += in_a_process(case, arguments.weights)
    console.print(as_table(rows))
    if arguments.csv:
        pd.DataFrame(rows).to_csv(arguments.csv, index=False, float_format="%.3f")


def in_a_process(case: Case, weights: str) -> list[dict[str, Any]]:
    """What `measure` gives, from a process that does nothing else."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        return executor.submit(measure, case, weights).result()


def sampled(count: int) -> Candidates:
    """Pipelines of the full search space."""
    hub = ModelHub.load("table4")
    return ConfigManager(build_space("full", hub), hub).sample(count, seed=0)


def measure(case: Case, weights: str) -> list[dict[str, Any]]:
    """Figures of a case; where it has weights and begins anew, also of its kernel in bare GPyTorch."""
    torch.set_num_threads(1)
    with threadpool_limits(1):
        imported = peak_megabytes()
        optimizer = quick_tune(weights=weights if case.warm else COLD, seed=0)
        begin = clocks()
        optimizer.setup(sampled(case.candidates), TASK)
        setup = clocks() - begin
        curves = MadeUpCurves.draw(case.candidates, optimizer.max_fidelity, seed=0)
        record = curves.record(case.told, case.wide)
        begin = clocks()
        optimizer.tell(record)
        trial = optimizer.ask()
        resume = clocks() - begin
        times = search(optimizer, curves, trial, case.observed - case.told)[-case.measured :]
        rows = [
            {
                **_where(case, len(times)),
                "what": "with weights" if case.warm else "cold",
                **_figures(times),
                **_both("set-up s", setup),
                **(_both("resume s", resume) if case.told else {}),
                "memory MB": peak_megabytes(),
                "imports MB": imported,
            }
        ]
        return rows if case.told or not case.warm else [*rows, beside(case, optimizer, times)]


def beside(case: Case, optimizer: QuickTune, times: Array) -> dict[str, Any]:
    """Figures of the search's Gaussian process in bare GPyTorch."""
    bare = bare_times(optimizer)
    return {
        **_where(case, 0),
        "what": "its kernel in bare GPyTorch",
        **_figures(bare),
        "ratio": float(np.median(bare[:, 0]) / np.median(times[-100:, 0])),
    }


def _where(case: Case, measured: int) -> dict[str, Any]:
    first = case.observed - measured
    observed = f"{first:,} to {case.observed:,}" if measured else f"{case.observed:,}"
    return {"case": case.name, "candidates": case.candidates, "observed": observed}


def peak_megabytes() -> float:
    """Largest resident set of this process until now."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def search(optimizer: QuickTune, curves: MadeUpCurves, trial: Trial | None, epochs: int) -> Array:
    """Seconds of every decision in so many further epochs, first `trial`'s, as of `clocks`; (epochs, 2)."""
    times = []
    for _ in range(epochs):
        assert trial is not None, "there are more epochs than are asked for"
        result = curves.result(trial.config_id, trial.fidelity)
        begin = clocks()
        optimizer.tell(result)
        trial = optimizer.ask()
        times.append(clocks() - begin)
    return np.array(times)


def bare_times(optimizer: QuickTune) -> Array:
    """Seconds of the exact posterior in bare GPyTorch, for the next decision; (BARE_REPEATS, 2).

    Raises:
        AssertionError: for pipelines that have not begun it is not what the optimizer's own predictor says.
    """
    performance = optimizer.performance
    assert isinstance(performance, MetaPerformance) and performance.kernel is not None
    situation = Situation.of(optimizer)
    mean, std = decide(performance.kernel, situation)  # the first call in a process takes seconds
    times = []
    for _ in range(BARE_REPEATS):
        begin = clocks()
        decide(performance.kernel, situation)
        times.append(clocks() - begin)
    fresh = situation.start == 0
    ours = performance.predict(list(situation.ids[fresh]), list(situation.end[fresh].astype(int)))
    np.testing.assert_allclose(mean[fresh], ours.mean, atol=1e-4)
    np.testing.assert_allclose(std[fresh], ours.std, rtol=1e-4)
    return np.array(times)


def clocks() -> Array:
    """Seconds on the wall's clock, and of this process on its core; (2,)."""
    return np.array([time.perf_counter(), time.process_time()])


def _figures(seconds: Array) -> dict[str, float]:
    """Of decisions (k, 2)."""
    return {
        **_both("median ms", 1e3 * np.median(seconds, axis=0)),
        "99 % ms": 1e3 * float(np.quantile(seconds[:, 0], 0.99)),
    }


def _both(name: str, seconds: Array) -> dict[str, float]:
    return {name: float(seconds[0]), f"{name} CPU": float(seconds[1])}


def as_table(rows: list[dict[str, Any]]) -> Table:
    """One row a case; the ratio is to the median of the last hundred decisions of the search above it."""
    table = Table(title=f"Decisions on one core ({_processor()})", title_justify="left")
    for name in ("case", "candidates", "epochs observed", "what"):
        table.add_column(name, justify="left" if name in ("case", "what") else "right")
    figures = ("median ms", "median ms CPU", "99 % ms", "ratio")
    figures += ("set-up s", "set-up s CPU", "resume s", "resume s CPU", "memory MB", "imports MB")
    for name in figures:
        table.add_column(name, justify="right")
    for row in rows:
        cells = (f"{row[name]:,.1f}" if name in row else "" for name in figures)
        table.add_row(row["case"], f"{row['candidates']:,}", row["observed"], row["what"], *cells)
    return table


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
