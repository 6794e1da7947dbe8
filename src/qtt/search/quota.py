"""The disk quota of a search: room is made before a step writes, and looked after when it has."""

import logging
from collections.abc import Collection
from dataclasses import dataclass, field

from qtt.runs.folder import RunFolder
from qtt.runs.history import History
from qtt.tasks.contract import Task
from qtt.types import Candidates, TaskInfo, Trial

logger = logging.getLogger("qtt")


@dataclass
class DiskQuota:
    """Keeps the checkpoints of all pipelines together within a bound.

    limit: bytes; None: no bound. task: knows how much its pipelines write; None: nobody does.
    evicted: ids of pipelines whose checkpoints were removed, in order; they start again when they are asked
    for, so that one may be there several times.
    """

    limit: int | None
    folder: RunFolder
    task: Task | None = None
    evicted: list[int] = field(default_factory=list)

    def before(
        self,
        trial: Trial,
        history: History,
        candidates: Candidates,
        task: TaskInfo,
        running: Collection[int] = (),
    ) -> None:
        """Make room for what a step is about to write, as far as that can be known.

        running: ids of pipelines that others train meanwhile, whose checkpoints stay as well.
        """
        if self.limit is not None:
            coming = self._coming(trial, candidates, task)
            self._enforce(history, task, {trial.config_id, *running}, coming)

    def after(self, config_id: int, history: History, task: TaskInfo, running: Collection[int] = ()) -> None:
        """Remove what is too much, now that a pipeline has written; running: see `before`."""
        if self.limit is not None:
            self._enforce(history, task, {config_id, *running}, 0)

    def _enforce(self, history: History, task: TaskInfo, current: Collection[int], coming: int) -> None:
        assert self.limit is not None
        evicted = self.folder.enforce_quota(self.limit, history, task, current, coming)
        if evicted:
            logger.info("Disk quota: removed the checkpoints of pipelines %s.", evicted)
            self.evicted += evicted

    def _coming(self, trial: Trial, candidates: Candidates, task: TaskInfo) -> int:
        """Bytes beside those that are there: a new checkpoint is written before the old one goes.

        Of a new pipeline what its task says, or as much as the largest one takes.
        """
        sizes = self.folder.checkpoint_sizes(task)
        if own := sizes.get(trial.config_id):
            return own
        card = candidates.card(trial.config_id)
        alone = Candidates((trial.config,), () if card is None else (card,))
        needed = 0 if self.task is None else self.task.needs(alone, task).disk
        return needed or max(sizes.values(), default=0)
