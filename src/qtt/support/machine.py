"""The machine that this process runs on."""

import os
import sys
from pathlib import Path

from qtt.errors import EnvironmentFault

GPU_DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Files that the drivers of NVIDIA, AMD and Windows' Linux make."""


def available_cores() -> int:
    """Processor cores that this process may use, which may be fewer than the machine has."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


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


def choose_device(device: str) -> str:
    """`cpu` or `cuda`, initialised so that it can be seeded.

    Raises:
        EnvironmentFault: the settings ask for CUDA where there is none.
    """
    import torch

    available = torch.cuda.is_available()
    if device == "auto":
        device = "cuda" if available else "cpu"
    if device == "cuda":
        if not available:
            raise EnvironmentFault("settings.device=cuda, but torch finds no CUDA device. Use auto or cpu.")
        torch.cuda.init()  # type: ignore[no-untyped-call]
    return device
