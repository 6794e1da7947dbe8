"""Folders that a search writes to, and the places on the network that it may ask."""

import os
import shutil
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from qtt.diagnosis.finding import Finding

GIB = 2**30
LITTLE_DISK = 5 * GIB
"""Bytes below which images or checkpoints may find no room."""

TIMEOUT = 4.0
"""Seconds that an address has to answer, names and proxies included."""

INDEX = "https://pypi.org/simple/"
INDEX_VARIABLES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")
"""Where installers are told of another package index."""

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


def folder(name: str, path: Path, mend: str) -> Iterator[Finding]:
    """Whether a folder, which may not exist yet, can be written to, and how much room there is."""
    home = next(place for place in (path, *path.parents) if place.exists())
    try:
        with tempfile.TemporaryFile(dir=home):
            pass
        free = shutil.disk_usage(home).free
    except OSError as error:
        yield Finding(name, f"{path} cannot be written to: {error.strerror}", "problem", mend)
        return
    found = f"{path}, {free / GIB:,.0f} GiB free"
    if free < LITTLE_DISK:
        yield Finding(name, found, "warning", f"Make room, or: {mend}")
    else:
        yield Finding(name, found)


def model_hub(probe: Probe) -> Iterator[Finding]:
    """Whether the Hugging Face hub can be asked for weights."""
    from huggingface_hub import constants

    name, address = "Hugging Face hub", shown(constants.ENDPOINT)
    if constants.HF_HUB_OFFLINE:
        yield Finding(name, f"not asked: HF_HUB_OFFLINE is set; weights come from {constants.HF_HUB_CACHE}")
        return
    reason = probe(constants.ENDPOINT)
    if reason is None:
        yield Finding(name, f"{address} answers")
        return
    mend = (
        "model_hub=tiny needs no download. For others: qtt fetch HUB --weights-dir DIR where there is a "
        "network, then weights_dir=DIR; HF_ENDPOINT names a mirror, HTTPS_PROXY a proxy."
    )
    yield Finding(name, f"{address} cannot be reached: {reason}", "warning", mend)


def package_index(probe: Probe) -> Iterator[Finding]:
    """Whether extras can be installed from the index that installers here are told of."""
    url = next((os.environ[name] for name in INDEX_VARIABLES if os.environ.get(name)), INDEX)
    reason = probe(url)
    if reason is None:
        yield Finding("package index", f"{shown(url)} answers")
    else:
        mend = "Only needed to install packages; PIP_INDEX_URL names another index."
        yield Finding("package index", f"{shown(url)} cannot be reached: {reason}", "warning", mend)


def shown(url: str) -> str:
    """An address without the name and password that it may hold."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
