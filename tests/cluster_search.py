"""A search on a cluster as a program of its own, which can be killed: run folder, address, budgets.

It prints how many seconds it took of its budget.
"""

import sys
from pathlib import Path

import objectives
from qtt.evaluation.cluster.settings import Cluster
from qtt.optimizers.random import EpochwiseRandomOptimizer
from qtt.search.tuner import QuickTuner
from qtt.types import Candidates, TaskInfo

PIPELINES, EPOCHS, WORKERS = 8, 4, 3
EVERYTHING = [(i, epoch) for i in range(PIPELINES) for epoch in range(1, EPOCHS + 1)]


def main(folder: str, address: str, seconds: float, pace: float) -> None:
    """seconds: of the budget; 0: until everything is trained. pace: seconds of an epoch."""
    optimizer = EpochwiseRandomOptimizer(seed=0, max_fidelity=EPOCHS)
    optimizer.setup(Candidates(tuple({"lr": 0.1 * i} for i in range(PIPELINES))))
    tuner = QuickTuner(
        optimizer, objectives.continuing, folder, trackers=(), workers=WORKERS, cluster=Cluster(address)
    )
    task = TaskInfo(path=Path("data"), settings={"seconds": pace})
    summary = tuner.run(task, seconds or None, None if seconds else len(EVERYTHING))
    sys.stdout.write(f"{summary.elapsed:.3f}\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))
