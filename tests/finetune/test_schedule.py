"""Learning rates of every parameter over all 50 epochs, update by update, against the written schedules."""

import math
from collections.abc import Callable, Collection, Sequence
from functools import cache
from typing import Any

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from models import build
from qtt.finetune.cv.classification.data import DataStore
from qtt.finetune.cv.classification.model import build_optimizer
from qtt.finetune.cv.classification.pipeline import Pipeline
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.schedule import Schedule, milestones
from qtt.finetune.cv.classification.settings import FinetuneSettings
from qtt.types import TaskInfo

EPOCHS, UPDATES, LR = 50, 3, 0.01
NAMES = ("test_vit", "test_resnet", "test_convnext")
SCHEDULES: list[dict[str, Any]] = [
    {"sched": None},
    {"sched": "cosine"},
    *(
        {"sched": sched, "decay_rate": rate, "decay_epochs": every}
        for sched in ("step", "multistep")
        for rate in (0.1, 0.5)
        for every in (10, 20)
    ),
    *({"sched": "plateau", "patience_epochs": patience} for patience in (2, 5, 10)),
]
WARM_UPS = [(epochs, lr) for epochs in (0, 5, 10) for lr in (0.0, 1e-6, 1e-5)]


def _scores(seed: int = 0) -> list[float]:
    """Validation scores that rise for half of the time, with noise, so that there are plateaus."""
    noise = torch.rand(EPOCHS, generator=torch.Generator().manual_seed(seed))
    return (0.3 * noise + torch.linspace(0, 0.8, EPOCHS).clamp(max=0.4)).tolist()


def _formula(recipe: Recipe, scores: Sequence[float]) -> list[float]:
    """The learning rates of all updates without layer decay, as papers and docstrings write them."""
    plateaus = _plateau_factors(recipe, scores)
    return [_rate(recipe, update / UPDATES, plateaus) for update in range(EPOCHS * UPDATES)]


def _rate(recipe: Recipe, t: float, plateaus: Sequence[float]) -> float:
    """The learning rate after t epochs."""
    rate, every = recipe.decay_rate, recipe.decay_epochs
    if t < recipe.warmup_epochs:
        return recipe.warmup_lr + (recipe.lr - recipe.warmup_lr) * t / recipe.warmup_epochs
    if recipe.sched == "cosine":
        return recipe.lr * (1 + math.cos(math.pi * t / EPOCHS)) / 2
    if recipe.sched == "step":
        return recipe.lr * rate ** math.floor(t / every)
    if recipe.sched == "multistep":
        return recipe.lr * rate ** ((t >= EPOCHS - 2 * every) + (t >= EPOCHS - every))
    if recipe.sched == "plateau":
        return recipe.lr * plateaus[math.floor(t)]
    return recipe.lr


def _plateau_factors(recipe: Recipe, scores: Sequence[float]) -> list[float]:
    """What torch's ReduceLROnPlateau makes of the scores after the warm-up, for every epoch."""
    reference = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
        reference, "max", recipe.decay_rate, recipe.patience_epochs, eps=0
    )
    factors = []
    for epoch, score in enumerate(scores):
        factors.append(reference.param_groups[0]["lr"])
        if epoch >= recipe.warmup_epochs:
            plateau.step(score)
    return factors


@cache
def _model(name: str) -> nn.Module:
    return build(name)


def _scales(model: nn.Module, layer_decay: float | None) -> dict[int, float]:
    """Each parameter's factor: layer_decay to the power of its depth below the head, by timm's layers."""
    if layer_decay is None:
        return {id(parameter): 1.0 for parameter in model.parameters()}
    layers = timm.models.group_parameters(model, model.group_matcher(coarse=False), reverse=True)
    last = max(layers.values())
    return {id(p): layer_decay ** (last - layers[name]) for name, p in model.named_parameters()}


def _start(recipe: Recipe, updates: int = UPDATES) -> tuple[torch.optim.Optimizer, Schedule]:
    optimizer = build_optimizer(recipe, _model(recipe.model))
    return optimizer, Schedule(recipe, optimizer, updates, EPOCHS)


def _curve(recipe: Recipe, scores: Sequence[float], stops: Collection[int] = ()) -> torch.Tensor:
    """Learning rates of every update (updates, groups); before the epochs in `stops` all is built anew."""
    optimizer, schedule = _start(recipe)
    rates = []
    for epoch in range(EPOCHS):
        if epoch in stops:
            state = optimizer.state_dict(), schedule.state_dict()
            optimizer, schedule = _start(recipe)
            optimizer.load_state_dict(state[0])
            schedule.load_state_dict(state[1])
        for update in range(UPDATES):
            schedule.set(epoch * UPDATES + update)
            rates.append([group["lr"] for group in optimizer.param_groups])
        schedule.observe((epoch + 1) * UPDATES, scores[epoch])
    return torch.tensor(rates, dtype=torch.float64)


def _written(recipe: Recipe, scores: Sequence[float]) -> torch.Tensor:
    """What `_curve` should be (updates, groups)."""
    scales = _scales(_model(recipe.model), recipe.layer_decay)
    factors = []
    for group in build_optimizer(recipe, _model(recipe.model)).param_groups:
        (factor,) = {scales[id(parameter)] for parameter in group["params"]}
        factors.append(factor)
    rates = torch.tensor(_formula(recipe, scores), dtype=torch.float64)
    return rates[:, None] * torch.tensor(factors, dtype=torch.float64)


@pytest.mark.parametrize("layer_decay", [None, 0.65, 0.75])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("options", SCHEDULES, ids=lambda options: "-".join(map(str, options.values())))
def test_every_group_follows_the_formula(options: dict, name: str, layer_decay: float | None) -> None:
    scores = _scores()
    for epochs, lr in WARM_UPS:
        recipe = Recipe(
            name,
            lr=LR,
            layer_decay=layer_decay,
            warmup_epochs=epochs,
            warmup_lr=lr,
            weight_decay=0.01,
            **options,
        )
        torch.testing.assert_close(_curve(recipe, scores), _written(recipe, scores), rtol=1e-9, atol=1e-15)
    if options["sched"] == "plateau":
        assert min(_plateau_factors(recipe, scores)) < 1


@settings(max_examples=40)
@given(
    options=st.sampled_from(SCHEDULES),
    name=st.sampled_from(NAMES),
    layer_decay=st.sampled_from([None, 0.65, 0.75]),
    warm_up=st.sampled_from(WARM_UPS),
    stops=st.sets(st.integers(0, EPOCHS - 1), max_size=6),
    seed=st.integers(0, 100),
)
def test_stopping_and_restoring_changes_nothing(
    options: dict, name: str, layer_decay: float | None, warm_up: tuple, stops: set[int], seed: int
) -> None:
    recipe = Recipe(
        name, lr=LR, layer_decay=layer_decay, warmup_epochs=warm_up[0], warmup_lr=warm_up[1], **options
    )
    scores = _scores(seed)
    stopped = _curve(recipe, scores, stops)
    assert torch.equal(stopped, _curve(recipe, scores))
    torch.testing.assert_close(stopped, _written(recipe, scores), rtol=1e-9, atol=1e-15)


def _record_rates(pipeline: Pipeline, rates: list[list[float]]) -> None:
    """At every update, the rate of each parameter over its factor by layer decay."""
    scales = _scales(pipeline.learner.network, pipeline.recipe.layer_decay)

    def note(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        held = [(group["lr"], parameter) for group in optimizer.param_groups for parameter in group["params"]]
        rates.append([rate / scales[id(parameter)] for rate, parameter in held])

    pipeline.learner.optimizer.register_step_pre_hook(note)


def test_a_pipeline_updates_its_weights_at_the_written_rates(make_task: Callable[..., TaskInfo]) -> None:
    """All 50 epochs of real training, interrupted twice; rates are read when the optimizer takes its step."""
    changes = {"sched": "plateau", "patience_epochs": 2, "warmup_epochs": 5, "warmup_lr": 1e-5}
    recipe = Recipe("test_resnet", lr=LR, layer_decay=0.65, batch_size=8, **changes)
    task, store = make_task(), DataStore()
    plain = FinetuneSettings(pretrained=False, device="cpu", crop_area=1.0)
    rates: list[list[float]] = []
    scores = []
    pipeline = Pipeline(recipe, plain, task, 0, store)
    for epoch in range(EPOCHS):
        if epoch in (0, 7, 30):
            progress, state = pipeline.progress, pipeline.state()
            pipeline = Pipeline(recipe, plain, task, 0, store)
            pipeline.restore(progress, state)
            _record_rates(pipeline, rates)
        record = pipeline.train_epoch()
        pipeline.finish(record)
        scores.append(record["score"])
    seen = torch.tensor(rates, dtype=torch.float64)
    expected = torch.tensor(_formula(recipe, scores), dtype=torch.float64)
    assert seen.shape == (EPOCHS * UPDATES, len(list(pipeline.learner.network.parameters())))
    torch.testing.assert_close(seen, expected[:, None].expand_as(seen), rtol=1e-9, atol=1e-15)
    assert expected[-1] < LR


def test_milestones_lie_within_the_horizon() -> None:
    assert milestones(50, 10) == [30, 40]
    assert milestones(50, 20) == [10, 30]
    assert milestones(8, 10) == []


def test_plateau_by_hand() -> None:
    """Lowered after the third epoch without a rise, and again three epochs later; the best score counts."""
    recipe = Recipe("test_resnet", lr=LR, sched="plateau", patience_epochs=2)
    optimizer, schedule = _start(recipe, updates=1)
    rates = []
    for epoch, score in enumerate([0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.7, 0.1, 0.1, 0.1, 0.1]):
        schedule.set(epoch)
        rates.append(optimizer.param_groups[0]["lr"] / LR)
        schedule.observe(epoch + 1, score)
    assert rates == pytest.approx([1] * 5 + [0.1] * 5 + [0.01])


def test_a_schedule_of_another_optimizer_state_does_not_drift() -> None:
    """Building a schedule on an optimizer whose rates were already lowered keeps the initial ones."""
    recipe = Recipe("test_resnet", lr=LR, sched="cosine", layer_decay=0.65)
    lowered, schedule = _start(recipe)
    schedule.set(EPOCHS * UPDATES - 1)
    fresh, again = _start(recipe)
    fresh.load_state_dict(lowered.state_dict())
    again.set(0)
    assert [group["lr"] for group in fresh.param_groups] == pytest.approx(
        [LR * group["lr_scale"] for group in fresh.param_groups]
    )
