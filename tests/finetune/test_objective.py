import json
import logging
import multiprocessing
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from images import write_image_folder
from models import FAMILIES
from pipelines import PLAIN, RICH, checkpoint, forget, learned, run
from qtt.errors import ConfigError, DatasetError, EnvironmentFault
from qtt.finetune.cv.classification import objective
from qtt.finetune.cv.classification.checkpoint import load_checkpoint
from qtt.finetune.cv.classification.data import DataStore, TrainOrder
from qtt.finetune.cv.classification.forward import TrainingDiverged
from qtt.finetune.cv.classification.model import build_network
from qtt.finetune.cv.classification.module import ClassificationModule
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.finetune.cv.classification.warm import WarmPipelines
from qtt.types import Result, TaskInfo, Trial

MakeTask = Callable[..., TaskInfo]
pytestmark = pytest.mark.usefixtures("cold")


def assert_same_state(first: dict[str, Any], second: dict[str, Any]) -> None:
    for name, tensor in first["network"].items():
        assert torch.equal(tensor, second["network"][name]), name
    for index, state in first["optimizer"]["state"].items():
        for name, value in state.items():
            other = second["optimizer"]["state"][index][name]
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(other)), (index, name)
    assert first["optimizer"]["param_groups"] == second["optimizer"]["param_groups"]
    assert first["schedule"] == second["schedule"]


@pytest.mark.parametrize("model", ["test_resnet", "test_vit"])
@pytest.mark.parametrize("opt", ["adamw", "adamp", "sgd"])
def test_steps_of_one_epoch_are_one_step_of_three(
    make_task: MakeTask, tmp_path: Path, model: str, opt: str
) -> None:
    config = RICH | {"model": model, "opt": opt, "lr": 1e-3}
    whole = make_task(work_dir=tmp_path / "whole")
    expected = run(whole, config, 3)
    warm = make_task(work_dir=tmp_path / "warm")
    assert learned(run(warm, config, 1, 2, 3)) == learned(expected)
    cold = make_task(work_dir=tmp_path / "cold")
    results = []
    for fidelity in (1, 2, 3):
        forget()
        torch.manual_seed(fidelity)  # whatever happened before
        results += run(cold, config, fidelity)
    assert learned(results) == learned(expected)
    assert_same_state(checkpoint(warm), checkpoint(whole))
    assert_same_state(checkpoint(cold), checkpoint(whole))
    assert [result.fidelity for result in expected] == [1, 2, 3]


def test_another_process_goes_on_as_this_one_would(make_task: MakeTask, tmp_path: Path) -> None:
    expected = run(make_task(work_dir=tmp_path / "whole"), RICH, 2)
    task = make_task(work_dir=tmp_path / "split")
    run(task, RICH, 1)
    code = (
        "import json, sys; from qtt.finetune.cv.classification import finetune_script;"
        "from qtt.types import TaskInfo, Trial; trial, task = json.load(sys.stdin);"
        "found = finetune_script(Trial.from_dict(trial), TaskInfo.from_dict(task));"
        "print(json.dumps([result.to_dict() for result in found]))"
    )
    sent = json.dumps([Trial(0, RICH, 2).to_dict(), task.to_dict()])
    done = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True, text=True)
    assert done.stderr == ""
    results = [Result.from_dict(result) for result in json.loads(done.stdout)]
    assert learned(results) == learned(expected[1:])


def test_pipelines_that_take_turns_do_not_disturb_each_other(make_task: MakeTask, tmp_path: Path) -> None:
    alone = make_task(work_dir=tmp_path / "alone")
    expected = [learned(run(alone, RICH, 3, config_id=i)) for i in range(6)]
    together = make_task(work_dir=tmp_path / "together")
    found: list[list[Any]] = [[] for _ in range(6)]
    for fidelity in (1, 2, 3):
        for config_id in range(6):  # more than are kept in memory
            found[config_id] += learned(run(together, RICH, fidelity, config_id=config_id))
    assert found == expected
    assert len({str(results) for results in expected}) == 6  # ids differ, so do their draws


@pytest.mark.parametrize(("count", "megabytes", "kept"), [(2, 100, [1, 2]), (4, 0, [2]), (4, 100, [0, 1, 2])])
def test_few_pipelines_stay_in_memory(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch, count: int, megabytes: int, kept: list[int]
) -> None:
    monkeypatch.setattr(objective, "_warm", WarmPipelines(count, megabytes * 2**20))
    task = make_task()
    for config_id in range(3):
        run(task, PLAIN, 1, config_id=config_id)
    held = [pipeline for pipeline, _ in objective._warm._held.values()]
    assert [pipeline.config_id for pipeline in held] == kept
    parameters = sum(p.nbytes for p in held[-1].learner.network.parameters())
    assert 3 * parameters < held[-1].nbytes < 3.2 * parameters  # weights and two moments of AdamW


def test_learns_and_reports(make_task: MakeTask) -> None:
    task = make_task()
    results = run(task, PLAIN, 8)
    assert results[-1].score == 1.0
    assert results[-1].info["train_loss"] < results[0].info["train_loss"] / 2
    for result in results:
        assert result.cost > 0
        assert set(result.info) == {"train_loss", "val_loss", "lr", "stderr", "examples", "baseline"}
        assert json.loads(json.dumps(result.to_dict())) == result.to_dict()


def test_score_and_losses_are_what_a_plain_loop_finds(make_task: MakeTask) -> None:
    task = make_task()
    result = run(task, PLAIN, 1)[0]
    network = build_network(Recipe("test_resnet"), FinetuneSettings(pretrained=False), task, 0)
    network.load_state_dict(checkpoint(task)["network"])
    _, val = DataStore().splits(task, FinetuneSettings(), 32, "bicubic")
    card = task.card("test_resnet")
    images = val.images.batch(np.arange(12)) / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (card.mean, card.std))
    with torch.no_grad():
        logits = network.eval()((images - mean) / std)
    assert result.score == (logits.argmax(1) == val.labels).sum().item() / 12
    expected = functional.cross_entropy(logits, val.labels).item()
    assert result.info["val_loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("clip_grad", [None, 1.0])
@pytest.mark.parametrize("model", ["test_vit", "test_resnet", "test_efficientnet"])
def test_training_is_what_a_plain_loop_does(make_task: MakeTask, model: str, clip_grad: float | None) -> None:
    task = make_task(settings={"crop_area": 1.0})
    config = {"model": model, "opt": "momentum", "momentum": 0.8, "lr": 0.02, "batch_size": 8}
    config |= {"smoothing": 0.1, "clip_grad": clip_grad, "sched": None}
    result = run(task, config, 1, config_id=5)[0]
    network = build_network(Recipe(model), FinetuneSettings(pretrained=False), task, 5).train()
    train, _ = DataStore().splits(task, FinetuneSettings(), 32, "bicubic")
    card = task.card(model)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (card.mean, card.std))
    start = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    velocity = {name: torch.zeros_like(parameter) for name, parameter in network.named_parameters()}
    losses = []
    for indices, _ in TrainOrder(24, 8, task.seed, 5):
        images = (train.images.batch(indices) / 255 - mean) / std
        loss = functional.cross_entropy(network(images), train.labels[indices], label_smoothing=0.1)
        network.zero_grad()
        loss.backward()
        losses.append(loss.item())
        norm = torch.cat([p.grad.flatten() for p in network.parameters()]).norm()
        factor = 1.0 if clip_grad is None else min(1.0, clip_grad / norm.item())
        assert norm > 1  # so that clipping matters
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                velocity[name] = 0.8 * velocity[name] + factor * parameter.grad
                parameter -= 0.02 * velocity[name]
    trained = checkpoint(task, 5)["network"]
    for name, parameter in network.named_parameters():
        moved = (parameter.detach() - start[name]).norm()
        assert (trained[name] - parameter.detach()).norm() <= 0.02 * moved + 1e-6, name
    assert result.info["train_loss"] == pytest.approx(sum(losses) / 3, rel=1e-4)


@pytest.mark.parametrize("model", ["test_resnet", "test_efficientnet", "test_vit"])
@pytest.mark.parametrize("probe", [{"linear_probing": True}, {"pct_to_freeze": 1.0}])
def test_linear_probing_changes_the_head_alone(
    make_task: MakeTask, model: str, probe: dict[str, Any]
) -> None:
    task = make_task()
    run(task, PLAIN | probe | {"model": model}, 2)
    before = build_network(Recipe(model), FinetuneSettings(pretrained=False), task, 0).state_dict()
    after = checkpoint(task)["network"]
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert {name.rsplit(".", 1)[-1] for name in changed} == {"weight", "bias"}  # no running_mean
    assert len(changed) == 2


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_trains_with_everything_on(make_task: MakeTask, name: str) -> None:
    results = run(make_task(), RICH | {"model": name, "pct_to_freeze": 0.4}, 1)
    assert [result.fidelity for result in results] == [1]


@pytest.mark.parametrize("images", [5, 9])
def test_odd_batches_and_single_images(make_task: MakeTask, tmp_path: Path, images: int) -> None:
    root = write_image_folder(tmp_path / "odd", {"train": images, "val": 1})
    task = make_task(path=root)  # 15 or 27 images: batches of 2, of which the last has 3
    assert run(task, RICH | {"batch_size": 2}, 1)[0].succeeded
    assert run(task, RICH | {"batch_size": 13}, 1, config_id=1)[0].succeeded  # 13 + 2, 13 + 14


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # how torch starts its workers
def test_where_it_runs_does_not_matter(make_task: MakeTask) -> None:
    task = make_task()
    run(task, PLAIN, 1)
    expected = run(make_task(work_dir=None), PLAIN, 3)
    moved = replace(task, settings=task.settings | {"cache_mb": 0})
    assert learned(run(moved, PLAIN, 2)) == learned(expected[1:2])
    busier = replace(task, settings=task.settings | {"num_workers": 1})
    assert learned(run(busier, PLAIN, 3)) == learned(expected[2:])


def test_without_a_folder_nothing_is_written(make_task: MakeTask, tmp_path: Path) -> None:
    task = make_task(work_dir=None)
    results = run(task, PLAIN, 1, 2)
    assert [result.fidelity for result in results] == [1, 2]
    forget()
    assert learned(run(task, PLAIN, 2)) == learned(results)
    assert list(tmp_path.iterdir()) == []


def test_divergence_fails_with_a_reason_and_keeps_the_last_epoch(make_task: MakeTask) -> None:
    task = make_task()
    config = PLAIN | {"opt": "sgd", "lr": 1e20, "warmup_epochs": 1, "warmup_lr": 1e-9, "batch_size": 24}
    assert run(task, config, 1)[0].succeeded  # one update, at the learning rate of the warm-up's start
    with pytest.raises(TrainingDiverged, match="loss"):
        run(task, config, 4)
    assert not objective._warm._held
    kept = load_checkpoint(task.pipeline_dir(0) / "last.ckpt", checkpoint(task)["fingerprint"])
    assert kept is not None
    assert all(
        torch.isfinite(tensor).all() for tensor in kept[1]["network"].values() if tensor.is_floating_point()
    )


def test_a_damaged_image_fails_the_trial_by_name(make_task: MakeTask, tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "set")
    (root / "val" / "blue" / "001.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"val/blue/001\.png cannot be read"):
        run(make_task(path=root), PLAIN, 1)


def test_impossible_requests(make_task: MakeTask) -> None:
    with pytest.raises(ConfigError, match="until epoch 51, but schedules end at 50"):
        run(make_task(), PLAIN, 51)
    with pytest.raises(ConfigError, match=r"sp_reg=-1 is impossible"):
        run(make_task(), PLAIN | {"sp_reg": -1}, 1)
    if not torch.cuda.is_available():
        with pytest.raises(EnvironmentFault, match="device=cuda, but torch finds no CUDA device"):
            run(make_task(settings={"device": "cuda"}), PLAIN, 1)
    with pytest.raises(ConfigError, match="'imagesize'"):
        run(make_task(settings={"imagesize": 3}), PLAIN, 1)


def test_nothing_is_printed_and_global_states_stay(
    make_task: MakeTask, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    threads = torch.get_num_threads()
    run(make_task(), RICH, 1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.name.startswith("lightning")] == []


def test_amp_changes_nothing_on_the_cpu_and_says_so_once(
    make_task: MakeTask, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qtt.finetune.cv.classification.epoch._said", set())
    caplog.set_level(logging.INFO)
    with_amp = run(make_task(work_dir=None), PLAIN | {"amp": True}, 1)
    run(make_task(work_dir=None), PLAIN | {"amp": True}, 1, config_id=1)
    assert learned(with_amp) == learned(run(make_task(work_dir=None), PLAIN, 1))
    assert [record.message for record in caplog.records if "amp" in record.message] == [
        "amp=True changes nothing on the CPU: training stays in 32 bits."
    ]


def test_an_interrupt_stays_an_interrupt(make_task: MakeTask, monkeypatch: pytest.MonkeyPatch) -> None:
    import signal

    from qtt.finetune.cv.classification.module import ClassificationModule

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(ClassificationModule, "training_step", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(make_task(), PLAIN, 1)
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # how torch starts its workers
def test_a_lost_worker_costs_no_epoch(make_task: MakeTask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1
    )  # when torch looks for the dead
    expected = run(make_task(work_dir=None), RICH, 3)
    forget()
    killed = set()
    train = ClassificationModule.training_step

    def kill(module: ClassificationModule, batch: Any, batch_idx: int) -> Any:
        for worker in multiprocessing.active_children():
            killed.add(worker.pid)
            worker.kill()
        return train(module, batch, batch_idx)

    task = make_task(settings={"num_workers": 1})
    assert learned(run(task, RICH, 1)) == learned(expected[:1])
    monkeypatch.setattr(ClassificationModule, "training_step", kill)
    assert learned(run(task, RICH, 2, 3)) == learned(expected[1:])
    assert len(killed) == 1


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_workers_stay_between_epochs_steps_and_pipelines(make_task: MakeTask) -> None:
    task = make_task(settings={"num_workers": 1})
    seen = []
    for config_id, fidelity in ((0, 1), (1, 1), (0, 3), (1, 2)):
        run(task, PLAIN, fidelity, config_id=config_id)
        seen += [worker.pid for worker in multiprocessing.active_children()]
    assert len(seen) == 4
    assert len(set(seen)) == 1
