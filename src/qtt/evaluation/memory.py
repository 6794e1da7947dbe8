"""How a training process keeps its memory."""

import ctypes
from contextlib import suppress

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of glibc's `mallopt`."""


def keep_memory() -> None:
    """Let the C library keep freed memory for the next batch instead of giving it back to the system.

    By default glibc maps every large tensor anew and the system clears its pages, batch after batch: a third
    of an update's time for a mobile net on the CPU. Elsewhere this does nothing.
    """
    with suppress(OSError, AttributeError, TypeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, -1)
