"""What commands say when they cannot go on, and the exit status they say it with."""

import errno
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from rich.console import Console
from rich.text import Text

from qtt.errors import EnvironmentFault, QTTError
from qtt.support.files import CLOSED

FAULT = 3
"""Exit status after a fault of the world that was not mended in time: mend it and repeat the command."""

MISUSED = 2
"""Exit status after a command line that means nothing, as argparse has it."""


class Failure(SystemExit):
    """The end of a command that cannot go on, after its message was printed: exit status and reason."""

    def __init__(self, reason: str, status: int) -> None:
        super().__init__(status)
        self.reason = reason
        self.status = status


def stop_as_by_ctrl_c() -> None:
    """Let SIGTERM, by which job queues stop jobs, do what Ctrl-C does."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@contextmanager
def errors_for_people(place: str = "") -> Iterator[None]:
    """Turn qtt's own errors, which say what to do, and those of disks into a message and exit status 1.

    A fault of the world, which may mend, is told with status 3.

    place: what to type to have the command write elsewhere.
    """
    try:
        yield
    except EnvironmentFault as error:
        fail(str(error), FAULT)
    except QTTError as error:
        fail(str(error))
    except OSError as error:
        if error.errno in CLOSED and error.filename:
            elsewhere = f" To have it written elsewhere: {place}" if place else ""
            fail(f"{error.filename}: {error.strerror}.{elsewhere}")
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f" ({error.filename})" if error.filename else ""
        fail(f"{error.strerror}{where}. Make room and repeat the command: what is in the journal is kept.")


def fail(message: str, status: int = 1) -> NoReturn:
    """Print an error for people and exit.

    Raises:
        Failure: always.
    """
    text = Text.assemble(("Error: ", "bold red"), message)
    Console(stderr=True, highlight=False).print(text, soft_wrap=True)
    raise Failure(message, status)
