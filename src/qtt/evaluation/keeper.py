"""The keeper: a small process between a search and its training process, which lets nothing outlive either.

Run as a script with the command of the training process. It is the parent that all orphans of the training
process come to, so that it can end what the training process started even where that is dead, cannot answer,
or was left by the search; and it ends only when all of them have. Its own exit status is the training
process's. It has a session of its own, which Ctrl-C in the search's terminal does not reach, and imports
little, so that it starts in milliseconds and nothing of the objective can disturb it.

SIGUSR1 tells it not to wait any longer for the training process to end by itself.

argv: pid of the search, seconds that the training process gets to end by itself, its command.
stdin: the search's commands, which the training process reads, and whose end tells that it is to end.
stdout: its replies.
"""

import ctypes
import os
import resource
import select
import signal
import sys
import time
from contextlib import suppress

MARGIN = 0.5
"""Seconds beyond its grace until a training process that has not ended by then is killed."""

FAREWELL = 0.3
"""Seconds that its children get between SIGTERM and SIGKILL, in which they remove what they have shared."""

LAST = 2.0
"""Seconds after which what cannot even be killed, such as a process that waits for a dead disk, is left."""

GLANCE = 0.5
"""Seconds between two looks at whether the search is there."""

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def control(option: int, value: int) -> bool:
    """Linux's `prctl`; False where there is none."""
    if sys.platform != "linux":
        return False
    try:
        return ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0  # type: ignore[no-any-return]
    except (OSError, AttributeError):
        return False


def heed_no_signals() -> None:
    """Ignore what is sent to all processes of a job or terminal: the search hears it, and ends this one.

    SIGUSR2 is how submitit has Slurm announce the end of a job.

    By handlers, which programs that are started from here do not inherit, as they would `SIG_IGN`.
    """
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR2"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda signum, frame: None)
            signal.siginterrupt(getattr(signal, name), False)


def main() -> None:
    """Start the training process, wait for its end or that of the search, and end all that is left."""
    search, grace, command = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
    heed_no_signals()
    hurried: list[int] = []
    signal.signal(signal.SIGUSR1, lambda signum, frame: hurried.append(signum))
    bell, alarm = os.pipe()
    os.set_blocking(alarm, False)
    signal.signal(signal.SIGCHLD, lambda signum, frame: None)
    signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
    adopts = control(PR_SET_CHILD_SUBREAPER, 1)
    child = os.posix_spawn(command[0], command, os.environ)
    os.close(1)  # the end of the replies is then the end of those who may write them
    status = _watch(child, search, bell, grace + MARGIN, hurried)
    status = end_children(child, status) if adopts else _end_group(status, search)
    _end_as(status)


def _watch(child: int, search: int, bell: int, seconds: float, hurried: list[int]) -> int | None:
    """Wait for the child's end; its status, None where it did not end in time though it was to.

    seconds: that it has to do so. hurried: not empty once it has none any more.
    """
    watched = select.poll()
    watched.register(bell, select.POLLIN)
    watched.register(0, 0)  # no more than whether the other side is closed
    deadline = None
    while not hurried and (deadline is None or time.monotonic() < deadline):
        for file, event in watched.poll(1000 * GLANCE if deadline is None else 20):
            if file == bell:
                os.read(bell, 4096)
            elif event:
                watched.unregister(0)
                deadline = time.monotonic() + seconds
        if deadline is None and os.getppid() != search:
            deadline = time.monotonic() + seconds
        status, _ = _reap(child)
        if status is not None:
            return status
    return None


def end_children(child: int, status: int | None) -> int | None:
    """End all descendants; the child's status.

    Whoever loses its parent becomes a child of this process. So there are no descendants once there are no
    children.
    """
    if status is None:
        _send(signal.SIGKILL, [child])
    begin = time.monotonic()
    while True:
        found, none_left = _reap(child)
        status = found if status is None else status
        spent = time.monotonic() - begin
        if none_left or spent > LAST:
            return status
        others = [pid for pid in descendants(os.getpid()) if pid != child]
        _send(signal.SIGTERM if spent < FAREWELL else signal.SIGKILL, others)
        time.sleep(0.01)


def descendants(pid: int) -> list[int]:
    """Processes below one, as Linux's /proc tells them."""
    parents: dict[int, list[int]] = {}
    with suppress(OSError):
        for name in os.listdir("/proc"):  # noqa: PTH208 - pathlib takes longer to import than all the rest
            if name.isdigit():
                with suppress(OSError, ValueError, IndexError), open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                    parent = int(file.read().rpartition(b")")[2].split()[1])
                    parents.setdefault(parent, []).append(int(name))
    found, new = [], parents.get(pid, [])
    while new:
        found += new
        new = [grandchild for one in new for grandchild in parents.get(one, [])]
    return found


def _end_group(status: int | None, search: int) -> int | None:
    """What can be done where orphans go elsewhere: kill the group, and this process with it.

    The search does so as well where it waits for the end of a training process that has died by itself.
    """
    if status is None or os.getppid() != search:
        os.killpg(0, signal.SIGKILL)
    return status


def _reap(child: int) -> tuple[int | None, bool]:
    """Take note of ended children: the status of that one if it is among them, and whether none is left."""
    status = None
    try:
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == child:
                status = ended[1]
    except ChildProcessError:
        return status, True
    return status, False


def _send(signum: int, pids: list[int]) -> None:
    for pid in pids:
        with suppress(OSError):
            os.kill(pid, signum)


def _end_as(status: int | None) -> None:
    """End as the child did; one that had to be killed, and is not dead yet, counts as killed."""
    if status is None or os.WIFSIGNALED(status):
        signum = signal.SIGKILL if status is None else os.WTERMSIG(status)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # one core dump is enough
        with suppress(OSError):
            signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)
    os._exit(os.waitstatus_to_exitcode(status or 0))


if __name__ == "__main__":
    main()
