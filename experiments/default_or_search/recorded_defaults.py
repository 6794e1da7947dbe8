"""All recorded runs of three models: how far each is from default hyperparameters, and its regret.

python experiments/default_or_search/recorded_defaults.py [--datasets NAME …] [--results DIR]

Reads the curve table of `make curves` and writes
  RESULTS/runs.csv    a row for each run: model, dataset, run, status, epochs, seconds until its end,
                      distance, hyperparameters (how many the distance sums over), apart (how many of
                      them differ), and the value of each hyperparameter in APART
  RESULTS/regret.csv  model, dataset, run, seconds, regret: a row for each epoch that changed the regret
Takes seconds: nothing is searched.

Notation: n runs, d hyperparameters.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "search_quality"))

from protocol import Study

from qtt.benchmarking.regret import regret_curve
from qtt.benchmarking.runner import Problem
from qtt.optimizers.rivals.positions import Positions
from qtt.space.closeness import is_number, nearest_option
from qtt.space.domains import Range
from qtt.support.files import write_text

RESULTS = Path(__file__).parent / "results"

LARGE, BASE, SMALL = "beit_large_patch16_512", "beit_base_patch16_384", "xcit_tiny_12_p8_384_dist"
MODELS = (LARGE, BASE, SMALL)
"""The best of the hub by ImageNet top-1; the best of those that every dataset has at least three runs of; the
best with fewer than 10 million parameters."""

DEFAULTS: Mapping[str, Any] = {
    "pct_to_freeze": 0.0,
    "layer_decay": None,
    "linear_probing": False,
    "stoch_norm": False,
    "sp_reg": 0.0,
    "delta_reg": 0.0,
    "bss_reg": 0.0,
    "cotuning_reg": 0.0,
    "mixup": 0.0,
    "mixup_prob": 1.0,
    "cutmix": 0.0,
    "drop": 0.0,
    "smoothing": 0.1,
    "clip_grad": None,
    "data_augmentation": None,
    "opt": "momentum",
    "momentum": 0.9,
    "lr": 0.05,
    "weight_decay": 2e-5,
    "batch_size": 128,
    "amp": False,
    "sched": "cosine",
    "warmup_epochs": 5,
    "warmup_lr": 1e-5,
}
"""Of timm's training script in the words of the papers' space: all weights are trained, without regularisers,
by SGD with momentum. What is conditional on other options is absent."""

APART = ("opt", "lr", "weight_decay", "batch_size", "pct_to_freeze", "sched")
"""Hyperparameters that runs.csv shows."""

Array = NDArray[np.float64]


def default_places(positions: Positions) -> Array:
    """Where the defaults lie among what was recorded: numbers at the nearest option; (d,)."""
    near: dict[str, Any] = {}
    for name, value in DEFAULTS.items():
        domain = positions.domains.get(name)
        options = () if domain is None or isinstance(domain, Range) else tuple(domain.values)
        known = value in options or not is_number(value) or not any(map(is_number, options))
        near[name] = value if known else nearest_option(value, options)
    return positions.places(near)


def differences(positions: Positions, places: Array, default: Array) -> Array:
    """From 0 to 1 in each hyperparameter but the model; (n, d - 1).

    As in `qtt.optimizers.rivals.positions.Nearest`: ordered options differ by their places, all others by 0
    or 1, as does what only one of both has.
    """
    graded = np.array([isinstance(d, Range) or d.ordered for d in positions.domains.values()])
    apart = np.abs(places - default)
    apart = np.where(graded, apart, apart > 0)
    apart = np.where(np.isnan(places) & np.isnan(default), 0.0, np.where(np.isnan(apart), 1.0, apart))
    return apart[:, [name != "model" for name in positions.domains]]


def runs_of(problem: Problem, model: str) -> list[int]:
    """Positions of the model's runs among the dataset's candidates."""
    return [i for i, config in enumerate(problem.curves.configs) if config.get("model") == model]


def described(problem: Problem) -> Iterator[dict[str, Any]]:
    """Rows of runs.csv of one dataset."""
    curves = problem.curves
    positions = Positions.of_candidates(problem.candidates, seed=0)
    places = np.array([positions.places(config) for config in curves.configs])
    apart = differences(positions, places, default_places(positions))
    for model in MODELS:
        for i in runs_of(problem, model):
            yield {
                "model": model,
                "dataset": curves.dataset,
                "run": curves.run_ids[i],
                "status": curves.statuses[i],
                "epochs": int(curves.lengths[i]),
                "seconds": float(np.nansum(curves.seconds[i])),
                "distance": float(apart[i].sum()),
                "hyperparameters": apart.shape[1],
                "apart": int((apart[i] > 0).sum()),
                **{name: curves.configs[i].get(name) for name in APART},
            }


def regret(problem: Problem, i: int) -> tuple[Array, Array]:
    """Seconds at which a run lowered its regret, and the regret from then on; both (k,)."""
    curves, length = problem.curves, int(problem.curves.lengths[i])
    values = regret_curve(curves.scores[i, :length], *problem.extremes)
    lower = np.diff(values, prepend=np.inf) < 0
    return np.cumsum(curves.seconds[i, :length])[lower], values[lower]


def collected(problems: Sequence[Problem]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """runs.csv and regret.csv of these datasets."""
    runs = pd.DataFrame([row for problem in problems for row in described(problem)])
    steps = [
        (model, problem.curves.dataset, problem.curves.run_ids[i], second, value)
        for problem in problems
        for model in MODELS
        for i in runs_of(problem, model)
        for second, value in zip(*regret(problem, i), strict=True)
    ]
    return runs, pd.DataFrame(steps, columns=["model", "dataset", "run", "seconds", "regret"])


def main() -> None:
    """Write both tables."""
    parser = argparse.ArgumentParser(description="Recorded runs of three models.")
    parser.add_argument("--datasets", nargs="+", help="default: all 18")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the tables")
    arguments = parser.parse_args()
    study = Study(Path("runs/default_or_search"))
    problems = [p for fold in range(len(study.folds)) for p in study.problems(fold, arguments.datasets)]
    arguments.results.mkdir(parents=True, exist_ok=True)
    problems = sorted(problems, key=lambda problem: problem.curves.dataset)
    for name, table in zip(("runs.csv", "regret.csv"), collected(problems), strict=True):
        write_text(arguments.results / name, table.to_csv(index=False, float_format="%.5g"))


if __name__ == "__main__":
    main()
