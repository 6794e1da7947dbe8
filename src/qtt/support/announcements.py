"""Lines that a search says once, whichever of its parts are built anew."""

import multiprocessing
from functools import cache


@cache
def announce(line: str) -> None:
    """Print a line, once in a process, and in none that another Python process started."""
    if multiprocessing.parent_process() is not None:
        return
    from rich.console import Console
    from rich.text import Text

    Console(highlight=False).print(Text(line), soft_wrap=True)
