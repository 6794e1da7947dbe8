"""Memory that runs out: recognised, explained, and survived where the settings allow it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from pipelines import PLAIN, checkpoint, forget, learned, run
from qtt.evaluation.step import run_step
from qtt.finetune.cv.classification import finetune_script, objective
from qtt.finetune.cv.classification.checkpoint import EpochRecord
from qtt.finetune.cv.classification.memory import OutOfMemory, is_out_of_memory
from qtt.finetune.cv.classification.module import ClassificationModule
from qtt.finetune.cv.classification.pipeline import Pipeline
from qtt.types import TaskInfo, Trial

MakeTask = Callable[..., TaskInfo]
pytestmark = pytest.mark.usefixtures("cold")
SPLIT = {"oom_accumulation": 4}


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """A pretended GPU that has room for so many images at a time."""
    limit = {"images": 1000}
    original = ClassificationModule.forward_step

    def forward_step(self: ClassificationModule, images: torch.Tensor, targets: torch.Tensor) -> Any:
        if len(images) > limit["images"]:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return original(self, images, targets)

    monkeypatch.setattr(ClassificationModule, "forward_step", forward_step)
    return limit


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate`"), True),
        (RuntimeError("GET was unable to find an engine to execute this computation"), True),
        (RuntimeError("std::bad_alloc"), True),
        (MemoryError(), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_recognised(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_the_result_says_what_and_the_process_goes_on(make_task: MakeTask, room: dict[str, int]) -> None:
    task = make_task()
    expected = learned(run(make_task(work_dir=None), PLAIN, 2))
    run(task, PLAIN, 1)
    room["images"] = 7
    (failed,) = run_step(finetune_script, Trial(0, PLAIN, 2), task)
    assert failed.info["out_of_memory"] is True
    for part in ("Out of main memory: test_resnet, batch size 8, image size 32", "oom_accumulation=4"):
        assert part in failed.info["reason"]
    assert "Tried to allocate 20.00 MiB" in failed.info["details"]
    assert not objective._warm._held
    room["images"] = 8
    assert learned(run(task, PLAIN, 2)) == expected[1:]  # nothing of the half-trained epoch is left


def test_memory_that_runs_out_while_a_pipeline_is_built_is_made_free_where_it_can_be(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pipelines that wait in memory give way once; then there is nothing left to try."""
    task = make_task()
    run(task, PLAIN, 1)  # waits in memory
    original = Pipeline.__init__

    def crowded(self: Pipeline, *arguments: Any) -> None:
        if objective._warm._held or crowd:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        original(self, *arguments)

    crowd = False
    monkeypatch.setattr(Pipeline, "__init__", crowded)
    (result,) = run_step(finetune_script, Trial(1, PLAIN, 1), task)
    assert result.succeeded
    crowd = True
    (failed,) = run_step(finetune_script, Trial(2, PLAIN, 1), task)
    assert failed.info["out_of_memory"] is True
    assert "Out of main memory: test_resnet, while its network" in failed.info["reason"]
    assert "max_params" in failed.info["reason"]


def test_nothing_is_split_while_there_is_room(make_task: MakeTask) -> None:
    plain = run(make_task(work_dir=None), PLAIN, 2)
    assert learned(run(make_task(work_dir=None, settings=SPLIT), PLAIN, 2)) == learned(plain)


@pytest.mark.parametrize("epoch", [1, 2])
def test_batches_are_split_from_the_epoch_that_ran_out(
    make_task: MakeTask, room: dict[str, int], epoch: int
) -> None:
    task = make_task(settings=SPLIT)
    results = run(task, PLAIN, *range(1, epoch))
    room["images"] = 2
    results += run(task, PLAIN, 4)
    assert [result.fidelity for result in results] == [1, 2, 3, 4]
    assert [result.info.get("accumulate") for result in results] == [None] * (epoch - 1) + [4] * (5 - epoch)
    weights = checkpoint(task)["network"]
    again = replace(task, work_dir=task.work_dir / "again")  # restarted between epochs, with room
    repeated = []
    for fidelity in range(1, 5):
        forget()
        room["images"] = 2 if fidelity == epoch else 1000
        repeated += run(again, PLAIN, fidelity)
    assert learned(repeated) == learned(results)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in checkpoint(again)["network"].items())


def test_without_a_folder_the_epochs_before_are_trained_again(
    make_task: MakeTask, room: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Pipeline.train_epoch

    def train_epoch(self: Pipeline) -> EpochRecord:
        room["images"] = 2 if self.progress.epoch == 2 else 1000
        return original(self)

    monkeypatch.setattr(Pipeline, "train_epoch", train_epoch)
    expected = learned(run(make_task(settings=SPLIT), PLAIN, 3))
    assert expected[2][2]["accumulate"] == 4
    forget()
    found = learned(run(make_task(settings=SPLIT, work_dir=None), PLAIN, 2, 3))
    assert found == expected[:2] + expected  # the second step had to start from nothing


def test_a_model_without_batch_norm_learns_the_same_from_chunks(
    make_task: MakeTask, room: dict[str, int]
) -> None:
    config = PLAIN | {"model": "test_vit", "opt": "momentum", "momentum": 0.9, "lr": 0.01}
    whole = make_task(work_dir=None)
    (expected,) = run(whole, config, 1)
    room["images"] = 2
    (result,) = run(make_task(settings=SPLIT), config, 1)
    assert result.info["train_loss"] == pytest.approx(expected.info["train_loss"], rel=1e-4)
    assert result.info["val_loss"] == pytest.approx(expected.info["val_loss"], rel=1e-4)


def test_other_pipelines_make_room_first(make_task: MakeTask, room: dict[str, int]) -> None:
    task = make_task()
    run(task, PLAIN, 1, config_id=1)
    original = objective._warm.clear

    def clear() -> bool:
        room["images"] = 1000
        return original()

    room["images"] = 2
    objective._warm.clear = clear  # type: ignore[method-assign]
    try:
        (result,) = run(task, PLAIN, 1)
    finally:
        del objective._warm.clear
    assert "accumulate" not in result.info
    assert not [held for held, _ in objective._warm._held.values() if held.config_id == 1]


def test_chunks_that_are_too_large_still_fail(make_task: MakeTask, room: dict[str, int]) -> None:
    room["images"] = 1
    with pytest.raises(OutOfMemory, match=r"batch size 8 in 4 chunks, .*oom_accumulation=8"):
        run(make_task(settings=SPLIT), PLAIN, 1)
