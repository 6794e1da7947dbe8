"""What the kernel says of processes that it killed because memory ran out."""

from contextlib import suppress
from pathlib import Path

CGROUPS = Path("/proc/self/cgroup")
MOUNTS = Path("/sys/fs/cgroup")


def out_of_memory_kills(cgroups: Path = CGROUPS, mounts: Path = MOUNTS) -> int | None:
    """How many processes of this one's control group were killed for that; None: nobody counts them."""
    with suppress(OSError, ValueError):
        for line in cgroups.read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if not controllers:  # version 2
                files = [mounts / group.lstrip("/") / "memory.events", mounts / "memory.events"]
            elif controllers == "memory":  # version 1; in a container its own group is mounted as the root
                files = [mounts / "memory" / group.lstrip("/") / "memory.oom_control"]
                files.append(mounts / "memory" / "memory.oom_control")
            else:
                continue
            for file in files:
                count = _count(file)
                if count is not None:
                    return count
    return None


def _count(file: Path) -> int | None:
    with suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    return None
