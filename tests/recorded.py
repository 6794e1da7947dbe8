"""Small recorded curves for tests, and the protocol of the benchmark written once more, with plain lists."""

import math
from dataclasses import asdict

import numpy as np
import pandas as pd

from qtt.curves.schema import Frames
from qtt.curves.table import DatasetCurves
from qtt.errors import ConfigError
from qtt.optimizers import RandomOptimizer
from qtt.testing import METAFEATURES, SyntheticCurves, SyntheticSpace


class MyOptimizer(RandomOptimizer):
    """A user's own."""


class Broken(RandomOptimizer):
    """One with an error of its own."""

    def ask(self):
        raise ConfigError("no idea")


def recorded(dataset="A", n=16, epochs=12, seed=0):
    """Curves of `n` synthetic pipelines; every fifth ends early, and one epoch takes 1 to 200 s."""
    configs = SyntheticSpace().sample(n, seed).configs
    curves = SyntheticCurves(seed)
    scores, seconds = np.full((n, epochs), math.nan), np.full((n, epochs), math.nan)
    lengths = np.array([1 + i % epochs if i % 5 == 0 else epochs for i in range(n)])
    for i, config in enumerate(configs):
        for epoch in range(lengths[i]):
            scores[i, epoch] = curves.score(config, epoch + 1)
            seconds[i, epoch] = curves.seconds(config) * (1 + 0.01 * ((7 * i + 3 * epoch) % 5))
    statuses = tuple("finished" if length == epochs else "capped" for length in lengths)
    ids = tuple(f"run{i:03d}" for i in range(n))
    return DatasetCurves(dataset, ids, configs, scores, seconds, lengths, statuses)


def frames(datasets):
    """The same as the contents of a curve table, with one unusable run more a dataset."""
    parts = {"configs": [], "curves": [], "runs": [], "datasets": []}
    for curves in datasets:
        name = curves.dataset
        for i, (run, config) in enumerate(zip(curves.run_ids, curves.configs, strict=True)):
            parts["configs"].append({"run_id": f"{name}-{run}", "dataset": name, **config})
            parts["runs"].append({"run_id": f"{name}-{run}", "status": curves.statuses[i]})
            parts["curves"] += [
                {
                    "run_id": f"{name}-{run}",
                    "epoch": epoch + 1,
                    "score": curves.scores[i, epoch],
                    "seconds": curves.seconds[i, epoch],
                }
                for epoch in range(curves.lengths[i])
            ]
        unusable = f"{name}-unusable"
        parts["configs"].append({"run_id": unusable, "dataset": name, **curves.configs[0]})
        parts["runs"].append({"run_id": unusable, "status": "unusable"})
        parts["curves"].append({"run_id": unusable, "epoch": 1, "score": 1.0, "seconds": 1e-3})
        parts["datasets"].append({"dataset": name, "set": None, "domain": None, **asdict(METAFEATURES)})
    return Frames(**{name: pd.DataFrame(rows) for name, rows in parts.items()})


def recompute(policy, scores, seconds, seed, limit):
    """Rows (seconds, regret) of one search, from lists of lists: the benchmark's contract in 30 lines."""
    n, last = len(scores), max(map(len, scores))
    order = [int(i) for i in np.random.default_rng(seed).permutation(n)]
    ladder = [epoch for epoch in (1, 3, 9, 27) if epoch < last] + [last]
    done, dead = [0] * n, set()
    every = [score for curve in scores for score in curve]
    best, clock, rows = -math.inf, 0.0, []

    def reached(rung):
        return sorted((i for i in order if done[i] >= rung), key=lambda i: -scores[i][rung - 1])

    def choose():
        live = [i for i in order if i not in dead and done[i] < last]
        if policy == "random" or not live:
            return live[0] if live else None
        for i in live:
            if done[i] and done[i] not in ladder:
                return i
        for rung in reversed(ladder):
            for i in reached(rung)[: len(reached(rung)) // 3]:
                if i in live and done[i] == rung:
                    return i
        waiting = [i for rung in reversed(ladder) for i in reached(rung) if i in live and done[i] == rung]
        return ([i for i in live if done[i] == 0] + waiting)[0]

    while (i := choose()) is not None:
        if done[i] == len(scores[i]):  # the curve has ended: it leaves the pool at no cost
            dead.add(i)
            continue
        clock += seconds[i][done[i]]
        if clock > limit:
            break
        done[i] += 1
        best = max(best, scores[i][done[i] - 1])
        rows.append((clock, (max(every) - best) / (max(every) - min(every))))
    return rows
