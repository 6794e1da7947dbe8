"""TensorBoard's event files, one for each of its runs, without a thread or an open file for each."""

import os
import time
from pathlib import Path
from typing import Any

NAME = "events.out.tfevents.{seconds}.qtt"


class EventFile:
    """Appends to one event file, which is whole after every call.

    folder: TensorBoard's run. began: Unix time at which the search's clock stood at zero.
    """

    def __init__(self, folder: Path, began: float) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / NAME.format(seconds=f"{time.time():.6f}")
        self._began = began
        start = SessionLog(status=SessionLog.START)  # a viewer that read an earlier file forgets its points
        self._append(
            Event(wall_time=began, file_version="brain.Event:2"),
            Event(wall_time=began, step=0, session_log=start),
        )

    def scalars(self, values: dict[str, float], step: int, elapsed: float) -> None:
        """Add a point to each series."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        points = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self.summary(Summary(value=points), step, elapsed)

    def text(self, tag: str, markdown: str, step: int, elapsed: float) -> None:
        """Add a text, or a later version of it."""
        from tensorboard.plugins.text.summary_v2 import text_pb

        self.summary(text_pb(tag, markdown), step, elapsed)

    def summary(self, summary: Any, step: int, elapsed: float) -> None:
        """Add any of TensorBoard's summaries."""
        from tensorboard.compat.proto.event_pb2 import Event

        self._append(Event(wall_time=self._began + elapsed, step=step, summary=summary))

    def _append(self, *events: Any) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        with self._path.open("ab") as file:
            writer = RecordWriter(file)
            for event in events:
                writer.write(event.SerializeToString())


def empty_events(folder: Path) -> None:
    """Empty all event files of `EventFile` below a folder; one that vanished would confuse an open viewer."""
    for path in folder.rglob(NAME.format(seconds="*")):
        os.truncate(path, 0)
