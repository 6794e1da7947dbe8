"""The steps of `run.sh` that measure: each writes what it found to OUT/NAME.json.

python experiments/gpu_check/checks.py NAME OUT
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from images import write_image_folder
from qtt.evaluation import make_evaluator
from qtt.finetune.cv.classification import finetune_script
from qtt.finetune.cv.classification.metafeatures import describe
from qtt.hub.model_hub import load_hub
from qtt.types import ModelCard, TaskInfo, Trial

sys.path.insert(0, str(Path(__file__).parents[1] / "finetune_speed"))
import bench

DEVICE = os.environ.get("DEVICE", "cuda")
ON_GPU = DEVICE.startswith("cuda")
MEGABYTE = 1e6
PLAIN: dict[str, Any] = {"opt": "adamw", "lr": 1e-3, "batch_size": 32, "amp": ON_GPU}
EVERY = 0.2
"""Seconds between two looks at the GPU."""


def machine() -> dict[str, Any]:
    """What all this runs on."""
    name = torch.cuda.get_device_name() if ON_GPU else "none"
    return {"gpu": name, "cores": len(os.sched_getaffinity(0)), "torch": torch.__version__}


def process() -> dict[str, Any]:
    """A step through the training process; then one that is killed in its first epoch."""
    with scratch(images=600 if ON_GPU else 48) as task:
        evaluator = make_evaluator(finetune_script, task.work_dir.parent / "process.log", "process")  # type: ignore[union-attr]
        before = used_memory()
        begin = time.monotonic()
        first = list(evaluator.evaluate(Trial(0, PLAIN | {"model": "test_resnet"}, 1), task, None))
        started = time.monotonic() - begin
        begin = time.monotonic()
        again = list(evaluator.evaluate(Trial(0, PLAIN | {"model": "test_resnet"}, 2), task, None))
        warm = time.monotonic() - begin
        begin = time.monotonic()
        cut = list(evaluator.evaluate(Trial(1, PLAIN | {"model": "test_resnet"}, 50), task, 3.0))
        killed = time.monotonic() - begin
        freed = until(lambda: used_memory() <= before + 50)
        evaluator.close()
    assert all(result.succeeded for result in [*first, *again]), [result.info for result in first]
    return {
        "seconds until the first result": started,
        "seconds of a warm step": warm,
        "status of the step that was cut": cut[-1].status.value,
        "seconds until it was cut, asked for 3": killed,
        "seconds until memory was free": freed,
    }


def repeat() -> dict[str, Any]:
    """Epochs in two steps against all at once: largest difference of a loss, as usual and deterministic."""
    found = {}
    for deterministic in (False, True):
        losses = []
        for targets in ((3,), (1, 3)):
            with scratch(images=96) as task:
                task = replace(task, settings={**task.settings, "deterministic": deterministic})
                log = task.work_dir.parent / "process.log"  # type: ignore[union-attr]
                results = []
                for target in targets:  # each in a process of its own
                    evaluator = make_evaluator(finetune_script, log, "process")
                    config = PLAIN | {"model": "test_convnext3"}
                    results += list(evaluator.evaluate(Trial(0, config, target), task, None))
                    evaluator.close()
            losses.append([result.info["train_loss"] for result in results])
        difference = max(abs(one - other) for one, other in zip(*losses, strict=True))
        found["deterministic" if deterministic else "as usual"] = difference
    return {f"largest difference of a loss, {name}": value for name, value in found.items()}


def throughput() -> dict[str, Any]:
    """Ours over a bare loop, in bf16 on a GPU; see experiments/finetune_speed."""
    cases = bench.CUDA_CASES if ON_GPU else bench.CPU_CASES[:2]
    found = {}
    with tempfile.TemporaryDirectory(prefix="qtt-gpu-check-") as folder:
        for case in cases:
            small = replace(case, images=min(case.images, 10_000 if ON_GPU else 128))
            row = bench.Bench.of(small, Path(folder), DEVICE, ON_GPU, workers=0).run(rounds=3)
            found[f"{case.model}: training / bare"] = row["training / bare"]
            found[f"{case.model}: images/s"] = row["images/s"]
    return found


def utilisation() -> dict[str, Any]:
    """How busy the GPU is while it trains, with 1, 4 and all cores of the machine for the rest."""
    cores = sorted(os.sched_getaffinity(0))
    found = {}
    for model in ("vit_small_patch16_224", "resnet50") if ON_GPU else ("test_resnet",):
        for count in [count for count in (1, 4, 15) if count <= len(cores)]:
            with scratch(images=2000 if ON_GPU else 48, side=224 if ON_GPU else 32, model=model) as task:
                os.sched_setaffinity(0, cores[:count])
                log = task.work_dir.parent / "process.log"  # type: ignore[union-attr]
                evaluator = make_evaluator(finetune_script, log, "process")
                config = PLAIN | {"model": model, "batch_size": 128 if ON_GPU else 8}
                list(evaluator.evaluate(Trial(0, config, 1), task, None))  # imports, cache of images
                with watched() as busy:
                    begin = time.monotonic()
                    list(evaluator.evaluate(Trial(0, config, 3), task, None))
                    seconds = time.monotonic() - begin
                evaluator.close()
                os.sched_setaffinity(0, cores)
            images = 2 * (2000 if ON_GPU else 48) / seconds
            found[f"{model}, {count} cores: images/s"] = images
            if busy:
                found[f"{model}, {count} cores: GPU busy, %"] = sum(busy) / len(busy)
    return found


def leftovers() -> dict[str, Any]:
    """Processes of ours that nobody ended, and memory that is still taken."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    orphans = [
        line for line in listed.splitlines() if "qtt.evaluation" in line and str(os.getpid()) not in line
    ]
    return {"training processes left": len(orphans), "GPU memory in use, MB": used_memory()}


@contextmanager
def scratch(images: int, side: int = 64, model: str = "") -> Iterator[TaskInfo]:
    """A task on noise: so many training images of three classes, and networks without pretrained weights."""
    with tempfile.TemporaryDirectory(prefix="qtt-gpu-check-") as folder:
        root = write_image_folder(Path(folder) / "images", {"train": images // 3, "val": 4}, side=side)
        task, _, _ = describe(root, 0.2, 0)
        yield replace(
            task,
            work_dir=Path(folder) / "pipelines",
            models=cards(model),
            settings={"device": DEVICE, "pretrained": False, "image_size": side, "cache_gb": 0},
        )


def cards(model: str) -> tuple[ModelCard, ...]:
    """The hub `tiny`, and a model of timm beside it."""
    tiny = load_hub("tiny").cards
    return (
        tiny
        if not model or model in {card.name for card in tiny}
        else (*tiny, *load_hub("timm", [model]).cards)
    )


def used_memory() -> float:
    """Megabytes of the GPU that are in use by anyone; 0 without a GPU."""
    return asked("memory.used") * 2**20 / MEGABYTE if ON_GPU else 0.0


def asked(what: str) -> float:
    """A figure of `nvidia-smi` for the first GPU."""
    command = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader,nounits", "-i", "0"]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def until(true: Callable[[], bool], seconds: float = 30.0) -> float | None:
    """Seconds until something is true; None where it does not come true in time."""
    begin = time.monotonic()
    while not true():
        if time.monotonic() - begin > seconds:
            return None
        time.sleep(EVERY)
    return time.monotonic() - begin


@contextmanager
def watched() -> Iterator[list[float]]:
    """Shares of time, in percent, that the GPU was busy while the block ran; empty without a GPU."""
    busy: list[float] = []
    done = threading.Event()

    def look() -> None:
        while ON_GPU and not done.wait(EVERY):
            busy.append(asked("utilization.gpu"))

    watcher = threading.Thread(target=look)
    watcher.start()
    yield busy
    done.set()
    watcher.join()


if __name__ == "__main__":
    name, out = sys.argv[1:]
    result = globals()[name]()
    (Path(out) / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
