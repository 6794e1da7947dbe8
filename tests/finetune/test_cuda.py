"""Finetuning on a GPU that is pretended: devices, types, and who waits for the device. See `fake_cuda`."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import Module

from fake_cuda import fake_cuda
from fake_device import FakeDevice
from models import FAMILIES, SOURCE_CLASSES, TABLE4_FAMILIES, build, make_card
from pipelines import PLAIN, RICH, checkpoint, forget, run
from qtt.finetune.cv.classification import module, objective
from qtt.finetune.cv.classification.data import DataStore
from qtt.finetune.cv.classification.module import ClassificationModule
from qtt.finetune.cv.classification.pipeline import Pipeline
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.finetune.cv.classification.strategies import sp
from qtt.types import Result, TaskInfo

MakeTask = Callable[..., TaskInfo]
pytestmark = pytest.mark.usefixtures("cold")

FP32, BF16, FP16 = "fp32", "bf16-mixed", "fp16"
PRECISIONS = (FP32, BF16, FP16)
CUDA, CPU = {"device": "cuda"}, {"device": "cpu"}
REGULARIZED = {"bss_reg": 0.1, "sp_reg": 0.1, "delta_reg": 0.1, "cotuning_reg": 1.0, "stoch_norm": True}
ONE_UPDATE, TWO_UPDATES = {"batch_size": 24}, {"batch_size": 12}
SCALER = "torch/amp/grad_scaler.py"


def on_gpu(task: TaskInfo, config: dict[str, Any], *fidelities: int, precision: str = FP32) -> FakeDevice:
    """What happens while a pipeline trains on a GPU; all steps must succeed."""
    with fake_cuda(bf16=precision != FP16) as device:
        task = placed(task, CUDA)
        results = run(task, config | {"amp": precision != FP32}, *fidelities)
        assert_trained(results, *fidelities)
        assert held().precision == {FP32: "32-true", BF16: "bf16-mixed", FP16: "16-mixed"}[precision]
        return device


def placed(task: TaskInfo, settings: dict[str, str]) -> TaskInfo:
    """The task on another device."""
    return replace(task, settings={**task.settings, **settings})


def assert_trained(results: list[Result], *fidelities: int) -> None:
    assert {result.fidelity for result in results} >= set(fidelities)
    for result in results:
        assert result.succeeded
        assert "not_applicable" not in result.info


def held() -> Pipeline:
    """The pipeline that is in memory."""
    ((pipeline, _),) = objective._warm._held.values()
    return pipeline


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("model", ["test_vit", "test_resnet", "test_efficientnet"])
def test_all_regularisers(make_pretrained_task: MakeTask, model: str, precision: str) -> None:
    on_gpu(
        make_pretrained_task(), PLAIN | REGULARIZED | ONE_UPDATE | {"model": model}, 1, precision=precision
    )
    assert [type(term).__name__ for term in held().regularizers.terms] == ["Delta", "SP", "BSS", "CoTuning"]
    assert all(tensor.is_cuda for term in held().regularizers.terms for tensor in term.held)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("mixing", [{"mixup": 1.0}, {"cutmix": 1.0}, {}], ids=str)
def test_mixing_class_weights_and_clipping(
    make_task: MakeTask, mixing: dict[str, float], precision: str
) -> None:
    config = RICH | ONE_UPDATE | {"mixup": 0.0, "cutmix": 0.0, "mixup_prob": 1.0} | mixing
    device = on_gpu(make_task(settings={"class_weights": "balanced"}), config, 1, precision=precision)
    assert held().module.class_weights is not None
    assert device.updates == 1


@pytest.mark.parametrize("precision", PRECISIONS)
def test_batches_in_chunks(make_task: MakeTask, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = ClassificationModule.forward_step

    def forward_step(self: ClassificationModule, images: Tensor, targets: Tensor) -> Any:
        if len(images) > 12:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return original(self, images, targets)

    monkeypatch.setattr(ClassificationModule, "forward_step", forward_step)
    task = make_task(settings={"oom_accumulation": 2})
    on_gpu(task, PLAIN | ONE_UPDATE | {"clip_grad": 1}, 1, precision=precision)
    assert held().module.accumulate == 2


def test_another_metric_and_the_best_weights(make_task: MakeTask) -> None:
    task = make_task(metric="balanced_accuracy")
    on_gpu(task, PLAIN | ONE_UPDATE, 1)
    weights = task.weights_file(0, 1)
    assert weights is not None
    assert weights.is_file()


# ------------------------------------------------------------------------------------ what it would have seen


def test_anchors_on_the_cpu_are_seen(make_task: MakeTask, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(weight: float, start: Any) -> sp.SP:
        weights = tuple(start.backbone.values())
        return sp.SP(weight, weights, [tensor.detach().clone() for tensor in weights])

    monkeypatch.setattr("qtt.finetune.cv.classification.regularizers.FIRST", (replace(sp.TERM, build=build),))
    with pytest.raises(RuntimeError, match="same device"):
        on_gpu(make_task(), PLAIN | ONE_UPDATE | {"sp_reg": 0.1}, 1)


def test_class_weights_on_the_cpu_are_seen(make_task: MakeTask, monkeypatch: pytest.MonkeyPatch) -> None:
    def keep(self: ClassificationModule, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        if name == "class_weights":
            object.__setattr__(self, name, tensor)
        else:
            Module.register_buffer(self, name, tensor, persistent)

    monkeypatch.setattr(ClassificationModule, "register_buffer", keep)
    with pytest.raises(RuntimeError, match=r"[dD]evice"):
        on_gpu(make_task(settings={"class_weights": "balanced"}), PLAIN | ONE_UPDATE, 1)


def test_a_loss_that_is_printed_is_seen(make_task: MakeTask, monkeypatch: pytest.MonkeyPatch) -> None:
    original = ClassificationModule._loss

    def loss(self: ClassificationModule, *args: Any) -> Tensor:
        found = original(self, *args)
        assert f"{found.item():.3f}"
        return found

    monkeypatch.setattr(ClassificationModule, "_loss", loss)
    device = on_gpu(make_task(), PLAIN, 1)
    assert [wait.caller.partition(":")[0] for wait in device.during(2)] == ["finetune/test_cuda.py"]


# ------------------------------------------------------------------------------------------ who waits for it


def test_the_loss_is_looked_at_every_so_many_updates(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert module.CHECK_EVERY == 32
    monkeypatch.setattr(module, "CHECK_EVERY", 2)
    device = on_gpu(make_task(), PLAIN | {"batch_size": 6}, 1)
    assert device.updates == 4
    (look,) = device.during(3)
    assert look.kind == "read"
    assert look.caller.startswith("qtt/finetune/cv/classification/module.py:")
    assert device.during(2) == device.during(4) == []


@pytest.mark.parametrize("opt", ["sgd", "momentum", "adam", "adamw"])
def test_an_update_waits_for_nothing(make_task: MakeTask, opt: str) -> None:
    device = on_gpu(make_task(), RICH | TWO_UPDATES | {"opt": opt}, 1, precision=BF16)
    assert device.updates == 2
    assert device.during(2) == []


def test_adamp_waits_of_its_own(make_task: MakeTask) -> None:
    """Timm's projection looks at every weight with more than one dimension, on the device or not."""
    device = on_gpu(make_task(), RICH | TWO_UPDATES | {"opt": "adamp"}, 1, precision=BF16)
    assert {wait.caller.partition(":")[0] for wait in device.during(2)} == {"timm/optim/adamp.py"}


def test_loss_scaling_waits_once(make_task: MakeTask) -> None:
    device = on_gpu(make_task(), RICH | TWO_UPDATES, 1, precision=FP16)
    assert [wait.caller.partition(":")[0] for wait in device.during(2)] == [SCALER]


def test_regularisers_wait_for_nothing_but_eigenvalues(make_pretrained_task: MakeTask) -> None:
    device = on_gpu(make_pretrained_task(), PLAIN | REGULARIZED | TWO_UPDATES, 1, precision=BF16)
    (wait,) = device.during(2)
    assert wait.kind == "solver"
    assert wait.caller.startswith("qtt/finetune/cv/classification/strategies/bss.py:")


# ------------------------------------------------------------------------ between epochs, and between devices


def test_everything_stays_on_the_device_between_epochs(make_task: MakeTask) -> None:
    task = make_task(settings=CUDA)
    with fake_cuda() as device:
        for epoch in (1, 2, 3):
            begun = len(device.waits)
            assert_trained(run(task, PLAIN | ONE_UPDATE, epoch), epoch)
            moved = [wait for wait in device.waits[begun:] if wait.kind == "copy"]
            moved += [wait for wait in device.waits[begun:] if wait.kind == "upload" and epoch > 1]
            moved = [wait for wait in moved if wait.caller.startswith("lightning/fabric")]
            assert moved == [], f"in epoch {epoch} {len(moved)} tensors move, the first at {moved[0]}"
            learner = held().learner
            moments = [
                value
                for state in learner.optimizer.state.values()
                for name, value in state.items()
                if name != "step"
            ]
            assert all(tensor.is_cuda for tensor in (*learner.network.state_dict().values(), *moments))


def own_flags(task: TaskInfo, config: dict[str, Any]) -> list[Any]:
    """How a new pipeline's optimizer computes on the task's device."""
    settings = FinetuneSettings.from_mapping(task.settings)
    pipeline = Pipeline(Recipe.from_config(config), settings, task, 0, DataStore())
    return [group.get("fused") for group in pipeline.learner.optimizer.param_groups]


@pytest.mark.parametrize("opt", ["adam", "adamw", "sgd", "adamp"])
@pytest.mark.parametrize("devices", [(CPU, CUDA, CPU), (CUDA, CPU, CUDA)], ids=["from-cpu", "from-cuda"])
def test_a_pipeline_goes_on_on_another_device(
    make_task: MakeTask, devices: tuple[dict[str, str], ...], opt: str
) -> None:
    config = PLAIN | ONE_UPDATE | {"opt": opt}
    task = make_task()
    for epoch, settings in enumerate(devices, 1):
        here = placed(task, settings)
        with fake_cuda() if settings is CUDA else nullcontext():
            expected = own_flags(here, config)
            assert_trained(run(here, config, epoch), epoch)
            assert [group.get("fused") for group in held().learner.optimizer.param_groups] == expected
            forget()
        saved = checkpoint(task)
        assert len(saved["progress"]["records"]) == epoch
        for state in saved["optimizer"]["state"].values():
            assert all(value.device.type == "cpu" for value in state.values() if isinstance(value, Tensor))


def test_a_pipeline_goes_on_in_another_process(make_task: MakeTask) -> None:
    """With the state of the loss scaling, which half precision alone has."""
    on_gpu(make_task(), RICH | ONE_UPDATE, 1, precision=FP16)
    forget()
    on_gpu(make_task(), RICH | ONE_UPDATE, 2, precision=FP16)


# ------------------------------------------------------------------------------------ the rest takes minutes

RECIPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "frozen": {"pct_to_freeze": 0.4},
    "probing": {"linear_probing": True},
    "probing-regularised": {"linear_probing": True} | REGULARIZED,
    "layer-decay": {"layer_decay": 0.75},
    "stochastic-norm": {"stoch_norm": True},
    "frozen-stochastic-norm": {"stoch_norm": True, "pct_to_freeze": 0.4},
    "sp": {"sp_reg": 0.1},
    "delta": {"delta_reg": 0.1},
    "delta-sp": {"delta_reg": 0.1, "sp_reg": 0.1},
    "bss": {"bss_reg": 0.1},
    "cotuning": {"cotuning_reg": 1.0},
    "cotuning-mixed": {"cotuning_reg": 1.0, "mixup": 1.0, "mixup_prob": 1.0},
    "mixup": {"mixup": 1.0, "mixup_prob": 1.0},
    "cutmix": {"cutmix": 1.0, "mixup_prob": 1.0},
    "smoothing": {"smoothing": 0.1},
    "dropout": {"drop": 0.4},
    "dropout-delta": {"drop": 0.4, "delta_reg": 0.1},
    "clipping": {"clip_grad": 1},
    "trivial": {"data_augmentation": "trivial_augment"},
    "random": {"data_augmentation": "random_augment", "ra_num_ops": 2, "ra_magnitude": 9},
    "auto": {"data_augmentation": "auto_augment", "auto_augment": "v0"},
    "sgd": {"opt": "sgd"},
    "momentum": {"opt": "momentum", "momentum": 0.8},
    "adam": {"opt": "adam", "weight_decay": 0.1},
    "adamp": {"opt": "adamp", "weight_decay": 0.1},
    "plateau": {"sched": "plateau", "patience_epochs": 2},
    "rich": RICH | REGULARIZED,
}


@pytest.fixture
def family_task(make_task: MakeTask, tmp_path: Path) -> Callable[[str], TaskInfo]:
    """A task with one of the families, and weights of it as if pretrained."""

    def make(name: str) -> TaskInfo:
        save_file(build(name, SOURCE_CLASSES).state_dict(), tmp_path / f"{name}.safetensors")
        card = replace(make_card(name), num_classes=SOURCE_CLASSES)
        return make_task(weights_dir=tmp_path, models=(card,), settings={"pretrained": True})

    return make


@pytest.mark.slow
@pytest.mark.parametrize("model", [*FAMILIES, *TABLE4_FAMILIES])
def test_every_family_takes_all_regularisers(family_task: Callable[[str], TaskInfo], model: str) -> None:
    config = PLAIN | REGULARIZED | {"model": model, "batch_size": 12, "drop": 0.2, "clip_grad": 1}
    on_gpu(family_task(model), config, 2, precision=BF16)
    assert len(held().regularizers.terms) == 4


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe(make_pretrained_task: MakeTask, recipe: str, precision: str) -> None:
    config = PLAIN | {"batch_size": 12} | RECIPES[recipe]
    on_gpu(make_pretrained_task(), config, 2, precision=precision)
