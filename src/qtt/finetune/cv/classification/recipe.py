"""A pipeline's hyperparameters, checked before anything is built (search space: Quick-Tune, Table 3)."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from qtt.errors import ConfigError, unknown
from qtt.space.hyperparameters import CONDITIONS

OPTIMIZERS = ("sgd", "momentum", "adam", "adamw", "adamp")
SCHEDULES = (None, "cosine", "step", "multistep", "plateau")
AUGMENTATIONS = (None, "trivial_augment", "random_augment", "auto_augment")
POLICIES = (None, "v0", "original")


@dataclass(frozen=True)
class Recipe:
    """One pipeline, with native values; hyperparameters that a config leaves out keep these defaults.

    None means none or off. The factor of `plateau` is the default decay_rate: the space has no option for it.
    """

    model: str
    pct_to_freeze: float = 0.0
    linear_probing: bool = False
    layer_decay: float | None = None
    stoch_norm: bool = False
    sp_reg: float = 0.0
    delta_reg: float = 0.0
    bss_reg: float = 0.0
    cotuning_reg: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    mixup_prob: float = 1.0
    drop: float = 0.0
    smoothing: float = 0.0
    clip_grad: float | None = None
    data_augmentation: str | None = None
    auto_augment: str | None = None
    ra_num_ops: int = 2
    ra_magnitude: int = 9
    opt: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.0
    batch_size: int = 32
    amp: bool = False
    opt_betas: tuple[float, float] = (0.9, 0.999)
    momentum: float = 0.9
    sched: str | None = "cosine"
    warmup_epochs: int = 0
    warmup_lr: float = 0.0
    decay_rate: float = 0.1
    decay_epochs: int = 10
    patience_epochs: int = 5

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Check a config.

        Raises:
            ConfigError: a name is unknown, a value impossible, or a hyperparameter would have no effect.
        """
        known = {item.name for item in fields(cls)}
        for name in config:
            if name not in known:
                raise ConfigError(unknown("hyperparameter", name, known))
        if "model" not in config:
            raise ConfigError("The config names no model.")
        values = dict(config)
        if isinstance(values.get("opt_betas"), list | tuple):
            values["opt_betas"] = tuple(values["opt_betas"])
        recipe = cls(**values)
        recipe._check()
        recipe._check_active(config)
        return recipe

    @property
    def frozen_fraction(self) -> float:
        """Share of the backbone's blocks that is frozen; linear probing freezes all of them."""
        return 1.0 if self.linear_probing else self.pct_to_freeze

    def _check(self) -> None:
        for name, test, hint in _CHECKS:
            value = getattr(self, name)
            if not test(value):
                raise ConfigError(f"{name}={value!r} is impossible: {hint}.")

    def _check_active(self, config: Mapping[str, Any]) -> None:
        for name, (parent, values) in CONDITIONS.items():
            if config.get(name) is not None and getattr(self, parent) not in values:
                raise ConfigError(
                    f"{name}={config[name]!r} has no effect with {parent}={getattr(self, parent)!r} "
                    f"(only with {', '.join(values)}); leave it out."
                )


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _share(value: Any) -> bool:
    return _number(value) and 0 <= value <= 1


def _below_one(value: Any) -> bool:
    return _number(value) and 0 <= value < 1


def _not_negative(value: Any) -> bool:
    return _number(value) and value >= 0


def _positive(value: Any) -> bool:
    return _number(value) and value > 0


def _boolean(value: Any) -> bool:
    return isinstance(value, bool)


_CHECKS: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("model", lambda v: isinstance(v, str), "give the name of a card"),
    ("pct_to_freeze", _share, "give a share from 0 to 1"),
    ("linear_probing", _boolean, "give True or False"),
    (
        "layer_decay",
        lambda v: v is None or (_positive(v) and v <= 1),
        "give a factor above 0 up to 1, or None",
    ),
    ("stoch_norm", _boolean, "give True or False"),
    *(
        (name, _not_negative, "give a weight from 0, where 0 is off")
        for name in ("sp_reg", "delta_reg", "bss_reg", "cotuning_reg")
    ),
    ("mixup", _not_negative, "give a Beta parameter from 0, where 0 is off"),
    ("cutmix", _not_negative, "give a Beta parameter from 0, where 0 is off"),
    ("mixup_prob", _share, "give a probability"),
    ("drop", _below_one, "give a probability below 1"),
    ("smoothing", _below_one, "give a share below 1"),
    (
        "clip_grad",
        lambda v: v is None or _positive(v),
        "give the largest gradient norm, above 0, or None for off",
    ),
    ("data_augmentation", lambda v: v in AUGMENTATIONS, f"choose from {AUGMENTATIONS}"),
    ("auto_augment", lambda v: v in POLICIES, f"choose from {POLICIES}"),
    ("ra_num_ops", lambda v: _integer(v) and v >= 1, "give a count from 1"),
    ("ra_magnitude", lambda v: _integer(v) and 0 <= v <= 30, "give a magnitude from 0 to 30"),
    ("opt", lambda v: v in OPTIMIZERS, f"choose from {OPTIMIZERS}"),
    ("lr", _positive, "give a positive number"),
    ("weight_decay", _not_negative, "give a number from 0"),
    ("batch_size", lambda v: _integer(v) and v >= 1, "give a count from 1"),
    ("amp", _boolean, "give True or False"),
    (
        "opt_betas",
        lambda v: isinstance(v, tuple) and len(v) == 2 and all(_below_one(beta) for beta in v),
        "give two numbers from 0, below 1",
    ),
    ("momentum", _below_one, "give a number from 0, below 1"),
    ("sched", lambda v: v in SCHEDULES, f"choose from {SCHEDULES}"),
    ("warmup_epochs", lambda v: _integer(v) and v >= 0, "give a count from 0"),
    ("warmup_lr", _not_negative, "give a number from 0"),
    ("decay_rate", lambda v: _positive(v) and v < 1, "give a factor between 0 and 1"),
    ("decay_epochs", lambda v: _integer(v) and v >= 1, "give a count from 1"),
    ("patience_epochs", lambda v: _integer(v) and v >= 0, "give a count from 0"),
)
