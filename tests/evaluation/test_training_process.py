"""What becomes of a training process when its search, its keeper or a terminal ends it."""

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qtt.evaluation import keeper
from qtt.evaluation.training_process import TrainingProcess
from waiting import LIMIT, processes_with, wait_until

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux's /proc")

SEARCH = """
import os, sys
from pathlib import Path
import hostile
from qtt.evaluation import make_evaluator, training_process
from qtt.types import TaskInfo, Trial
training_process.GRACE = 0.2
evaluator = make_evaluator(hostile.hostile, Path("search.log"), "process")
task = TaskInfo(path=Path(), settings={"deed": sys.argv[1]})
try:
    for result in evaluator.evaluate(Trial(0, {}, 2), task, None):
        exec(sys.argv[2])
        print(result.fidelity, flush=True)
except KeyboardInterrupt:
    evaluator.close()
    print("closed", flush=True)
"""

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def mark() -> str:
    """What a search and all that it starts have in their environment."""
    return f"QTT_TEST_MARK={uuid.uuid4().hex}"


@pytest.fixture
def start(tmp_path: Path, mark: str) -> Iterator[Start]:
    """Starts a search whose objective does a deed, and waits for its first result.

    before: what the search does before it tells of that.
    """
    started: list[subprocess.Popen[bytes]] = []
    name, _, value = mark.partition("=")
    environment = os.environ | {"PYTHONPATH": ":".join(sys.path), name: value}

    def search(deed: str, before: str = "", **options: object) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-c", SEARCH, deed, before]
        process = subprocess.Popen(  # type: ignore[call-overload]
            command, stdout=subprocess.PIPE, cwd=tmp_path, env=environment, **options
        )
        started.append(process)
        assert process.stdout.readline() == b"1\n"
        return process  # type: ignore[no-any-return]

    yield search
    for process in started:
        process.kill()
        process.communicate()


LEFT = [
    "forks a deaf child",
    "daemonises",
    "pool by spawn",
    "program in a session",
    "thread",
    "holds the interpreter",
]


@pytest.mark.parametrize("deed", LEFT)
def test_nothing_is_left_when_the_search_is_killed(start: Start, mark: str, deed: str) -> None:
    process = start(deed)
    assert len(processes_with(mark)) >= 3, "the search, the keeper, the training process"
    process.kill()
    process.wait()
    wait_until(lambda: not processes_with(mark))


@pytest.mark.parametrize("deed", ["forks a deaf child", "holds the interpreter"])
def test_ctrl_c_in_a_terminal_is_the_search_s_to_hear(start: Start, mark: str, deed: str) -> None:
    terminal, other = pty.openpty()
    process = start(
        deed,
        stdin=other,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    others = [pid for pid in processes_with(mark) if pid != process.pid]
    assert process.pid not in {os.getsid(pid) for pid in others}
    os.write(terminal, b"\x03")
    told, _ = process.communicate(timeout=LIMIT)
    assert (told, process.returncode) == (b"closed\n", 0)
    assert processes_with(mark) == []
    os.close(terminal)
    os.close(other)


def test_a_closed_terminal_ends_all(start: Start, mark: str) -> None:
    terminal, other = pty.openpty()
    start(
        "forks", stdin=other, start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    )
    os.close(other)
    os.close(terminal)
    wait_until(lambda: not processes_with(mark))


def test_a_child_of_the_search_that_holds_the_pipe_keeps_nothing_alive(start: Start, mark: str) -> None:
    process = start("forks", before="if os.fork() == 0: hostile.nap(3600)")
    process.kill()
    process.wait()
    wait_until(lambda: len(processes_with(mark)) == 1)
    (holder,) = processes_with(mark)
    os.kill(holder, signal.SIGKILL)


def test_a_process_that_reads_nothing_does_not_hold_up_its_search(tmp_path: Path) -> None:
    process = TrainingProcess(tmp_path / "log", os.environ)
    wait_until(lambda: keeper.descendants(process.pid))
    for pid in keeper.descendants(process.pid):
        os.kill(pid, signal.SIGSTOP)
    process.send({"much": "x" * 1_000_000}, seconds=0.2)
    assert process.alive
    assert process.end() == -signal.SIGKILL
    assert process.end() == -signal.SIGKILL, "once more is no mistake"
    process.send({"nobody": "listens"})
    assert process.messages.get() is None


def test_descendants_are_those_of_all_generations() -> None:
    command = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    with subprocess.Popen([sys.executable, "-c", command], stdin=subprocess.PIPE) as child:
        wait_until(lambda: len(keeper.descendants(child.pid)) == 1)
        assert {child.pid, *keeper.descendants(child.pid)} <= set(keeper.descendants(os.getpid()))
        child.communicate(b"\n")
    assert child.pid not in keeper.descendants(os.getpid())
