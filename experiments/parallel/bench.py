"""Many workers: how busy they are kept, and how many decisions a second one search can make.

python experiments/parallel/bench.py [--busy 64] [--seconds 60] [--simulated 500] [--candidates 500]

- Busy: that many training processes, whose epochs sleep .2 to 2 s, under Quick-Tune with shipped weights; the
  share of their time between first epoch and last in which they were in one.
- Simulated: a replay with that many workers on synthetic curves of that many candidates; decisions over the
  seconds that asking and telling took.
Both depend on the machine and what else it does.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from sleeping import sleeping

from qtt.artifacts.pretrained import quick_tune
from qtt.benchmarking.replay import replay
from qtt.curves.table import DatasetCurves
from qtt.evaluation.timeline import Timeline
from qtt.optimizers.quick import QuickTune
from qtt.runs.record import RunRecord
from qtt.search.tuner import QuickTuner
from qtt.testing import METAFEATURES, SyntheticCurves, SyntheticSpace
from qtt.types import Candidates, TaskInfo

WEIGHTS = "mtlbm/mini"
EPOCHS = 50


def optimizer(candidates: Candidates) -> QuickTune:
    """Quick-Tune with shipped weights, ready to search."""
    made = quick_tune(weights=WEIGHTS, max_fidelity=EPOCHS)
    made.setup(candidates, METAFEATURES)
    return made


def busy(workers: int, seconds: float, candidates: Candidates) -> str:
    """A real search whose epochs sleep."""
    with tempfile.TemporaryDirectory() as folder:
        tuner = QuickTuner(
            optimizer(candidates),
            sleeping,
            Path(folder) / "run",
            trackers=(),
            isolation="process",
            workers=workers,
        )
        tuner.run(TaskInfo(path=Path()), time_budget=seconds)
        record = RunRecord.load(Path(folder) / "run")
    times = Timeline(record.entries).times(record.elapsed)
    spent = sum(time.busy for time in times)
    between = sum(time.between for time in times)
    epochs = sum(time.epochs for time in times)
    starts = sorted(time.start for time in times)
    share = spent / (spent + between)
    began = f"first epochs began after {starts[0]:.0f} to {starts[-1]:.0f} s"
    return f"{len(times)} of {workers} workers: {epochs} epochs, busy {share:.1%} between them; {began}"


def simulated(workers: int, candidates: Candidates) -> str:
    """A replay, all of whose seconds are decisions."""
    curves = SyntheticCurves()
    configs = candidates.configs
    scores = np.array([[curves.score(config, epoch + 1) for epoch in range(EPOCHS)] for config in configs])
    seconds = np.repeat([[curves.seconds(config)] for config in configs], EPOCHS, axis=1)
    ids = tuple(f"run{i:04d}" for i in range(len(configs)))
    lengths = np.full(len(configs), EPOCHS)
    recorded = DatasetCurves(
        "synthetic", ids, configs, scores, seconds, lengths, ("finished",) * len(configs)
    )
    limit = float(np.median(seconds)) * EPOCHS / 4
    found = replay(optimizer(candidates), recorded, limit, workers)
    count, spent = len(found.decisions), float(found.decisions.sum())
    slowest = 1e3 * float(found.decisions.max())
    return (
        f"{workers} simulated workers, {len(configs)} candidates: {count / spent:.0f} decisions a second "
        f"({count} in {spent:.1f} s; slowest {slowest:.0f} ms)"
    )


def main() -> None:
    """Measure both, and print."""
    parser = argparse.ArgumentParser(description="Many workers.")
    parser.add_argument("--busy", type=int, default=64, help="training processes; 0: none")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the search with them")
    parser.add_argument("--simulated", type=int, default=500, help="simulated workers; 0: none")
    parser.add_argument("--candidates", type=int, default=500)
    arguments = parser.parse_args()
    candidates = SyntheticSpace().sample(arguments.candidates, 0)
    if arguments.simulated:
        print(simulated(arguments.simulated, candidates))  # noqa: T201
    if arguments.busy:
        print(busy(arguments.busy, arguments.seconds, candidates))  # noqa: T201


if __name__ == "__main__":
    main()
