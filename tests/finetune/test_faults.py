"""Real processes that are killed, and a real disk that is full."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines import PLAIN, checkpoint, forget, learned, run
from qtt.evaluation import process, worker
from qtt.finetune.cv.classification import finetune_script
from qtt.finetune.cv.classification.writer import CheckpointError
from qtt.journal import Journal
from qtt.optimizers.random import EpochwiseRandomOptimizer
from qtt.tuner import QuickTuner
from qtt.types import Candidates, TaskInfo

MakeTask = Callable[..., TaskInfo]
KILLS = 50
EPOCHS = 3


class Forked:
    """Stands in for `subprocess.Popen`: a fork of this process, which has imported everything already."""

    pids: list[int]

    def __init__(self, command: list[str], stdin: int, stdout: int, stderr: Any) -> None:
        read_in, write_in = os.pipe()
        read_out, write_out = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            self._serve(read_in, write_out, stderr.fileno(), (write_in, read_out))
        os.close(read_in)
        os.close(write_out)
        self.stdin, self.stdout = os.fdopen(write_in, "wb"), os.fdopen(read_out, "rb")
        self.code: int | None = None
        Forked.pids.append(self.pid)

    def _serve(self, requests: int, replies: int, log: int, others: tuple[int, ...]) -> None:
        for source, target in ((requests, 0), (replies, 1), (log, 2)):
            os.dup2(source, target)
        for unused in (requests, replies, *others):
            os.close(unused)
        sys.stdin = os.fdopen(0)
        torch.set_num_threads(1)  # threads of the process that was forked are not there
        forget()
        try:
            worker.main()
        finally:
            os._exit(1)

    def poll(self) -> int | None:
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def wait(self, timeout: float = 60.0) -> int:
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("worker", timeout)
            time.sleep(0.002)
        assert self.code is not None
        return self.code

    def kill(self) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)


class Killer(threading.Thread):
    """Kills the training process at random moments of its work, so many times."""

    def __init__(self, journal: Path) -> None:
        super().__init__(daemon=True)
        self.journal = journal
        self.kills = 0

    def run(self) -> None:
        rng = random.Random(0)
        while self.kills < KILLS:
            victim, lines = len(Forked.pids), self._lines()
            while len(Forked.pids) <= victim - 1 or self._lines() == lines:  # it has done something
                time.sleep(0.002)
            time.sleep(rng.random() * 0.3)
            try:
                os.kill(Forked.pids[-1], signal.SIGKILL)
            except ProcessLookupError:
                continue
            self.kills += 1

    def _lines(self) -> int:
        return self.journal.read_bytes().count(b"\n") if self.journal.exists() else 0


def _search(task: TaskInfo, folder: Path, pipelines: int) -> QuickTuner:
    optimizer = EpochwiseRandomOptimizer(seed=1, max_fidelity=EPOCHS)
    configs = tuple(PLAIN | {"lr": 1e-3 * (1 + i % 7)} for i in range(pipelines))
    optimizer.setup(Candidates(configs, task.models))
    return QuickTuner(optimizer, finetune_script, folder, trackers=(), isolation="process")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_fifty_kills_lose_and_repeat_nothing(
    make_task: MakeTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process.subprocess, "Popen", Forked)
    Forked.pids = []
    pipelines = KILLS + 10
    task = make_task()
    killer = Killer(tmp_path / "killed" / "journal.jsonl")
    killer.start()
    _search(task, tmp_path / "killed", pipelines).run(task, time_budget=600)
    _search(task, tmp_path / "whole", pipelines).run(task, time_budget=600)
    entries = [entry.result for entry in Journal(tmp_path / "killed" / "journal.jsonl").read()]
    finished = [result for result in entries if result.succeeded]
    undisturbed = {
        (result.config_id, result.fidelity): (result.score, result.info)
        for result in (entry.result for entry in Journal(tmp_path / "whole" / "journal.jsonl").read())
    }
    reached = {(result.config_id, result.fidelity): (result.score, result.info) for result in finished}
    assert killer.kills >= KILLS // 2
    assert len(reached) == len(finished)
    assert len(undisturbed) == EPOCHS * pipelines
    assert reached.items() <= {key: undisturbed[key] for key in reached}.items()
    for key, value in reached.items():
        assert value == undisturbed[key], key
    reasons = {result.info["reason"].split(";")[0] for result in entries if not result.succeeded}
    assert all("SIGKILL" in reason for reason in reasons), reasons
    assert len(entries) - len(finished) <= killer.kills
    for pid in Forked.pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, with room for a few checkpoints."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    yield folder
    forget()
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(make_task: MakeTask, small_disk: Path) -> None:
    forget()
    expected = learned(run(make_task(work_dir=None), PLAIN, 4))
    forget()
    task = make_task(work_dir=small_disk / "pipelines", best_score=1.0)
    assert learned(run(task, PLAIN, 1)) == expected[:1]
    size = sum(file.stat().st_size for file in small_disk.rglob("*") if file.is_file())
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    filler = small_disk / "filler"
    filler.write_bytes(b"0" * max(free - size // 2, 0))
    assert learned(run(task, PLAIN, 2)) == expected[1:2]
    with pytest.raises(CheckpointError, match=r"epoch 2 could not be written \(.*No space left on device"):
        run(task, PLAIN, 3)
    assert len(checkpoint(task)["progress"]["records"]) == 1
    assert [file.name for file in task.pipeline_dir(0).glob(".*")] == []
    filler.unlink()
    assert learned(run(task, PLAIN, 3)) == expected[2:3]
    forget()
    assert learned(run(task, PLAIN, 4)) == expected[3:]
