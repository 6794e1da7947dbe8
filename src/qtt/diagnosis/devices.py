"""What trains: processor cores, memory, GPUs."""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qtt.diagnosis.finding import Finding
from qtt.support import resources
from qtt.support.machine import GPU_DRIVERS, available_cores

GIB = 2**30
LITTLE_MEMORY = 2 * GIB
"""Bytes below which a training process with its decoded images is likely to be killed."""

LITTLE_GPU_MEMORY = 4 * GIB
"""Bytes below which most pipelines of larger models do not fit."""


def cores() -> Iterator[Finding]:
    """Cores that this process may use."""
    usable, all_of_them = available_cores(), os.cpu_count() or 1
    yield Finding("cores", f"{usable}" if usable == all_of_them else f"{usable} of {all_of_them}")


def memory(meminfo: Path = resources.MEMINFO) -> Iterator[Finding]:
    """Memory of the machine or container, and what of it is free."""
    total, free = resources.memory(meminfo)
    if total is None:
        yield Finding("memory", "not known on this system")
        return
    found = f"{total / GIB:.1f} GiB" + (f", {free / GIB:.1f} free" if free is not None else "")
    if (total if free is None else free) >= LITTLE_MEMORY:
        yield Finding("memory", found)
    else:
        mend = "Close other programs, or ask the job queue for more; small batches need less."
        yield Finding("memory", found, "warning", mend)


def gpus(torch: Any) -> Iterator[Finding]:
    """The GPUs that torch sees, or why it sees none.

    torch: the module; None where it cannot be imported.
    """
    if torch is None:
        return
    with warnings.catch_warnings(record=True) as said:  # torch warns of drivers that are too old
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        found = [_gpu(torch, index) for index in range(count)]
    yield from found
    if not found:
        yield _no_gpu(torch, [str(warning.message) for warning in said])


def _gpu(torch: Any, index: int) -> Finding:
    free, total = torch.cuda.mem_get_info(index)
    with torch.cuda.device(index):
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    words = "bfloat16" if bf16 else "no bfloat16, half precision instead"
    found = f"{torch.cuda.get_device_name(index)}, {total / GIB:.1f} GiB, {free / GIB:.1f} free, {words}"
    if free >= LITTLE_GPU_MEMORY:
        return Finding(f"GPU {index}", found)
    mend = "See with nvidia-smi who uses it; CUDA_VISIBLE_DEVICES chooses another."
    return Finding(f"GPU {index}", found, "warning", mend)


def _no_gpu(torch: Any, said: list[str]) -> Finding:
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    driver = next((file for file in GPU_DRIVERS if Path(file).exists()), None)
    if hidden in ("", "-1"):
        return Finding("GPU", f"none to be used: CUDA_VISIBLE_DEVICES={hidden!r}")
    if driver is None:
        return Finding("GPU", "none: training is on the CPU")
    if not (torch.version.cuda or torch.version.hip):
        mend = "Install a build of torch for it: https://pytorch.org/get-started/locally"
        return Finding("GPU", f"a driver is here ({driver}), but torch is built for CPUs", "warning", mend)
    reason = said[0].strip().splitlines()[0] if said else "torch does not say why"
    mend = "See whether nvidia-smi works; a torch built for an older CUDA needs no newer driver."
    return Finding("GPU", f"a driver is here ({driver}), but torch cannot use it: {reason}", "warning", mend)
