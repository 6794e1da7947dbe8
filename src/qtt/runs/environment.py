"""Where a search ran: versions, the commit of qtt, hardware and command, in `environment.json`."""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from qtt.support.machine import available_cores, visible_gpus
from qtt.support.resources import memory

PACKAGES = ("qtt", "torch", "torchvision", "timm", "lightning", "gpytorch", "configspace", "numpy")
"""On which results depend."""

SOURCE = Path(__file__).parents[3]
"""The checkout that qtt runs from, where it runs from one."""

CPU_FACTS, GPU_FACTS = Path("/proc/cpuinfo"), Path("/proc/driver/nvidia/gpus")


def environment() -> dict[str, Any]:
    """Versions of Python and of the packages that results depend on, commit, hardware and command."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "commit": commit(),
        "hardware": hardware(),
        "command": sys.argv,
    }


def hardware() -> dict[str, Any]:
    """Processor, cores and threads of this process, bytes of memory, and names of GPUs that it may use."""
    return {
        "cpu": _processor(),
        "cores": available_cores(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "memory_gb": None if (total := memory()[0]) is None else round(total / 1e9, 1),
        "gpus": _gpus(),
    }


@cache
def commit(source: Path = SOURCE) -> str | None:
    """Commit of the checkout, with `+` where files differ from it; None outside of one."""
    if not (source / ".git").exists():
        return None
    head = _git(source, "rev-parse", "--short=12", "HEAD")
    if head is None:
        return None
    changed = _git(source, "status", "--porcelain", "--untracked-files=no", "--", "src", "conf")
    return head + ("+" if changed else "")


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What two environments differ in, their commands aside: by name, there and here."""
    flat = _flat(before), _flat(now)
    names = [name for name in dict.fromkeys([*flat[0], *flat[1]]) if name != "command"]
    pairs = {name: (flat[0].get(name), flat[1].get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _flat(data: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in data.items():
        found |= dict(value) if isinstance(value, Mapping) else {name: value}
    return found


def _git(source: Path, *arguments: str) -> str | None:
    try:
        said = subprocess.run(
            ["git", "-C", str(source), *arguments], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return said.stdout.strip()


def _processor() -> str | None:
    try:
        found = re.search(r"^model name\s*: (.+)$", CPU_FACTS.read_text(errors="replace"), re.MULTILINE)
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or None


def _gpus() -> list[str]:
    """Names where the driver tells them, else numbers."""
    models = []
    for file in sorted(GPU_FACTS.glob("*/information")):
        try:
            found = re.search(r"^Model:\s*(.+)$", file.read_text(errors="replace"), re.MULTILINE)
        except OSError:
            continue
        models.append(found[1].strip() if found else file.parent.name)
    visible = visible_gpus()
    return models if len(models) == len(visible) else list(visible)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
