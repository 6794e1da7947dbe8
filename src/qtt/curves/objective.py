"""An objective that trains nothing: it replays recorded learning curves against a simulated clock."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from qtt.support.clock import SimulatedClock
from qtt.support.files import read_json
from qtt.types import Result, Status, TaskInfo, Trial

if TYPE_CHECKING:
    from qtt.curves.table import DatasetCurves

NO_SECONDS = 1e-9
"""Cost of learning that a curve has ended: nothing, but a result's cost must be positive."""


class TableObjective:
    """Pipeline i of the search is run i of `curves`; each epoch takes the seconds that were recorded.

    `QuickTuner(optimizer, TableObjective(curves, clock), clock=clock).run(time_budget=3600)` replays an hour
    in about a second. A pipeline whose curve has ended is told as failed when it is asked for more; that
    takes no time, and removes it from the search.

    Epochs done are remembered in `task_info.work_dir` where there is one, as training would do with its
    checkpoints, otherwise in this object.
    """

    def __init__(self, curves: "DatasetCurves", clock: SimulatedClock) -> None:
        ends = curves.lengths.tolist()
        self._scores = [row[:end].tolist() for row, end in zip(curves.scores, ends, strict=True)]
        self._seconds = [row[:end].tolist() for row, end in zip(curves.seconds, ends, strict=True)]
        self._clock = clock
        self._done: dict[int, int] = {}

    def __call__(self, trial: Trial, task_info: TaskInfo) -> Iterator[Result]:
        """Yield the epochs that are still missing until `trial.fidelity`; the clock advances before each."""
        config_id = trial.config_id
        scores, seconds = self._scores[config_id], self._seconds[config_id]
        checkpoint = _checkpoint(task_info, config_id)
        done = self._done.get(config_id, 0) if checkpoint is None else _read(checkpoint)
        # a step that was finished but never journaled is reported again, and costs no second time
        for epoch in range(min(done + 1, trial.fidelity), trial.fidelity + 1):
            if epoch > len(scores):
                reason = {"reason": f"the recorded curve ends at epoch {len(scores)}"}
                yield Result(config_id, epoch, math.nan, NO_SECONDS, Status.FAILED, reason)
                return
            if epoch > done:
                self._clock.advance(seconds[epoch - 1])
                if checkpoint is None:
                    self._done[config_id] = epoch
                else:
                    checkpoint.write_text(json.dumps(epoch))
            yield Result(config_id, epoch, scores[epoch - 1], seconds[epoch - 1])


def _checkpoint(task_info: TaskInfo, config_id: int) -> Path | None:
    folder = task_info.pipeline_dir(config_id)
    if folder is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "epoch.json"


def _read(checkpoint: Path) -> int:
    return int(read_json(checkpoint)) if checkpoint.exists() else 0
