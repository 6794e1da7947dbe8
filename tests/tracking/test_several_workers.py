"""What is shown of several workers: who is at what on which device, and how much of their time is used."""

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from qtt.optimizers.base import Outlook
from qtt.runs.history import History
from qtt.runs.journal import Entry
from qtt.support.clock import SimulatedClock
from qtt.tracking import SearchInfo
from qtt.tracking.base import TrackerGroup
from qtt.tracking.console import ConsoleTracker
from qtt.tracking.csv import CsvTracker
from qtt.tracking.live_view import heartbeat, live_view
from qtt.tracking.progress import SearchProgress
from qtt.tracking.tensorboard import TensorboardTracker
from qtt.types import TaskInfo, Trial
from trackers import CANDIDATES, ENTRIES, search, tell

GPUS = ({"worker": 0, "gpu": "0"}, {"worker": 1, "gpu": "1"}, {"worker": 2, "gpu": "GPU-5a0f67c2-11"})


def _info(path: Path, places: Sequence[dict[str, Any]] = GPUS, **more: Any) -> SearchInfo:
    return replace(search(path), places=tuple(places), **more)


def _told_of(worker: int, number: int) -> Entry:
    entry = ENTRIES[number]
    return replace(entry, result=replace(entry.result, info={**entry.result.info, "worker": worker}))


def _under_way(path: Path, **more: Any) -> SearchProgress:
    """Three workers; the first and the last are at a step, of which one is expected to take 8 s."""
    clock = SimulatedClock()
    outlooks = iter([Outlook(8.0), None])
    progress = SearchProgress(_info(path, outlook=lambda: next(outlooks), **more), clock)
    history = History()
    for number, worker in enumerate((0, 1)):
        entry = _told_of(worker, number)
        history.add(entry.result)
        progress.told(entry.result, history, entry.elapsed)
    clock.advance(20.0)
    for worker, config_id, fidelity in ((0, 1, 4), (2, 2, 1)):
        trial = Trial(config_id, CANDIDATES.configs[config_id], fidelity)
        progress.asked(trial, 20.0)
        progress.begun(worker, trial, 20.0)
    progress.begun(1, Trial(1, CANDIDATES.configs[1], 2), 20.0)
    progress.ended(1)
    clock.advance(2.0)
    return progress


def _lines(progress: SearchProgress, width: int = 80, height: int = 30) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height)
    console.print(live_view(progress, height))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_each_worker_has_a_line_with_its_device_and_its_step(tmp_path: Path) -> None:
    _, _, done, _, first, second, third, *last = _lines(_under_way(tmp_path))
    assert done.rstrip() == "done     2 epochs of 2 pipelines · 3 workers 10% busy"
    assert first.startswith("now      0 GPU 0        #1 resnet, epoch 2 of 2–4 ━━")
    assert first.endswith("2.0 s of about 8.0 s")
    assert second.split() == ["1", "GPU", "1", "free"]
    assert third.split() == [*("2", "GPU-5a0f67c2", "#2", "resnet,", "epoch", "1"), *third.split()[6:]]
    assert "2.0 s" in third
    assert last[0].startswith("last")


@pytest.mark.parametrize("width", [40, 60, 100, 200])
@pytest.mark.parametrize("height", [8, 10, 12, 30])
def test_the_view_of_workers_fits(width: int, height: int, tmp_path: Path) -> None:
    lines = _lines(_under_way(tmp_path), width, height)
    assert all(len(line) <= width for line in lines)
    assert len(lines) <= max(height - 2, 5)
    text = "\n".join(lines)
    assert ("others" in text) == (height < 10)


def test_without_a_terminal_a_line_says_it(tmp_path: Path) -> None:
    assert heartbeat(_under_way(tmp_path)).plain == (
        "   0:22  best 0.7500 · 2 epochs of 2 pipelines · 3 workers 10% busy · "
        "now #1 resnet, epoch 2 (0, GPU 0); #2 resnet, epoch 1 (2, GPU-5a0f67c2) · 0:38 left"
    )


@pytest.mark.parametrize(
    ("device", "shown"), [("auto", "CPU"), ("cpu", "CPU"), ("cuda:1", "cuda:1"), (None, "CPU")]
)
def test_workers_may_share_a_device(device: str | None, shown: str, tmp_path: Path) -> None:
    task = TaskInfo(path=tmp_path, settings={} if device is None else {"device": device})
    progress = SearchProgress(_info(tmp_path, [{"worker": 0}, {"worker": 1}], task=task), SimulatedClock())
    assert progress.device(1) == shown


def test_the_console_says_how_many_there_are_and_hears_what_they_are_at(tmp_path: Path) -> None:
    out = io.StringIO()
    tracker = ConsoleTracker(Console(file=out, width=140), clock=SimulatedClock())
    group = TrackerGroup([tracker, CsvTracker()])  # which has no ears for it
    group.start(_info(tmp_path))
    trial = Trial(0, CANDIDATES.configs[0], 1)
    group.asked(trial, 0.0)
    group.begun(2, trial, 0.0)
    tracker.show_life()
    group.ended(2, 1.0)
    tracker.show_life()
    assert tracker._heart is not None
    tracker._heart.stop()
    first, *_, busy, free = out.getvalue().splitlines()
    assert first.endswith("budget 60 s, 3 workers.")
    assert "now #0 vit, epoch 1 (2, GPU-5a0f67c2) ·" in busy
    assert "now no worker at work ·" in free


def test_the_table_names_the_worker(tmp_path: Path) -> None:
    tracker = CsvTracker()
    tracker.start(_info(tmp_path))
    tell(tracker, [ENTRIES[0], _told_of(1, 1)], History())
    rows = list(csv.DictReader(io.StringIO((tmp_path / "trajectory.csv").read_text())))
    assert [row["worker"] for row in rows] == ["", "1"]


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="the extra tensorboard is missing")
def test_tensorboard_has_the_utilisation_also_after_a_resume(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    told = [_told_of(0, 0), _told_of(1, 1), _told_of(0, 3)]
    tracker = TensorboardTracker(quiet=True)
    tracker.start(_info(tmp_path, entries=tuple(told[:2])))
    tell(tracker, told[2:], History(entry.result for entry in told[:2]))
    events = EventAccumulator(str(tmp_path / "tensorboard" / "search"))
    events.Reload()
    series = {
        tag: [(event.step, round(event.value, 4)) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
        if tag.startswith("workers/")
    }
    assert series == {
        "workers/utilisation": [(1, 0.1), (2, 0.1), (3, round(5.5 / 60, 4))],
        "workers/utilisation of 0": [(1, 0.1), (3, round(3.5 / 40, 4))],
        "workers/utilisation of 1": [(2, 0.1)],
    }
