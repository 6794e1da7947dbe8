"""Ctrl-C ends a command with one line and status 130, from its first import to its last line.

What takes the first seconds are imports, in which an interrupt may come up anywhere, also inside of compiled
code that turns it into another error. Nothing is written yet, so until a command's `main` begins, Ctrl-C ends
the process there and then. From then on it is Python's `KeyboardInterrupt`, which whatever writes can heed.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

INTERRUPTED = 130
"""Exit status after an interrupt, as shells have it."""

SAID = "Interrupted."
TO_GO_ON = f"{SAID} Repeat the command to go on."
SCRIPT = "qtt"

MOMENT = 0.02
"""Seconds until a dropped interrupt comes again, out of where it was dropped."""


def end_imports_quietly() -> None:
    """Called by the package's first line: have Ctrl-C end a command that is still being imported.

    Nothing changes in a program that only uses the package, in a process that ignores Ctrl-C, and in those
    that a command starts.
    """
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours and called_as_command(sys.argv, sys.orig_argv):
        signal.signal(signal.SIGINT, _end)


def called_as_command(argv: list[str], original: list[str]) -> bool:
    """Whether this process is `qtt …` or `python -m qtt…`.

    argv: `sys.argv`, which begins with `-m` while a module is being looked for. original: `sys.orig_argv`.
    """
    if "--multiprocessing-fork" in original or not argv:
        return False
    if argv[0] != "-m":
        name = os.path.basename(argv[0])  # noqa: PTH119 - importing pathlib would take longer than all of this
        return name.partition(".")[0].removesuffix("-script") == SCRIPT
    for option, following in zip(original[1:], [*original[2:], ""], strict=True):
        if option[:1] == "-" and option[1:2] != "-" and "m" in option:
            module = option.partition("m")[2] or following
            return module.partition(".")[0] == SCRIPT
    return False


@contextmanager
def interruptible(said: str = SAID) -> Iterator[None]:
    """What a command's `main` runs in: Ctrl-C prints `said` and exits with `INTERRUPTED`."""
    called = signal.getsignal(signal.SIGINT) is _end
    if called:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    usual = sys.unraisablehook
    sys.unraisablehook = _heard_later(usual)
    try:
        yield
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        _say(said)
        sys.exit(INTERRUPTED)
    finally:
        sys.unraisablehook = usual
        if called:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # everything is kept: no more to clean up


def _heard_later(
    usual: "Callable[[sys.UnraisableHookArgs], object]",
) -> "Callable[[sys.UnraisableHookArgs], object]":
    """A hook that has an interrupt come again that Python would drop, as one in a callback of an import.

    usual: hook for whatever else is told.
    """
    from threading import Timer

    def hear(told: "sys.UnraisableHookArgs") -> None:
        if issubclass(told.exc_type, KeyboardInterrupt):
            Timer(MOMENT, os.kill, (os.getpid(), signal.SIGINT)).start()
        else:
            usual(told)

    return hear


def _end(number: int, frame: FrameType | None) -> None:
    _say(SAID)
    os._exit(INTERRUPTED)


def _say(line: str) -> None:
    """Onto stderr, past whatever Python was about to write there."""
    with suppress(OSError):  # nobody listens
        os.write(2, f"{line}\n".encode())
