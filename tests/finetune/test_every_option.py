"""Every hyperparameter of the search spaces changes what training does."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from models import make_card
from pipelines import checkpoint, run
from qtt.finetune.cv.classification.recipe import Recipe
from qtt.hub.model_hub import ModelHub
from qtt.space.config_manager import ConfigManager
from qtt.space.hyperparameters import ADDED
from qtt.space.search_space import build_space
from qtt.types import TaskInfo

MakeTask = Callable[..., TaskInfo]
BASE = {
    "model": "test_resnet",
    "opt": "adamw",
    "lr": 1e-3,
    "weight_decay": 0.01,
    "batch_size": 12,
    "sched": "cosine",
}
TRIVIAL = {"data_augmentation": "trivial_augment"}
RANDOM = {"data_augmentation": "random_augment", "ra_num_ops": 2, "ra_magnitude": 9}
AUTO = {"data_augmentation": "auto_augment", "auto_augment": "v0"}
STEP = {"sched": "step", "decay_rate": 0.1, "decay_epochs": 10}
WARM = {"warmup_epochs": 5, "warmup_lr": 0.0}
PLATEAU = {"sched": "plateau", "patience_epochs": 2}
OPTIMIZERS = (("sgd", "momentum"), ("adam", "adamw"), ("adamw", "adamp"))

CHANGES: dict[str, tuple[tuple[dict[str, Any], dict[str, Any]], ...]] = {
    "model": (({}, {"model": "test_vit"}),),
    "pct_to_freeze": (({}, {"pct_to_freeze": 0.4}),),
    "linear_probing": (({}, {"linear_probing": True}),),
    "layer_decay": (({}, {"layer_decay": 0.75}), ({"layer_decay": 0.65}, {"layer_decay": 0.75})),
    "stoch_norm": (({}, {"stoch_norm": True}),),
    "sp_reg": (({}, {"sp_reg": 1e-4}), ({"sp_reg": 1e-2}, {"sp_reg": 1e-1})),
    "delta_reg": (({}, {"delta_reg": 1e-4}), ({"delta_reg": 1e-2}, {"delta_reg": 1e-1})),
    "bss_reg": (({}, {"bss_reg": 1e-4}), ({"bss_reg": 1e-2}, {"bss_reg": 1e-1})),
    "cotuning_reg": (({}, {"cotuning_reg": 0.5}), ({"cotuning_reg": 1.0}, {"cotuning_reg": 4.0})),
    "mixup": (({}, {"mixup": 0.2}), ({"mixup": 0.2}, {"mixup": 8.0})),
    "cutmix": (({}, {"cutmix": 1.0}), ({"cutmix": 0.1}, {"cutmix": 4.0})),
    "mixup_prob": (({"mixup": 1.0, "mixup_prob": 0.0}, {"mixup": 1.0, "mixup_prob": 1.0}),),
    "drop": (({}, {"drop": 0.4}),),
    "smoothing": (({}, {"smoothing": 0.1}),),
    "clip_grad": (({"opt": "sgd"}, {"opt": "sgd", "clip_grad": 1}),),
    "data_augmentation": (({}, TRIVIAL), ({}, RANDOM), ({}, AUTO), (TRIVIAL, RANDOM)),
    "auto_augment": ((AUTO, AUTO | {"auto_augment": "original"}), (AUTO, AUTO | {"auto_augment": None})),
    "ra_num_ops": ((RANDOM, RANDOM | {"ra_num_ops": 3}),),
    "ra_magnitude": ((RANDOM, RANDOM | {"ra_magnitude": 17}),),
    "opt": tuple(({"opt": a}, {"opt": b}) for a, b in OPTIMIZERS),
    "lr": (({}, {"lr": 5e-4}),),
    "weight_decay": (({}, {"weight_decay": 0.1}), ({"weight_decay": 0.0}, {})),
    "batch_size": (({}, {"batch_size": 8}),),
    "opt_betas": (({"opt_betas": (0.9, 0.999)}, {"opt_betas": (0.0, 0.99)}),),
    "momentum": (({"opt": "momentum", "momentum": 0.0}, {"opt": "momentum", "momentum": 0.99}),),
    "sched": (({}, {"sched": None}), (STEP, STEP | {"sched": "multistep"})),
    "warmup_epochs": (({}, WARM), (WARM, WARM | {"warmup_epochs": 10})),
    "warmup_lr": ((WARM, WARM | {"warmup_lr": 1e-5}),),
    "decay_rate": ((STEP, STEP | {"decay_rate": 0.5}),),
    "decay_epochs": ((STEP, STEP | {"decay_epochs": 20}),),
    "patience_epochs": (
        ({"sched": "plateau", "patience_epochs": 2}, {"sched": "plateau", "patience_epochs": 5}),
    ),
    "schedule_epochs": (({}, {"schedule_epochs": 5}), ({"schedule_epochs": 10}, {"schedule_epochs": 5})),
    "head_init": (({}, {"head_init": "probe"}),),
    "freeze_norms": (({}, {"freeze_norms": True}),),
    "hflip": (({}, {"hflip": 0.5}),),
}
LATE = {"sched": 21, "decay_rate": 11, "decay_epochs": 11, "patience_epochs": 8}
"""Epochs until hyperparameters of the schedule act."""
CASES = [(name, *pair) for name, pairs in CHANGES.items() for pair in pairs]


def _weights(task: TaskInfo, changes: dict[str, Any], epochs: int) -> torch.Tensor:
    config = BASE | changes
    if config["opt"] in ("sgd", "momentum"):
        config["lr"] = 0.05
    run(task, config, epochs)
    state = checkpoint(task)["network"]
    return torch.cat([tensor.flatten().float() for tensor in state.values()])


@pytest.mark.parametrize(("name", "first", "second"), CASES, ids=[case[0] for case in CASES])
def test_changes_training(
    name: str,
    first: dict[str, Any],
    second: dict[str, Any],
    make_pretrained_task: Callable[..., TaskInfo],
    tmp_path: Any,
) -> None:
    flat = {"patience_epochs": {"lr": 1e-9}}.get(name, {})  # nothing is learned, so that a plateau comes
    epochs = LATE.get(name, 2)
    one, other = (
        _weights(make_pretrained_task(work_dir=tmp_path / str(index)), changes | flat, epochs)
        for index, changes in enumerate((first, second))
    )
    assert one.shape != other.shape or not torch.equal(one, other)


PARENTS = {
    "auto_augment": AUTO,
    "ra_num_ops": RANDOM,
    "ra_magnitude": RANDOM,
    "momentum": {"opt": "momentum"},
    "decay_rate": STEP,
    "decay_epochs": STEP,
    "patience_epochs": {"sched": "plateau"},
}
"""What makes a hyperparameter active."""


def test_no_hyperparameter_is_forgotten() -> None:
    """The exception, amp, changes nothing on the CPU, and says so: see test_objective."""
    hub = ModelHub("tests", (make_card("test_resnet"), make_card("test_vit")))
    options = dict(ConfigManager(build_space("full", models=hub), hub).options)
    options |= {item.name: item.options for item in ADDED}
    assert set(options) == {*Recipe.__dataclass_fields__} - {"extras"} == {*CHANGES, "amp"}
    for name, values in options.items():
        for value in values:
            recipe = Recipe.from_config(BASE | PARENTS.get(name, {}) | {name: value})
            assert getattr(recipe, name) == value
