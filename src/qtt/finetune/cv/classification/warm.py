"""The pipelines used last stay in memory between the steps of a search."""

from collections import OrderedDict
from typing import TYPE_CHECKING

from qtt.finetune.cv.classification.writer import Checkpoint

if TYPE_CHECKING:
    from qtt.finetune.cv.classification.pipeline import Pipeline


class WarmPipelines:
    """Pipelines that are each given out once, and come back when their epoch is done.

    So a pipeline whose epoch failed half-way is never seen again.

    limit, limit_bytes: how many are held, and how much memory they may take; the latest is held in any case.
    """

    def __init__(self, limit: int, limit_bytes: int) -> None:
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._held: OrderedDict[str, tuple[Pipeline, Checkpoint | None]] = OrderedDict()

    def take(self, key: str) -> "tuple[Pipeline, Checkpoint | None] | None":
        """The pipeline of this key and its checkpoint, unless that was removed or replaced.

        Raises:
            CheckpointError: the checkpoint could not be written. The pipeline stays, and goes on if it is
                taken once more.
        """
        found = self._held.pop(key, None)
        if found is None:
            return None
        pipeline, checkpoint = found
        if checkpoint is None:
            return found
        if not checkpoint.pending and checkpoint.error is not None:
            self._held[key] = pipeline, Checkpoint(checkpoint.path)
            raise checkpoint.error
        return found if checkpoint.unchanged else None

    def put(self, key: str, pipeline: "Pipeline", checkpoint: Checkpoint | None) -> None:
        """Hold a pipeline, and let go of the ones unused longest."""
        self._held[key] = pipeline, checkpoint
        while len(self._held) > 1 and (len(self._held) > self._limit or self._bytes() > self._limit_bytes):
            self._held.popitem(last=False)

    def clear(self) -> bool:
        """Let go of all; returns whether there were any."""
        held = bool(self._held)
        self._held.clear()
        return held

    def _bytes(self) -> int:
        return sum(pipeline.nbytes for pipeline, _ in self._held.values())
