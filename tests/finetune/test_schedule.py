import math

import pytest
import torch

from qtt.finetune.cv.classification.recipe import Recipe
from qtt.finetune.cv.classification.schedule import Schedule, milestones

EPOCHS, UPDATES, LR = 50, 4, 0.01
SCALES = (1.0, 0.65, 0.65**3)


def _optimizer() -> torch.optim.Optimizer:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr_scale": scale} for scale in SCALES]
    groups.append({"params": [torch.nn.Parameter(torch.zeros(1))]})
    return torch.optim.SGD(groups, lr=LR)


def _curve(recipe: Recipe, scores: list[float] | None = None) -> torch.Tensor:
    """Learning rates of every update (updates, groups), as training sets them."""
    optimizer = _optimizer()
    schedule = Schedule(recipe, optimizer, UPDATES, EPOCHS)
    rates = []
    for epoch in range(EPOCHS):
        for update in range(UPDATES):
            schedule.set(epoch * UPDATES + update)
            rates.append([group["lr"] for group in optimizer.param_groups])
        schedule.observe((epoch + 1) * UPDATES, scores[epoch] if scores else 0.0)
    return torch.tensor(rates, dtype=torch.float64)


def _formula(recipe: Recipe, t: float) -> float:
    """The learning rate after t epochs, as the papers and docstrings write it."""
    rate, every = recipe.decay_rate, recipe.decay_epochs
    if t < recipe.warmup_epochs:
        return recipe.warmup_lr + (LR - recipe.warmup_lr) * t / recipe.warmup_epochs
    if recipe.sched == "cosine":
        return LR * (1 + math.cos(math.pi * t / EPOCHS)) / 2
    if recipe.sched == "step":
        return LR * rate ** math.floor(t / every)
    if recipe.sched == "multistep":
        return LR * rate ** ((t >= EPOCHS - 2 * every) + (t >= EPOCHS - every))
    return LR


@pytest.mark.parametrize(("warmup_epochs", "warmup_lr"), [(0, 0.0), (5, 0.0), (5, 1e-5), (10, 1e-6)])
@pytest.mark.parametrize(
    "options",
    [
        {"sched": None},
        {"sched": "cosine"},
        *(
            {"sched": s, "decay_rate": r, "decay_epochs": e}
            for s in ("step", "multistep")
            for r in (0.1, 0.5)
            for e in (10, 20)
        ),
    ],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_every_group_follows_the_formula(options: dict, warmup_epochs: int, warmup_lr: float) -> None:
    recipe = Recipe("m", lr=LR, warmup_epochs=warmup_epochs, warmup_lr=warmup_lr, **options)
    written = torch.tensor(
        [_formula(recipe, update / UPDATES) for update in range(EPOCHS * UPDATES)], dtype=torch.float64
    )
    scales = torch.tensor([*SCALES, 1.0], dtype=torch.float64)
    torch.testing.assert_close(_curve(recipe), written[:, None] * scales, rtol=1e-9, atol=1e-15)


def test_milestones_lie_within_the_horizon() -> None:
    assert milestones(50, 10) == [30, 40]
    assert milestones(50, 20) == [10, 30]
    assert milestones(8, 10) == []


@pytest.mark.parametrize("patience", [2, 5, 10])
@pytest.mark.parametrize("warmup", [0, 5])
def test_plateau_is_torchs(patience: int, warmup: int) -> None:
    generator = torch.Generator().manual_seed(patience)
    scores = (torch.rand(EPOCHS, generator=generator) * 0.3 + torch.linspace(0, 0.4, EPOCHS)).tolist()
    reference = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(reference, "max", 0.1, patience, eps=0)
    recipe = Recipe("m", lr=LR, sched="plateau", patience_epochs=patience, warmup_epochs=warmup)
    curve = _curve(recipe, scores)
    for epoch in range(EPOCHS):
        if epoch >= warmup:
            expected = reference.param_groups[0]["lr"]
            torch.testing.assert_close(
                curve[epoch * UPDATES : (epoch + 1) * UPDATES],
                expected * torch.tensor([*SCALES, 1.0], dtype=torch.float64).expand(UPDATES, -1),
            )
            plateau.step(scores[epoch])
    assert curve[-1, 0] < LR


def test_plateau_goes_on_from_a_checkpoint() -> None:
    recipe = Recipe("m", lr=LR, sched="plateau", patience_epochs=2)
    scores = [0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.7, 0.1, 0.1, 0.1, 0.1]
    whole = Schedule(recipe, _optimizer(), 1, EPOCHS)
    optimizer = _optimizer()
    resumed = Schedule(recipe, optimizer, 1, EPOCHS)
    for epoch, score in enumerate(scores, start=1):
        whole.observe(epoch, score)
        resumed.observe(epoch, score)
        state = resumed.state_dict()
        optimizer = _optimizer()
        resumed = Schedule(recipe, optimizer, 1, EPOCHS)
        resumed.load_state_dict(state)
        assert resumed.state_dict() == whole.state_dict()
    resumed.set(len(scores))
    assert optimizer.param_groups[0]["lr"] == pytest.approx(LR * 0.01)


def test_a_schedule_of_another_optimizer_state_does_not_drift() -> None:
    """Building a schedule on an optimizer whose rates were already lowered keeps the initial ones."""
    recipe = Recipe("m", lr=LR, sched="cosine")
    optimizer = _optimizer()
    Schedule(recipe, optimizer, UPDATES, EPOCHS).set(EPOCHS * UPDATES - 1)
    fresh = _optimizer()
    again = Schedule(recipe, fresh, UPDATES, EPOCHS)
    fresh.load_state_dict(optimizer.state_dict())
    again.set(0)
    assert [group["lr"] for group in fresh.param_groups] == pytest.approx([LR * s for s in (*SCALES, 1.0)])
