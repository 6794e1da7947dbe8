"""The machine that this process runs on."""

import os
import re
import sys
from pathlib import Path

from qtt.errors import ConfigError, EnvironmentFault

GPU_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Files that the drivers of NVIDIA, AMD and Windows' Linux make."""


CORES = "QTT_CORES"
"""Variable that tells a training process which processor cores are its own, `0,1`."""


def keep_to_own_cores() -> None:
    """Have this process, and what it starts, run on the cores alone that `QTT_CORES` names, if it does."""
    named = os.environ.get(CORES)
    if named and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core) for core in named.split(",")})


def available_cores() -> int:
    """Processor cores that this process may use, which may be fewer than the machine has."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def core_shares(count: int) -> list[tuple[int, ...]]:
    """The cores that this process may use, divided among so many; two share one where there are too few.

    Empty shares where the system does not tell cores apart.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    if affinity is None:
        return [()] * count
    cores = sorted(affinity(0))
    if len(cores) <= count:
        return [(cores[place % len(cores)],) for place in range(count)]
    return [tuple(cores[place::count]) for place in range(count)]


def trains_on_cpu(device: str | None) -> bool:
    """Whether training is known to be on a CPU, without the seconds that loading torch takes.

    Args:
        device: an objective's setting: "cpu", "cuda", "auto" (CUDA where there is one); None: not known.
    """
    if device != "auto":
        return device == "cpu"
    if sys.platform not in ("linux", "darwin"):
        return False
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    return hidden or not any(Path(driver).exists() for driver in GPU_DRIVERS)


DEVICES = Path("/dev")

DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")
"""Names of devices: auto is CUDA where there is one; cuda:1 is the second GPU that torch sees."""


def device_name(text: str) -> str:
    """A device as settings and options name it.

    Raises:
        ConfigError: it is none.
    """
    if not DEVICE.fullmatch(text):
        raise ConfigError(f"There is no device '{text}': auto, cpu, cuda, or cuda:1 for the second GPU.")
    return text


def on_gpu(device: str) -> bool:
    """Whether a device that was chosen is a GPU."""
    return device.startswith("cuda")


def choose_device(device: str) -> str:
    """`cpu`, `cuda` or `cuda:N`.

    A GPU is initialised, so that it can be seeded, and one with a number becomes the current one.

    Raises:
        ConfigError: there is no such name.
        EnvironmentFault: the settings ask for a GPU that is not there.
    """
    import torch

    device_name(device)
    available = torch.cuda.is_available()
    if device == "auto":
        device = "cuda" if available else "cpu"
    if on_gpu(device):
        if not available:
            raise EnvironmentFault(
                f"settings.device={device}, but torch finds no CUDA device. Use auto or cpu."
            )
        torch.cuda.init()  # type: ignore[no-untyped-call]
        if number := device.partition(":")[2]:
            _make_current(int(number))
    return device


def _make_current(number: int) -> None:
    import torch

    count = torch.cuda.device_count()
    if number >= count:
        raise EnvironmentFault(
            f"settings.device=cuda:{number}, but torch sees {count} GPU{'s' * (count > 1)}, counted from 0 "
            "(CUDA_VISIBLE_DEVICES may hide some)."
        )
    torch.cuda.set_device(number)


def visible_gpus() -> tuple[str, ...]:
    """GPUs that processes of ours may use, as `CUDA_VISIBLE_DEVICES` names them; without loading torch."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        listed = [name.strip() for name in named.split(",")]
        return tuple(name for name in listed if name not in ("", "-1"))
    found = (re.fullmatch(r"nvidia(\d+)", path.name) for path in DEVICES.glob("nvidia*"))
    return tuple(sorted((match[1] for match in found if match), key=int))
