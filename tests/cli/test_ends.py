"""A search with processes that make batches, and what becomes of it when any of its processes is ended."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from waiting import LIMIT, processes_with, wait_until

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux's /proc")

COMMAND = [
    *(
        sys.executable,
        "-m",
        "qtt.run",
        "+experiment=quickstart",
        "num_candidates=8",
        "run_dir=run",
        "quiet=true",
    ),
    *("budget.seconds=null", "budget.evaluations=3", "objective.settings.num_workers=2"),
    "search_space.narrow={batch_size:[64],sched:[cosine],opt:[adamw],lr:[0.001]}",
]


def _children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for file in found for child in file.read_text().split()]


class Running:
    """A search that is training, and its processes."""

    def __init__(self, folder: Path) -> None:
        self.mark = f"QTT_TEST_MARK={uuid.uuid4().hex}"
        name, _, value = self.mark.partition("=")
        self.journal = folder / "run" / "journal.jsonl"
        pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.search = subprocess.Popen(COMMAND, cwd=folder, env=os.environ | {name: value}, **pipes)
        wait_until(lambda: len(self.workers) == 2, self.search)

    @property
    def training(self) -> int | None:
        """The child of the keeper, which is the search's."""
        return next((pid for keeper in _children(self.search.pid) for pid in _children(keeper)), None)

    @property
    def workers(self) -> list[int]:
        return [] if self.training is None else _children(self.training)

    def end(self) -> tuple[int, str]:
        """Exit status and stderr."""
        _, err = self.search.communicate(timeout=LIMIT)
        return self.search.returncode, err

    def statuses(self) -> list[str]:
        """Of the journal's results."""
        lines = self.journal.read_text().splitlines() if self.journal.exists() else []
        return [json.loads(line)["status"] for line in lines]


def _signal_all(running: Running) -> None:
    """As job queues do, the search last of all."""
    for pid in sorted(processes_with(running.mark), key=lambda pid: pid == running.search.pid):
        os.kill(pid, signal.SIGTERM)


STOPS: dict[str, tuple[Callable[[Running], object], int]] = {
    "Ctrl-C": (lambda running: running.search.send_signal(signal.SIGINT), 130),
    "SIGTERM": (lambda running: running.search.terminate(), 130),
    "SIGTERM to all processes": (_signal_all, 130),
    "kill -9": (lambda running: running.search.kill(), -signal.SIGKILL),
}


@pytest.mark.slow
@pytest.mark.parametrize("stop", STOPS)
def test_a_search_that_is_ended_leaves_nothing_and_goes_on(tmp_path: Path, stop: str) -> None:
    running = Running(tmp_path)
    send, code = STOPS[stop]
    send(running)
    assert running.end()[0] == code
    wait_until(lambda: not processes_with(running.mark))
    assert set(running.statuses()) <= {"success", "timeout"}
    again = Running(tmp_path)
    assert again.end() == (0, "")
    assert again.statuses().count("success") == 3
    assert processes_with(again.mark) == []


SLOW = ("a worker", "the training process", "the keeper")


@pytest.mark.parametrize(
    "whose", ["the workers", *(pytest.param(whose, marks=pytest.mark.slow) for whose in SLOW)]
)
def test_a_search_outlives_its_processes(tmp_path: Path, whose: str) -> None:
    running = Running(tmp_path)
    training, workers = running.training, running.workers
    assert training is not None
    pids = {
        "a worker": workers[:1],
        "the workers": workers,
        "the training process": [training],
        "the keeper": _children(running.search.pid),
    }[whose]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert running.end() == (0, "")
    assert processes_with(running.mark) == []
    failures = 0 if "worker" in whose else 1
    assert sorted(running.statuses()) == ["failed"] * failures + ["success"] * 3


@pytest.mark.slow
def test_a_budget_of_seconds_ends_a_search_with_workers(tmp_path: Path) -> None:
    command = [*COMMAND, "budget.seconds=10", "budget.evaluations=null", "objective.settings.num_workers=4"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode in (0, 1)  # a busy machine may not finish an epoch in that time
    assert done.stderr == ""
