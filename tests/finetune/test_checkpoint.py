"""Deaths, full disks and removed folders: whatever happens, a pipeline's curve is the same."""

import os
import random
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pipelines import PLAIN, RICH, AtOnce, Late, checkpoint, forget, learned, run
from qtt.errors import ConfigError
from qtt.finetune.cv.classification import finetune_script, objective, writer
from qtt.finetune.cv.classification.checkpoint import NAME, Progress, load_checkpoint, save_checkpoint
from qtt.finetune.cv.classification.epoch import run_epoch
from qtt.finetune.cv.classification.writer import CheckpointError, CheckpointWriter
from qtt.types import TaskInfo, Trial

MakeTask = Callable[..., TaskInfo]
pytestmark = pytest.mark.usefixtures("cold")


def test_weights_that_reach_the_incumbents_score_are_left_for_the_tuner(make_task: MakeTask) -> None:
    task = make_task(best_score=0.1)
    results = run(task, PLAIN, 4)
    best = 0.1
    for result in results:
        assert task.weights_file(0, result.fidelity).exists() == (result.score >= best)
        best = max(best, result.score)
    last = [result.fidelity for result in results if task.weights_file(0, result.fidelity).exists()][-1]
    if last == 4:
        saved = load_file(task.weights_file(0, 4))
        assert all(torch.equal(saved[name], tensor) for name, tensor in checkpoint(task)["network"].items())
    run(replace(task, best_score=1.1), PLAIN, 5)
    assert not task.weights_file(0, 5).exists()


def test_killed_between_checkpoint_and_journal(make_task: MakeTask, monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task()
    whole = run(task, PLAIN, 1, 3)
    forget()

    def no_training(*_: object, **__: object) -> None:
        raise AssertionError("these epochs are in the checkpoint")

    monkeypatch.setattr("qtt.finetune.cv.classification.pipeline.run_epoch", no_training)
    assert run(task, PLAIN, 3) == whole[1:]  # the step from 1 to 3, again, with its costs
    forget()
    assert run(task, PLAIN, 2) == whole[:2]  # a caller that knows less than the checkpoint
    monkeypatch.setattr("qtt.finetune.cv.classification.pipeline.run_epoch", run_epoch)
    assert [result.fidelity for result in run(task, PLAIN, 4)] == [4]


def test_killed_in_the_middle_of_a_step(make_task: MakeTask, tmp_path: Path) -> None:
    expected = run(make_task(work_dir=tmp_path / "whole"), RICH, 4)
    task = make_task(work_dir=tmp_path / "killed")
    run(task, RICH, 1)
    step = finetune_script(Trial(0, RICH, 4), task)
    assert learned([next(step)]) == learned(expected[1:2])
    step.close()
    objective._writer.wait()  # a dead process writes no more
    forget()
    temporary = task.pipeline_dir(0) / ".last.ckpt.tmp"
    temporary.write_bytes(b"half a checkpoint")
    assert learned(run(task, RICH, 4)) == learned(expected[1:])  # epoch 2 again, from the checkpoint
    best = -1.0
    for result in expected:  # only what beat everything before it is kept for the tuner
        assert task.weights_file(0, result.fidelity).exists() == (result.score > best)
        best = max(best, result.score) if result.fidelity > 1 else -1.0
    assert not temporary.exists()


class Killed(BaseException):
    """The end of a process, at a chosen moment."""


@pytest.mark.parametrize("thread", [AtOnce, Late])
def test_killed_anywhere_while_writing(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, thread: type[AtOnce]
) -> None:
    """Stop before or after any call that touches the disk; the step, asked again, reports everything."""
    config = PLAIN | {"batch_size": 24}
    expected = learned(run(make_task(work_dir=None, max_fidelity=2), config, 2))
    for moment in range(14):
        forget()
        task = make_task(best_score=-1.0, max_fidelity=2, work_dir=tmp_path / f"{moment}")
        seen = []
        with monkeypatch.context() as patch:
            patch.setattr(writer, "Thread", thread)
            _die_at(moment, patch)
            with pytest.raises(Killed):
                for result in finetune_script(Trial(0, config, 2), task):
                    seen.append(result)  # noqa: PERF402 - what came before the end counts
        assert learned(seen) == expected[: len(seen)]
        forget()
        assert learned(run(task, config, 2)) == expected
        assert not list(task.pipeline_dir(0).glob(".*"))


def _die_at(moment: int, patch: pytest.MonkeyPatch) -> None:
    """Raise `Killed` before or after some call that touches the disk; two moments for each."""
    moments = iter(range(100))

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        def calling(*args: Any, **kwargs: Any) -> Any:
            if next(moments) == moment:
                raise Killed
            done = call(*args, **kwargs)
            if next(moments) == moment:
                raise Killed
            return done

        return calling

    patch.setattr(os, "fsync", watched(os.fsync))
    patch.setattr(torch, "save", watched(torch.save))
    patch.setattr(Path, "replace", watched(Path.replace))


@pytest.mark.parametrize("known", [1, 2])
def test_killed_between_result_and_checkpoint(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch, known: int
) -> None:
    """The journal is an epoch ahead: that epoch comes again, the same, and then the next."""
    expected = learned(run(make_task(work_dir=None), RICH, 3))
    task = make_task()
    run(task, RICH, *range(1, known))
    with monkeypatch.context() as patch:
        patch.setattr(writer, "Thread", Late)
        assert learned(list(finetune_script(Trial(0, RICH, known), task))) == expected[known - 1 : known]
    forget()
    assert learned(run(task, RICH, known + 1)) == expected[known - 1 : known + 1]


def test_the_next_epoch_does_not_wait_for_the_checkpoint(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = learned(run(make_task(work_dir=None, max_fidelity=3), PLAIN, 3))
    task = make_task(max_fidelity=3)
    with monkeypatch.context() as patch:
        patch.setattr(writer, "Thread", Late)
        assert learned(list(finetune_script(Trial(0, PLAIN, 1), task))) == expected[:1]
        assert not (task.pipeline_dir(0) / NAME).exists()
        assert learned(list(finetune_script(Trial(0, PLAIN, 2), task))) == expected[1:2]
        assert len(checkpoint(task)["progress"]["records"]) == 1  # waited for by the second
        assert learned(list(finetune_script(Trial(0, PLAIN, 3), task))) == expected[2:]
    assert len(checkpoint(task)["progress"]["records"]) == 3  # the last epoch of all is waited for


def _full(_: int) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_fails_the_next_step_and_keeps_the_last_checkpoint(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = learned(run(make_task(work_dir=None), PLAIN, 4))
    task = make_task()
    run(task, PLAIN, 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _full)
        patch.setattr(writer, "Thread", Late)  # else the step may hear of it before it ends
        assert learned(run(task, PLAIN, 2)) == expected[1:2]
        assert "epoch 2 could not be written ([Errno 28] No space left" in caplog.text
        with pytest.raises(CheckpointError, match=r"0000/last\.ckpt of epoch 2 .* No space left .* room"):
            run(task, PLAIN, 3)
    assert not list(task.pipeline_dir(0).glob(".*"))
    assert len(checkpoint(task)["progress"]["records"]) == 1
    assert learned(run(task, PLAIN, 3)) == expected[2:3]  # it went on from memory
    forget()
    assert learned(run(task, PLAIN, 4)) == expected[3:]


def test_a_pipeline_that_could_not_be_written_goes_on_from_disk(
    make_task: MakeTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = learned(run(make_task(work_dir=None), PLAIN, 3))
    task = make_task()
    run(task, PLAIN, 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", _full)
        patch.setattr(writer, "Thread", Late)  # else the step may hear of it before it ends
        run(task, PLAIN, 2)
    forget()
    assert learned(run(task, PLAIN, 3)) == expected[1:]


def test_a_removed_folder_stays_away(make_task: MakeTask, monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task()
    with monkeypatch.context() as patch:
        patch.setattr(writer, "Thread", Late)
        (first,) = finetune_script(Trial(0, PLAIN, 1), task)
        shutil.rmtree(task.pipeline_dir(0))
        objective._writer.wait()
    assert not task.pipeline_dir(0).exists()
    assert [result.fidelity for result in run(task, PLAIN, 2)] == [2]
    forget()
    shutil.rmtree(task.pipeline_dir(0))
    assert learned(run(task, PLAIN, 1)) == learned([first])


def test_one_copy_at_a_time_and_none_of_what_comes_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / name / NAME for name in ("a", "b")]
    running: list[Path] = []

    def slow(path: Path, *args: Any) -> None:
        running.append(path)
        time.sleep(0.1)
        assert running == [path]
        save_checkpoint(path, *args)
        running.remove(path)

    monkeypatch.setattr(writer, "save_checkpoint", slow)
    checkpoints = CheckpointWriter()
    weight = torch.zeros(3)
    for number, path in enumerate(paths, start=1):
        weight.fill_(number)
        state = {"network": {"weight": weight}, "optimizer": {"groups": [{"betas": (0.9, 0.99)}]}}
        checkpoints.submit(path, "identity", Progress(), state)
    weight.fill_(7)
    checkpoints.wait()
    for number, path in enumerate(paths, start=1):
        content = torch.load(path, weights_only=True)
        assert content["network"]["weight"].tolist() == [number] * 3
        assert content["optimizer"] == {"groups": [{"betas": (0.9, 0.99)}]}


def test_an_evicted_checkpoint_starts_the_curve_again(make_task: MakeTask) -> None:
    task = make_task()
    first = run(task, PLAIN, 2)
    (task.pipeline_dir(0) / "last.ckpt").unlink()
    assert learned(run(task, PLAIN, 2)) == learned(first)


def test_checkpoints_hold_plain_data(make_task: MakeTask) -> None:
    task = make_task()
    results = run(task, PLAIN, 2)
    content = checkpoint(task)  # loads with weights_only=True
    records = content["progress"]["records"]
    assert [record["score"] for record in records] == [result.score for result in results]
    assert [record["cost"] for record in records] == [result.cost for result in results]
    assert [path.name for path in task.pipeline_dir(0).glob("*.ckpt*")] == ["last.ckpt"]


@pytest.mark.parametrize(
    "change",
    [
        lambda task, config: (replace(task, seed=1), config),
        lambda task, config: (replace(task, settings=task.settings | {"hflip": 0.5}), config),
        lambda task, config: (replace(task, max_fidelity=20), config),
        lambda task, config: (task, config | {"lr": 1e-4}),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(make_task: MakeTask, change: Any) -> None:
    task = make_task()
    run(task, PLAIN, 1)
    with pytest.raises(ConfigError, match=r"0000/last\.ckpt was written for another pipeline"):
        other, config = change(task, PLAIN)
        run(other, config, 2)
    assert [result.fidelity for result in run(task, PLAIN, 2)] == [2]


@pytest.mark.parametrize("length", [0, 100, 5000])
def test_with_a_torn_checkpoint_a_pipeline_is_trained_anew(
    make_task: MakeTask, length: int, caplog: pytest.LogCaptureFixture
) -> None:
    task = make_task()
    undisturbed = run(task, PLAIN, 2)
    shutil.rmtree(task.pipeline_dir(0))
    forget()
    run(task, PLAIN, 1)
    forget()
    path = task.pipeline_dir(0) / NAME
    path.write_bytes(path.read_bytes()[:length])
    again = run(task, PLAIN, 2)
    assert [result.score for result in again] == [result.score for result in undisturbed]
    assert "last.ckpt cannot be read" in caplog.text and "trained anew" in caplog.text


def test_no_flipped_bit_of_a_checkpoint_changes_what_it_says(tmp_path: Path) -> None:
    path, rng = tmp_path / NAME, random.Random(0)
    state = {"network": {"weight": torch.randn(40, 40)}, "optimizer": {"lr": 0.1, "steps": [1, 2, 3]}}
    save_checkpoint(path, "print", Progress(({"score": 0.5},), 0, 1), state)
    whole = path.read_bytes()
    told, refused = load_checkpoint(path, "print"), 0
    for _ in range(400):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            found = load_checkpoint(path, "print")
        except ConfigError:
            refused += 1
        else:  # a bit of the padding between records
            assert str(found) == str(told)
            assert torch.equal(found[1]["network"]["weight"], state["network"]["weight"])
    assert refused > 300
