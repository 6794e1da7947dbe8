"""Where pipelines end: at the last epoch of the search, of a schedule of their own, or, probes, at once.

A *probe* is the pipeline whose classifier is solved for on the frozen features of its network: nothing is
trained, so it has one epoch. `head_init=probe` of any other pipeline says that it is finetuned from there.
"""

from collections.abc import Mapping
from typing import Any

from qtt.types import Config

SCHEDULE, HEAD = "schedule_epochs", "head_init"
"""Hyperparameters: epochs that a pipeline's schedule spans; what its classifier begins with."""

PAPERS = 50
"""Epochs of every schedule in the papers."""

RECIPES: tuple[Mapping[str, Any], ...] = tuple(
    {
        HEAD: "probe",
        "freeze_norms": True,
        SCHEDULE: epochs,
        "opt": "adamw",
        "lr": rate,
        "layer_decay": decay,
        "sched": "cosine",
        "batch_size": batch_size,
        "weight_decay": 0.01,
        "hflip": hflip,
    }
    for epochs, rate, decay, batch_size in (
        *((3, 2e-4, None, 32), (5, 1e-4, None, 32), (10, 1e-4, None, 32), (20, 1e-4, None, 32)),
        *((5, 1e-3, 0.65, 16), (10, 1e-3, 0.65, 16), (20, 1e-3, 0.65, 16)),
    )
    for hflip in (0.0, 0.5)
)
"""Recipes that gained on nearly every probe that they began with (experiments/images)."""


def probe_of(model: str) -> dict[str, Any]:
    """The probe of a model, as a config."""
    return {"model": model, "linear_probing": True, HEAD: "probe"}


def is_probe(config: Config) -> bool:
    """Whether a config is a probe."""
    return config.get(HEAD) == "probe" and config.get("linear_probing") is True


def begins_with_probe(config: Config) -> bool:
    """Whether a config is finetuned from the classifier of its model's probe."""
    return config.get(HEAD) == "probe" and not is_probe(config)


def last_epoch(config: Config, bound: int) -> int:
    """The largest fidelity of a pipeline; bound: that of the search."""
    if is_probe(config):
        return 1
    own = config.get(SCHEDULE)
    return min(own, bound) if isinstance(own, int) and own > 0 else bound
