"""The pipelines that were chosen by hand: values of the search space, without the model."""

from typing import Any

BASE: dict[str, Any] = {
    "opt": "adamw",
    "lr": 1e-3,
    "weight_decay": 1e-2,
    "layer_decay": 0.75,
    "batch_size": 32,
    "sched": "cosine",
    "smoothing": 0.1,
}
"""AdamW with smaller steps for earlier layers: the usual way to finetune with few images."""

PIPELINES: dict[str, dict[str, Any]] = {
    "base": BASE,
    "gentle": BASE | {"lr": 5e-4},
    "trivial": BASE | {"data_augmentation": "trivial_augment"},
    "mixup": BASE | {"mixup": 0.2, "mixup_prob": 1.0},
    "frozen": BASE | {"pct_to_freeze": 0.4},
    "stochastic": BASE | {"stoch_norm": True},
    "sp": BASE | {"sp_reg": 1e-2},
    "delta": BASE | {"delta_reg": 1e-2},
    "bss": BASE | {"bss_reg": 1e-3},
    "cotuning": BASE | {"cotuning_reg": 1.0},
}

MIRRORED = ("trashnet", "dtd")
"""Datasets whose images may be mirrored: waste and textures, but not traffic signs."""


def settings(dataset: str, image_size: int) -> dict[str, Any]:
    """Of the objective."""
    return {"device": "cpu", "hflip": 0.5 if dataset in MIRRORED else 0.0, "image_size": image_size}
