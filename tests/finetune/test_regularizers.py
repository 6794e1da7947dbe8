"""The four regularisers in whole pipelines, from real weights files."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models import FAMILIES, build
from pipelines import RICH, checkpoint, forget, learned, run
from qtt.finetune.cv.classification import epoch
from qtt.finetune.cv.classification.data import DataStore
from qtt.finetune.cv.classification.pipeline import Pipeline
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.finetune.cv.classification.strategies.delta import Delta
from qtt.finetune.cv.classification.strategies.sp import SP
from qtt.types import TaskInfo

MakeTask = Callable[..., TaskInfo]
pytestmark = pytest.mark.usefixtures("cold")
TERMS = {"sp_reg": 0.01, "delta_reg": 0.1, "bss_reg": 0.1, "cotuning_reg": 1.0}
ALL = RICH | TERMS | {"stoch_norm": True, "lr": 1e-3}


def _pipeline(task: TaskInfo, recipe: Recipe) -> Pipeline:
    return Pipeline(recipe, FinetuneSettings.from_mapping(task.settings), task, 0, DataStore())


@pytest.mark.parametrize(
    ("model", "terms"),
    [("test_resnet", TERMS), ("test_vit", TERMS), ("test_resnet", {"sp_reg": 0.1})],
    ids=["resnet", "vit", "sp alone"],
)
def test_steps_of_one_epoch_are_one_step_of_three(
    make_pretrained_task: MakeTask, tmp_path: Path, model: str, terms: dict[str, Any]
) -> None:
    """Bit for bit, warm and cold: source, anchors and relationship come back from the weights."""
    config = RICH | terms | {"model": model, "lr": 1e-3, "stoch_norm": True}
    whole, warm, cold = (make_pretrained_task(work_dir=tmp_path / name) for name in ("whole", "warm", "cold"))
    expected = run(whole, config, 3)
    results = run(warm, config, 1, 2, 3)
    assert learned(results) == learned(expected)
    results = []
    for fidelity in (1, 2, 3):
        forget()
        torch.manual_seed(fidelity)  # whatever happened before
        results += run(cold, config, fidelity)
    assert learned(results) == learned(expected)
    weights = [checkpoint(task)["network"] for task in (whole, warm, cold)]
    for name, tensor in weights[0].items():
        assert torch.equal(tensor, weights[1][name]) and torch.equal(tensor, weights[2][name]), name


@pytest.mark.parametrize("model", FAMILIES)
def test_every_family_trains_with_all_of_them(make_pretrained_task: MakeTask, model: str) -> None:
    """What is saved is timm's model, and nothing of the source."""
    task = make_pretrained_task(best_score=-1.0)
    (result,) = run(task, ALL | {"model": model}, 1)
    assert set(result.info) == {"train_loss", "val_loss", "lr", "stderr", "examples", "baseline"}
    names = build(model).state_dict().keys()
    state = checkpoint(task)
    assert state["network"].keys() == names
    assert load_file(task.weights_file(0, 1)).keys() == names
    held = [value for moments in state["optimizer"]["state"].values() for value in moments.values()]
    assert len(state["optimizer"]["state"]) == len(list(build(model).parameters()))
    network = sum(tensor.numel() for tensor in build(model).parameters())
    assert sum(tensor.numel() for tensor in held if tensor.ndim) == 2 * network  # Adam's two moments alone


@pytest.mark.parametrize(
    "options",
    [
        {"pct_to_freeze": 1.0},
        {"linear_probing": True},
        {"pct_to_freeze": 0.6},
        {"batch_size": 1, "model": "test_vit"},
        {"amp": True},
        {"opt": "sgd", "momentum": None},
    ],
    ids=str,
)
def test_they_get_along_with(make_pretrained_task: MakeTask, options: dict[str, Any]) -> None:
    config = {name: value for name, value in (ALL | options).items() if value is not None}
    assert run(make_pretrained_task(), config, 1)[0].succeeded


def test_probing_is_the_same_with_and_without_them(make_pretrained_task: MakeTask, tmp_path: Path) -> None:
    """Nothing that they pull at can move, so they are not even computed."""
    config = RICH | {"linear_probing": True}
    plain, regularized = (
        run(make_pretrained_task(work_dir=tmp_path / str(index)), config | terms, 2)
        for index, terms in enumerate(({}, {"delta_reg": 0.1, "bss_reg": 0.1, "cotuning_reg": 1.0}))
    )
    assert learned(plain) == learned(regularized)


def test_the_source_is_not_trained_and_sp_shares_its_weights(make_pretrained_task: MakeTask) -> None:
    task = make_pretrained_task()
    pipeline = _pipeline(task, Recipe("test_resnet", opt="sgd", lr=0.1, batch_size=8, **TERMS))
    delta, sp = (
        next(term for term in pipeline.regularizers.terms if isinstance(term, kind)) for kind in (Delta, SP)
    )
    source = delta.source.model
    assert {tensor.data_ptr() for tensor in sp.anchors} < {p.data_ptr() for p in source.parameters()}
    pipeline.train_epoch()
    file = load_file(task.weights_dir / "test_resnet.safetensors")
    for name, tensor in source.state_dict().items():
        assert torch.equal(tensor, file[name]), name
    moved = pipeline.learner.network.state_dict()
    assert not torch.equal(moved["layer4.0.conv1.weight"], file["layer4.0.conv1.weight"])
    assert not any(module.training for module in source.modules())
    weights = sum(tensor.nbytes for tensor in file.values())
    assert weights < pipeline.regularizers.nbytes < weights + 10_000  # and the relationship


def test_anchors_are_the_start_also_after_a_restore(make_pretrained_task: MakeTask) -> None:
    task = make_pretrained_task()
    recipe = Recipe("test_resnet", lr=1e-2, batch_size=8, sp_reg=0.1)
    pipeline = _pipeline(task, recipe)
    pipeline.train_epoch()
    restored = _pipeline(task, recipe)
    restored.restore(pipeline.progress, pipeline.state())
    file = load_file(task.weights_dir / "test_resnet.safetensors")
    names = [name for name, _ in restored.learner.network.named_parameters() if not name.startswith("fc.")]
    (term,) = restored.regularizers.terms
    assert isinstance(term, SP)
    assert all(torch.equal(a, file[name]) for a, name in zip(term.anchors, names, strict=True))
    assert all(not torch.equal(w, a) for w, a in zip(term.weights, term.anchors, strict=True) if w.ndim > 1)


def test_stronger_pulls_stay_nearer(make_pretrained_task: MakeTask) -> None:
    """SP in weights, DELTA in features of unseen images: the distances that they penalise shrink."""

    def distances(**options: float) -> tuple[float, float]:
        recipe = Recipe("test_vit", opt="adamw", lr=1e-3, batch_size=8, sched=None, **options)
        pipeline = _pipeline(make_pretrained_task(), recipe)
        before = _pipeline(make_pretrained_task(), recipe).learner.network.eval()
        for _ in range(3):
            pipeline.train_epoch()
        after = pipeline.learner.network.eval()
        images = pipeline.module.normalize(pipeline.val_loader._split.images.batch(np.arange(12)).float())
        pairs = zip(before.state_dict().items(), after.state_dict().values(), strict=True)
        weights = sum(float((a - b).square().sum()) for (name, a), b in pairs if "head" not in name)
        with torch.no_grad():
            features = [n.forward_head(n.forward_features(images), pre_logits=True) for n in (before, after)]
        return weights, float((features[0] - features[1]).square().sum())

    free = distances()
    assert distances(sp_reg=1.0)[0] < 0.5 * free[0]
    assert distances(delta_reg=1.0)[1] < 0.2 * free[1]


def test_what_is_not_applicable_is_said_once_and_in_every_result(
    make_task: MakeTask, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epoch, "_said", set())
    caplog.set_level(logging.INFO)
    reason = "training starts from random weights (pretrained=false)"
    results = run(make_task(), RICH | {"cotuning_reg": 1.0}, 1, 2)
    forget()
    results += run(make_task(), RICH | {"cotuning_reg": 1.0}, 3)
    assert [result.info["not_applicable"] for result in results] == [{"cotuning_reg": reason}] * 3
    said = f"cotuning_reg is not applicable: {reason}. Training goes on without it."
    assert [record.getMessage() for record in caplog.records].count(said) == 1
