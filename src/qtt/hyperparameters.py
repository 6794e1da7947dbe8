"""What search space and finetuning must agree on about hyperparameters."""

from collections.abc import Mapping
from typing import Any

CONDITIONS: Mapping[str, tuple[str, tuple[Any, ...]]] = {
    "auto_augment": ("data_augmentation", ("auto_augment",)),
    "ra_num_ops": ("data_augmentation", ("random_augment",)),
    "ra_magnitude": ("data_augmentation", ("random_augment",)),
    "opt_betas": ("opt", ("adam", "adamw", "adamp")),
    "momentum": ("opt", ("momentum",)),
    "decay_rate": ("sched", ("step", "multistep")),
    "decay_epochs": ("sched", ("step", "multistep")),
    "patience_epochs": ("sched", ("plateau",)),
}
"""child: (parent, options of the parent that make the child active); elsewhere the child is absent."""
