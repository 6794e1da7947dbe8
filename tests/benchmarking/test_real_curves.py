"""The benchmark on real curves: against the raw JSON, and against another simulator of the protocol."""

import csv
import json

import numpy as np
import pytest

from qtt.benchmarking.policies import Policy
from qtt.benchmarking.regret import SECONDS
from qtt.benchmarking.runner import Job, Problem
from qtt.benchmarking.tables import Comparison
from qtt.curves.importers import extended
from qtt.curves.writing import write_table
from qtt.types import Candidates
from recorded import recompute

pytestmark = pytest.mark.shared

POLICIES = [
    Policy("random", "qtt.optimizers.random.RandomOptimizer"),
    Policy("asha", "qtt.optimizers.asha.ASHAOptimizer"),
]
ELSEWHERE = {
    "random": [0.774, 0.596, 0.412, 0.197, 0.658],
    "asha": [0.749, 0.466, 0.204, 0.049, 0.573],
}
"""Regret at 900, 3600, 14400 and 57600 s and auc, five seeds, by an independent simulator of the protocol."""


@pytest.fixture(scope="module")
def source(shared_data):
    return shared_data / "quicktune_extended"


@pytest.fixture(scope="module")
def comparison(source, tmp_path_factory):
    imported = extended.read(source)
    folder = tmp_path_factory.mktemp("tables") / "extended"
    table = write_table(folder, imported.frames, source=imported.source)
    replays, extremes = {}, {}
    for name in table.datasets:
        curves = table.curves(name)
        problem = Problem(curves, table.metafeatures(name), Candidates(curves.configs))
        extremes[name] = problem.extremes
        for seed in range(5):
            for policy in POLICIES:
                job = Job(policy, problem, seed, SECONDS)
                replays[job.name] = job.run()
    names = tuple(policy.name for policy in POLICIES)
    return Comparison(names, table.datasets, tuple(range(5)), replays, extremes, SECONDS)


def _raw(source):
    """Scores and seconds of the usable runs in the order of their ids, by dataset."""
    scores, seconds = (json.loads((source / f"{name}.json").read_text()) for name in ("perf", "cost"))
    with (source / "table.csv").open() as file:
        probing = {row[""] for row in csv.DictReader(file) if float(row["linear_probing"]) == 1}
    return {
        dataset: [
            ([score / 100 for score in scores[dataset][run]], seconds[dataset][run])
            for run in sorted(runs)
            if run not in probing
        ]
        for dataset, runs in scores.items()
    }


def test_every_epoch_agrees_with_the_protocol_on_the_raw_json(source, comparison):
    raw = _raw(source)
    assert sum(len(runs) for runs in raw.values()) == 2268
    assert set(raw) == set(comparison.datasets)
    for policy in comparison.policies:
        for dataset, runs in raw.items():
            scores, seconds = zip(*runs, strict=True)
            expected = np.array(recompute(policy, scores, seconds, 2, SECONDS)).reshape(-1, 2)
            name = policy, dataset, 2
            np.testing.assert_allclose(comparison.replays[name].seconds, expected[:, 0])
            # some raw scores lie 4e-9 above 1
            np.testing.assert_allclose(comparison.curves[name], expected[:, 1], rtol=0, atol=1e-8)


def test_averages_agree_with_another_simulator(comparison):
    for policy, expected in ELSEWHERE.items():
        found = [row["mean_regret"] for row in comparison.summary() if row["policy"] == policy]
        # the printed figures have three digits; other random orders would move them by about 0.02
        np.testing.assert_allclose(found, expected, atol=0.02)
