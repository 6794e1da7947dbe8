"""Folders that a search writes to, and the places on the network that it may ask."""

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from qtt.diagnosis.finding import Finding
from qtt.support import resources
from qtt.support.network import Probe

GIB = 2**30
LITTLE_DISK = 5 * GIB
"""Bytes below which images or checkpoints may find no room."""

INDEX = "https://pypi.org/simple/"
INDEX_VARIABLES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")
"""Where installers are told of another package index."""


def folder(name: str, path: Path, mend: str) -> Iterator[Finding]:
    """Whether a folder, which may not exist yet, can be written to, and how much room there is."""
    reason = resources.refusal(path)
    if reason is not None:
        yield Finding(name, f"{path} cannot be written to: {reason}", "problem", mend)
        return
    free = resources.free_disk(path)
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
