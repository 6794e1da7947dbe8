"""Objectives that do what no objective should, importable by the training process.

Each does it before its first result, and then, asked for a second epoch, takes for ever.
"""

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

from qtt.types import Result, TaskInfo, Trial

KEPT: list[Any] = []
"""What must not be collected."""


def hostile(trial: Trial, task: TaskInfo) -> Iterator[Result]:
    """Does what `settings["deed"]` names; without one it is an objective like any other."""
    deed = task.settings.get("deed")
    if deed is not None:
        (LEAVES | GOES_ON | ENDS)[str(deed)]()
    for epoch in range(1, trial.fidelity + 1):
        if epoch == 2:
            holds_the_interpreter() if deed == "holds the interpreter" else time.sleep(10_000)
        yield Result(trial.config_id, epoch, 0.5, 0.1)


def nap(seconds: float = 10_000) -> None:
    """What a child does."""
    time.sleep(seconds)


def deaf_nap() -> None:
    """What a child does that wants to stay."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    nap()


def fork(task: Callable[[], object] = nap) -> None:
    """A child by `os.fork`."""
    if os.fork() == 0:
        task()
        os._exit(0)


def fork_in_c() -> None:
    """A child that no Python knows of, with all descriptors of its parent."""
    libc = ctypes.CDLL(None)
    if libc.fork() == 0:
        libc.sleep(10_000)


def fork_and_return() -> None:
    """A child that takes itself for the training process."""
    os.fork()


def daemonise() -> None:
    """A grandchild with a session of its own, whose parent has ended."""

    def first() -> None:
        os.setsid()
        fork(deaf_nap)

    fork(first)


def pool(method: str) -> None:
    """A pool that is busy and never closed."""
    KEPT.append(multiprocessing.get_context(method).Pool(2))
    KEPT[-1].map_async(nap, [10_000, 10_000])


def manager() -> None:
    """A manager that is never shut down."""
    KEPT.append(multiprocessing.Manager())
    KEPT.append(KEPT[-1].dict())


def executor() -> None:
    """An executor, with a thread that is no daemon, that is never shut down."""
    KEPT.append(ProcessPoolExecutor(2))
    KEPT.append(KEPT[-1].submit(nap))


def process(task: Callable[[], object], daemon: bool) -> None:
    """A process of multiprocessing."""
    KEPT.append(multiprocessing.get_context("fork").Process(target=task, daemon=daemon))
    KEPT[-1].start()


def command(**options: Any) -> None:
    """Another program."""
    KEPT.append(subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(10000)"], **options))


def thread(daemon: bool) -> None:
    """A thread that does not end."""
    threading.Thread(target=nap, daemon=daemon).start()


def leave_the_session() -> None:
    """The training process itself makes off."""
    os.setsid()
    fork()


def stop_a_child() -> None:
    """A child that does not even run."""
    pid = os.fork()
    if pid == 0:
        nap()
    os.kill(pid, signal.SIGSTOP)


LEAVES: dict[str, Callable[[], object]] = {
    "forks": fork,
    "forks a deaf child": lambda: fork(deaf_nap),
    "forks in C": fork_in_c,
    "forks and returns": fork_and_return,
    "daemonises": daemonise,
    "leaves its session": leave_the_session,
    "stops a child": stop_a_child,
    "pool by fork": lambda: pool("fork"),
    "pool by spawn": lambda: pool("spawn"),
    "pool by forkserver": lambda: pool("forkserver"),
    "manager": manager,
    "executor": executor,
    "process": lambda: process(nap, daemon=False),
    "daemon process": lambda: process(deaf_nap, daemon=True),
    "program": command,
    "program in a session": lambda: command(start_new_session=True),
    "thread": lambda: thread(daemon=False),
    "daemon thread": lambda: thread(daemon=True),
}
"""They leave something behind."""


def noise() -> None:
    """Lines that could be messages, by Python and below it."""
    for line in ('{"result": {}}', '{"done": true}', "null", "[1]", "noise"):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
        os.write(1, line.encode() + b"\n")
        ctypes.CDLL(None).puts(line.encode())
        ctypes.CDLL(None).fflush(None)


def much_output() -> None:
    """More than any pipe holds, without an end of line."""
    for _ in range(100):
        os.write(1, b"x" * 100_000)
        os.write(2, b"x" * 100_000)


def move_away() -> None:
    """Works in a folder that is gone."""
    folder = Path(f"gone-{os.getpid()}").absolute()
    folder.mkdir()
    os.chdir(folder)
    folder.rmdir()


def own_handlers() -> None:
    """Handlers of its own for all signals."""
    for signum in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        try:
            signal.signal(signum, signal.SIG_IGN)
        except OSError:
            continue


def replace_streams() -> None:
    """Where nobody expects them."""
    sys.stdout = sys.stderr = sys.stdin = None  # type: ignore[assignment]
    os.environ.clear()


def holds_the_interpreter() -> None:
    """No other thread gets to run."""
    ctypes.PyDLL(None).sleep(10_000)


def holds_it_later() -> None:
    """See `hostile`."""


GOES_ON: dict[str, Callable[[], object]] = {
    "makes noise": noise,
    "much output": much_output,
    "closes 0": lambda: os.close(0),
    "closes 1": lambda: os.close(1),
    "closes 2": lambda: os.close(2),
    "closes stdin": lambda: sys.stdin.close(),
    "reads stdin": lambda: sys.stdin.read(),
    "blocks signals": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()),
    "ignores signals": own_handlers,
    "replaces streams": replace_streams,
    "moves away": move_away,
    "holds the interpreter": holds_it_later,
}
"""They disturb, and their step goes on all the same."""


class Unpicklable(Exception):  # noqa: N818
    """Holds what cannot be sent."""

    def __init__(self) -> None:
        super().__init__(threading.Lock(), lambda: None)


class Unspeakable(Exception):  # noqa: N818
    """Cannot even be printed."""

    def __str__(self) -> str:
        raise RuntimeError("no")


def throw(error: BaseException) -> NoReturn:
    """As an expression."""
    raise error


def recurse() -> None:
    """For ever."""
    recurse()


ENDS: dict[str, Callable[[], object]] = {
    "segfault": lambda: ctypes.string_at(0),
    "abort": os.abort,
    "kill -9": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "os._exit": lambda: os._exit(3),
    "os._exit(0)": lambda: os._exit(0),
    "sys.exit": lambda: sys.exit(3),
    "sys.exit beside a thread": lambda: (thread(daemon=False), sys.exit(3)),
    "KeyboardInterrupt": lambda: throw(KeyboardInterrupt()),
    "GeneratorExit": lambda: throw(GeneratorExit()),
    "MemoryError": lambda: throw(MemoryError()),
    "StopIteration": lambda: throw(StopIteration()),
    "recursion": recurse,
    "unpicklable": lambda: throw(Unpicklable()),
    "unspeakable": lambda: throw(Unspeakable()),
    "surrogates": lambda: throw(ValueError("\udcff \0 \n")),
    "long message": lambda: throw(ValueError("x" * 5_000_000)),
    "closes all descriptors": lambda: os.closerange(0, 1024),
    "kill -9 beside a deaf child": lambda: (fork(deaf_nap), os.kill(os.getpid(), signal.SIGKILL)),
    "kills its parent": lambda: (fork(deaf_nap), os.kill(os.getppid(), signal.SIGKILL), nap()),
    "kills its group": lambda: os.killpg(0, signal.SIGKILL),
}
"""Their step fails."""
