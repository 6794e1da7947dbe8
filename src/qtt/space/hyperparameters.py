"""The hyperparameters of the papers: their options, and when each is active.

Sources: Quick-Tune (ICLR 2024, appendix) and Quick-Tune-Tool (AutoML 2024, Table 3).
"""

from collections.abc import Mapping
from typing import Any

Options = Mapping[str, tuple[Any, ...]]

FULL: Options = {
    # finetuning strategy
    "pct_to_freeze": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
    "layer_decay": (None, 0.65, 0.75),
    "linear_probing": (False, True),
    "stoch_norm": (False, True),
    "sp_reg": (0.0, 1e-4, 1e-3, 1e-2, 1e-1),
    "delta_reg": (0.0, 1e-4, 1e-3, 1e-2, 1e-1),
    "bss_reg": (0.0, 1e-4, 1e-3, 1e-2, 1e-1),
    "cotuning_reg": (0.0, 0.5, 1.0, 2.0, 4.0),
    # regularisation
    "mixup": (0.0, 0.2, 0.4, 1.0, 2.0, 4.0, 8.0),
    "mixup_prob": (0.0, 0.25, 0.5, 0.75, 1.0),
    "cutmix": (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0),
    "drop": (0.0, 0.1, 0.2, 0.3, 0.4),
    "smoothing": (0.0, 0.05, 0.1),
    "clip_grad": (None, 1.0, 10.0),
    # augmentation
    "data_augmentation": (None, "trivial_augment", "random_augment", "auto_augment"),
    "auto_augment": (None, "v0", "original"),
    "ra_num_ops": (2, 3),
    "ra_magnitude": (9, 17),
    # optimizer
    "opt": ("sgd", "momentum", "adam", "adamw", "adamp"),
    "lr": (1e-5, 5e-5, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 1e-1),
    "weight_decay": (0.0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1),
    "batch_size": (2, 4, 8, 16, 32, 64, 128, 256, 512),
    "amp": (False, True),
    "opt_betas": ((0.9, 0.999), (0.0, 0.99), (0.9, 0.99), (0.0, 0.999)),
    "momentum": (0.0, 0.8, 0.9, 0.95, 0.99),
    # schedule
    "sched": (None, "cosine", "step", "multistep", "plateau"),
    "warmup_epochs": (0, 5, 10),
    "warmup_lr": (0.0, 1e-6, 1e-5),
    "decay_rate": (0.1, 0.5),
    "decay_epochs": (10, 20),
    "patience_epochs": (2, 5, 10),
}
"""Every hyperparameter but `model`, whose options are the hub's."""

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
