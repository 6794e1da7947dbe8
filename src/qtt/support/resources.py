"""Room on disks and in memory: what this machine, or the container that it is, still has."""

import os
import shutil
import tempfile
from pathlib import Path

CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Files that bound the memory of a container."""

MEMINFO = Path("/proc/meminfo")


def memory(meminfo: Path = MEMINFO) -> tuple[int | None, int | None]:
    """Bytes in all, and bytes that programs can still have; None where the system does not say."""
    total = min((bound for bound in (_machine(), _container()) if bound), default=None)
    free = _free(meminfo)
    return total, free if free is None or total is None else min(free, total)


def free_disk(path: Path) -> int:
    """Bytes free where a folder, which may not exist yet, lies.

    Raises:
        OSError: the disk cannot be asked.
    """
    return shutil.disk_usage(existing(path)).free


def refusal(path: Path) -> str | None:
    """Why nothing can be written to a folder, which may not exist yet; None: something can be."""
    try:
        with tempfile.TemporaryFile(dir=existing(path)):
            return None
    except OSError as error:
        return error.strerror or type(error).__name__


def existing(path: Path) -> Path:
    """A path, or the nearest above it that there is."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())


def _machine() -> int | None:
    """Bytes of the whole machine; None where the system does not say."""
    if "SC_PHYS_PAGES" not in getattr(os, "sysconf_names", {}):
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _container() -> int | None:
    """Bytes that a container may use; None without such a bound."""
    for file in CGROUPS:
        try:
            text = Path(file).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            return int(text)
    return None


def _free(meminfo: Path) -> int | None:
    """Bytes of the machine that programs can still have; None where the system does not say."""
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return 1024 * int(found[0]) if found else None
