"""Runs of the finetuning objective: configs, what they gave, what they left on disk."""

from collections.abc import Callable
from typing import Any

import torch

from qtt.finetune.cv.classification import finetune_script, objective
from qtt.finetune.cv.classification.data import DataStore
from qtt.finetune.cv.classification.probing import Probes
from qtt.finetune.cv.classification.writer import CheckpointWriter
from qtt.types import Result, TaskInfo, Trial

PLAIN = {"model": "test_resnet", "opt": "adamw", "lr": 3e-3, "batch_size": 8}
RICH = PLAIN | {
    "data_augmentation": "trivial_augment",
    "mixup": 0.4,
    "cutmix": 1.0,
    "mixup_prob": 0.75,
    "drop": 0.3,
    "smoothing": 0.1,
    "clip_grad": 1,
    "layer_decay": 0.75,
    "warmup_epochs": 5,
    "sched": "plateau",
    "patience_epochs": 2,
    "weight_decay": 0.01,
}


def forget() -> None:
    """What a new process does not know."""
    objective._writer = CheckpointWriter()
    objective._warm.clear()
    objective._data.crews.close()
    objective._data = DataStore()
    objective._probes = Probes()


def run(task: TaskInfo, config: dict[str, Any], *fidelities: int, config_id: int = 0) -> list[Result]:
    """Results of one step after the other; checkpoints are on disk when this returns."""
    results = [
        result
        for fidelity in fidelities
        for result in finetune_script(Trial(config_id, config, fidelity), task)
    ]
    objective._writer.wait()
    return results


def learned(results: list[Result]) -> list[tuple[int, float, Any]]:
    """Results without seconds."""
    return [(result.fidelity, result.score, result.info) for result in results]


def checkpoint(task: TaskInfo, config_id: int = 0) -> dict[str, Any]:
    """What a pipeline's checkpoint holds."""
    return torch.load(task.pipeline_dir(config_id) / "last.ckpt", weights_only=True)


class AtOnce:
    """A thread whose work is done when it is started."""

    def __init__(self, target: Callable[..., None], args: tuple[Any, ...], name: str) -> None:
        self.work: list[Callable[[], None]] = [lambda: target(*args)]

    def start(self) -> None:
        self.join()

    def join(self) -> None:
        while self.work:
            self.work.pop()()

    def is_alive(self) -> bool:
        return bool(self.work)


class Late(AtOnce):
    """A thread that does nothing until somebody waits for it."""

    def start(self) -> None:
        pass
