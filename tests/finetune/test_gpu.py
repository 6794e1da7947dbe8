"""What only a real GPU can show: precisions, moves between devices, memory, equal predictions."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines import PLAIN, forget, learned, run
from qtt.evaluation.step import run_step
from qtt.finetune.cv.classification import finetune_script
from qtt.finetune.cv.classification.footprint import latency_ms
from qtt.finetune.cv.classification.inference import Classifier
from qtt.finetune.cv.classification.memory import release
from qtt.runs.kept_models import KeptModel
from qtt.runs.record import RunRecord
from qtt.types import TaskInfo, Trial

MakeTask = Callable[..., TaskInfo]
CUDA = {"device": "cuda"}

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
    pytest.mark.usefixtures("cold"),
]


@pytest.fixture
def no_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on cards before Ampere."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=False: False)


@pytest.fixture
def little_memory() -> Iterator[Callable[[float], None]]:
    """Leaves a number of megabytes of the GPU to this process."""
    total = torch.cuda.get_device_properties(0).total_memory

    def leave(megabytes: float) -> None:
        release()
        torch.cuda.set_per_process_memory_fraction(min(1.0, megabytes * 1e6 / total))

    yield leave
    torch.cuda.set_per_process_memory_fraction(1.0)
    release()


@pytest.mark.parametrize("model", ["test_vit", "test_resnet", "test_convnext"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_families_learn_in_every_precision(
    make_task: MakeTask, model: str, precision: str, request: pytest.FixtureRequest
) -> None:
    if precision == "fp16":
        request.getfixturevalue("no_bfloat16")
    config = PLAIN | {"model": model, "amp": precision != "fp32"}
    results = run(make_task(settings=CUDA), config, 5)
    assert [result.fidelity for result in results] == [1, 2, 3, 4, 5]
    assert results[-1].info["train_loss"] < results[0].info["train_loss"]
    assert all(result.info["max_memory_mb"] > 0 for result in results)


@pytest.mark.parametrize("opt", ["adam", "adamw", "adamp", "sgd"])
def test_a_pipeline_moves_from_cpu_to_gpu_and_back(make_task: MakeTask, opt: str) -> None:
    config = PLAIN | {"opt": opt}
    expected = learned(run(make_task(work_dir=None), config, 3))
    forget()
    found = []
    for epoch, device in enumerate(("cpu", "cuda", "cpu"), start=1):
        found += learned(run(make_task(settings={"device": device}), config, epoch))
        forget()
    assert [result[0] for result in found] == [1, 2, 3]
    losses = [result[2]["train_loss"] for result in found]
    assert losses == pytest.approx([result[2]["train_loss"] for result in expected], rel=0.05)


def test_predictions_are_those_of_the_cpu(kept_run: Path) -> None:
    record = RunRecord.load(kept_run)
    images = torch.randint(0, 256, (8, 3, 64, 64), dtype=torch.uint8)
    for model in record.kept():
        assert isinstance(model, KeptModel)
        on_cpu, on_gpu = (Classifier.of(model, record.task, device) for device in ("cpu", "cuda"))
        torch.testing.assert_close(on_gpu.logits(images), on_cpu.logits(images), rtol=1e-2, atol=1e-2)


def test_memory_of_one_pipeline_is_its_own(make_task: MakeTask) -> None:
    task = make_task(settings=CUDA)
    (alone,) = run(task, PLAIN, 1)
    for config_id in (1, 2):
        run(task, PLAIN | {"batch_size": 4}, 1, config_id=config_id)
    (among_others,) = run(task, PLAIN, 1, config_id=3)
    mine = (result.info["max_memory_mb"] for result in (alone, among_others))
    assert next(mine) == pytest.approx(next(mine), rel=0.2)


def test_latency_is_measured_on_the_gpu() -> None:
    network = torch.nn.Conv2d(3, 4, 3)
    assert 0 < latency_ms(network, 32, "cuda") < 1000


def test_memory_that_runs_out_is_survived(
    make_task: MakeTask, little_memory: Callable[[float], None]
) -> None:
    """A GPU that is too small for a batch holds it in chunks, or fails with its reason; then all goes on."""
    config: dict[str, Any] = PLAIN | {"batch_size": 24}
    images = {"image_size": 256} | CUDA
    (needed,) = run(make_task(settings=images, work_dir=None), config, 1)
    forget()
    little_memory(0.6 * needed.info["max_memory_mb"])
    (failed,) = run_step(finetune_script, Trial(0, config, 1), make_task(settings=images, work_dir=None))
    assert failed.info.get("out_of_memory"), failed.info
    assert "Out of GPU memory" in failed.info["reason"]
    forget()
    release()
    split = make_task(settings=images | {"oom_accumulation": 8}, work_dir=None)
    (survived,) = run(split, config, 1)
    assert survived.info["accumulate"] == 8


def test_one_and_one_and_one_are_three_to_the_bit_where_that_is_asked_for(make_task: MakeTask) -> None:
    settings = CUDA | {"deterministic": True}
    whole = learned(run(make_task(settings=settings, work_dir=None), PLAIN, 3))
    forget()
    parts = []
    for epoch in (1, 2, 3):
        parts += learned(run(make_task(settings=settings), PLAIN, epoch))
        forget()
    without_memory = [
        [
            (fidelity, score, {k: v for k, v in info.items() if k != "max_memory_mb"})
            for fidelity, score, info in told
        ]
        for told in (whole, parts)
    ]
    assert without_memory[0] == without_memory[1]
