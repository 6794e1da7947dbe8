"""Whether places on the network answer, asked in bounded time."""

import threading
import urllib.error
import urllib.request
from collections.abc import Callable

TIMEOUT = 4.0
"""Seconds that an address has to answer, names and proxies included."""

Probe = Callable[[str], str | None]
"""Asks an address; None where it answers, else why not."""


def answer(url: str, timeout: float = TIMEOUT) -> str | None:
    """Ask an address for its head alone, in bounded time; None where it answers, else why not."""
    outcome = [f"no answer within {timeout:g} s"]

    def ask() -> None:
        outcome[0] = _ask(url, timeout)

    asking = threading.Thread(target=ask, daemon=True)  # looking up a name has no timeout of its own
    asking.start()
    asking.join(timeout)
    return outcome[0] or None


def _ask(url: str, timeout: float) -> str:
    """Why there is no answer; empty where there is one."""
    try:
        request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "qtt"})
        with urllib.request.urlopen(request, timeout=timeout):
            return ""
    except urllib.error.HTTPError as error:
        refused = error.code >= 500 or error.code == 407  # by something on the way, not by the place itself
        return f"HTTP status {error.code}" if refused else ""
    except urllib.error.URLError as error:
        return str(error.reason)
    except Exception as error:  # whatever the network stack raises is one answer: not to be reached
        return str(error) or type(error).__name__
