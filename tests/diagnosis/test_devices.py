"""What is said of cores, memory and GPUs, on machines that are made up."""

import os
import warnings
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qtt.diagnosis import devices
from qtt.support import resources

GIB = 2**30


def _torch(available: bool, gpus: list[tuple[float, float, bool]] = [], cuda: str | None = "13.0") -> Any:  # noqa: B006
    """A torch of GPUs with free and total GiB, and bfloat16 or not."""

    def is_available() -> bool:
        if not available and gpus:
            warnings.warn("The NVIDIA driver on your system is too old\n(found 11)", stacklevel=1)
        return available

    return SimpleNamespace(
        version=SimpleNamespace(cuda=cuda, hip=None),
        cuda=SimpleNamespace(
            is_available=is_available,
            device_count=lambda: len(gpus),
            mem_get_info=lambda index: tuple(int(size * GIB) for size in gpus[index][:2]),
            get_device_name=lambda index: f"Card {index}",
            is_bf16_supported=lambda including_emulation: gpus[0][2],
            device=lambda index: nullcontext(),
        ),
    )


def test_every_gpu_has_a_line_and_a_full_one_a_warning() -> None:
    first, second = devices.gpus(_torch(True, [(70, 80, True), (1, 80, True)]))
    assert (first.name, first.level) == ("GPU 0", "ok")
    assert first.found == "Card 0, 80.0 GiB, 70.0 free, bfloat16"
    assert second.level == "warning"
    assert "nvidia-smi" in second.mend
    (old,) = devices.gpus(_torch(True, [(10, 11, False)]))
    assert old.found.endswith("no bfloat16, half precision instead")


@pytest.mark.parametrize(
    ("torch", "hidden", "driver", "level", "words"),
    [
        (_torch(False), None, False, "ok", "none: training is on the CPU"),
        (_torch(False), "", True, "ok", "CUDA_VISIBLE_DEVICES=''"),
        (_torch(False, cuda=None), None, True, "warning", "torch is built for CPUs"),
        (_torch(False, [(1, 1, True)]), None, True, "warning", "driver on your system is too old"),
        (_torch(False), None, True, "warning", "torch does not say why"),
    ],
)
def test_where_there_is_no_gpu_the_reason_is_given(
    torch: Any,
    hidden: str | None,
    driver: bool,
    level: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    file = tmp_path / "nvidiactl"
    if driver:
        file.touch()
    monkeypatch.setattr(devices, "GPU_DRIVERS", (str(file),))
    (finding,) = devices.gpus(torch)
    assert finding.level == level
    assert words in finding.found
    assert bool(finding.mend) == (level == "warning")


def test_without_torch_there_is_nothing_to_say() -> None:
    assert list(devices.gpus(None)) == []


def test_memory_is_that_of_the_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bound = tmp_path / "memory.max"
    monkeypatch.setattr(resources, "CGROUPS", (str(bound),))
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 1 kB\nMemAvailable: 1073741824 kB\n")
    monkeypatch.setattr(resources, "_machine", lambda: 2048 * GIB)
    for text, expected in (("max", "2048.0 GiB, 1024.0 free"), (str(8 * GIB), "8.0 GiB, 8.0 free")):
        bound.write_text(text)
        (finding,) = devices.memory(meminfo)
        assert (finding.found, finding.level) == (expected, "ok")
    bound.write_text(str(GIB))
    (finding,) = devices.memory(meminfo)
    assert finding.level == "warning"
    (unknown,) = devices.memory(tmp_path / "nowhere")
    assert unknown.found == "1.0 GiB"


def test_cores_are_those_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(devices, "available_cores", lambda: 4)
    (finding,) = devices.cores()
    assert finding.found == "4 of 64"
