"""A pipeline's hyperparameters, checked before anything is built (search space: Quick-Tune, Table 3)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from qtt.errors import ConfigError, unknown
from qtt.space.horizon import PAPERS, is_probe, last_epoch
from qtt.space.hyperparameters import DEFAULTS, OWN, Hyperparameter, registered


@dataclass(frozen=True)
class Recipe:
    """One pipeline, with native values; hyperparameters that a config leaves out keep their defaults.

    extras: those that other packages registered, where the config has them.

    None means none or off. The factor of `plateau` is the default decay_rate: the space has no option for it.
    """

    model: str
    pct_to_freeze: float = DEFAULTS["pct_to_freeze"]
    linear_probing: bool = DEFAULTS["linear_probing"]
    layer_decay: float | None = DEFAULTS["layer_decay"]
    stoch_norm: bool = DEFAULTS["stoch_norm"]
    sp_reg: float = DEFAULTS["sp_reg"]
    delta_reg: float = DEFAULTS["delta_reg"]
    bss_reg: float = DEFAULTS["bss_reg"]
    cotuning_reg: float = DEFAULTS["cotuning_reg"]
    mixup: float = DEFAULTS["mixup"]
    cutmix: float = DEFAULTS["cutmix"]
    mixup_prob: float = DEFAULTS["mixup_prob"]
    drop: float = DEFAULTS["drop"]
    smoothing: float = DEFAULTS["smoothing"]
    clip_grad: float | None = DEFAULTS["clip_grad"]
    data_augmentation: str | None = DEFAULTS["data_augmentation"]
    auto_augment: str | None = DEFAULTS["auto_augment"]
    ra_num_ops: int = DEFAULTS["ra_num_ops"]
    ra_magnitude: int = DEFAULTS["ra_magnitude"]
    opt: str = DEFAULTS["opt"]
    lr: float = DEFAULTS["lr"]
    weight_decay: float = DEFAULTS["weight_decay"]
    batch_size: int = DEFAULTS["batch_size"]
    amp: bool = DEFAULTS["amp"]
    opt_betas: tuple[float, float] = DEFAULTS["opt_betas"]
    momentum: float = DEFAULTS["momentum"]
    sched: str | None = DEFAULTS["sched"]
    warmup_epochs: int = DEFAULTS["warmup_epochs"]
    warmup_lr: float = DEFAULTS["warmup_lr"]
    decay_rate: float = DEFAULTS["decay_rate"]
    decay_epochs: int = DEFAULTS["decay_epochs"]
    patience_epochs: int = DEFAULTS["patience_epochs"]
    schedule_epochs: int | None = DEFAULTS["schedule_epochs"]
    head_init: str = DEFAULTS["head_init"]
    freeze_norms: bool = DEFAULTS["freeze_norms"]
    hflip: float | None = DEFAULTS["hflip"]
    extras: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Check a config.

        Raises:
            ConfigError: a name is unknown, a value impossible, or a hyperparameter would have no effect.
        """
        others = registered() if config.keys() - OWN.keys() - {"model"} else {}
        for name in config:
            if name != "model" and name not in OWN and name not in others:
                raise ConfigError(unknown("hyperparameter", name, ["model", *OWN, *others]))
        if "model" not in config:
            raise ConfigError("The config names no model.")
        values = {name: value for name, value in config.items() if name not in others}
        if isinstance(values.get("opt_betas"), list | tuple):
            values["opt_betas"] = tuple(values["opt_betas"])
        recipe = cls(**values, extras={name: config[name] for name in config if name in others})
        known = (*OWN.values(), *(others[name] for name in recipe.extras))
        recipe._check(known)
        recipe._check_active(config, known)
        return recipe

    def value(self, name: str) -> Any:
        """A hyperparameter by name, also one of another package, whose neutral default is left to it.

        Raises:
            KeyError: the config has no such hyperparameter, nor has the space of the papers.
        """
        return self.extras[name] if name in self.extras or name not in OWN else getattr(self, name)

    @property
    def frozen_fraction(self) -> float:
        """Share of the backbone's blocks that is frozen; linear probing freezes all of them."""
        return 1.0 if self.linear_probing else self.pct_to_freeze

    @property
    def is_probe(self) -> bool:
        """Whether its classifier is solved for and nothing is trained; see `qtt.space.horizon`."""
        return is_probe({"head_init": self.head_init, "linear_probing": self.linear_probing})

    def horizon(self, bound: int) -> int:
        """Last epoch, until which the schedule spans; bound: that of the search."""
        return last_epoch({"schedule_epochs": self.schedule_epochs}, bound)

    def scaled(self, epochs: int, horizon: int) -> float:
        """Epochs of warm-up or decay, given for the papers' 50, in a schedule of another length."""
        return epochs if self.schedule_epochs is None else epochs * horizon / PAPERS

    def _check(self, hyperparameters: Sequence[Hyperparameter]) -> None:
        if not isinstance(self.model, str):
            raise ConfigError(f"model={self.model!r} is impossible: give the name of a card.")
        for item in hyperparameters:
            value = self.value(item.name)
            if not item.takes(value):
                raise ConfigError(f"{item.name}={value!r} is impossible: {item.advice}.")

    def _check_active(self, config: Mapping[str, Any], hyperparameters: Sequence[Hyperparameter]) -> None:
        for item in hyperparameters:
            if item.condition is None or config.get(item.name) is None:
                continue
            parent, values = item.condition
            given = self.value(parent) if parent in OWN else self.extras.get(parent)
            if given not in values:
                raise ConfigError(
                    f"{item.name}={config[item.name]!r} has no effect with {parent}={given!r} "
                    f"(only with {', '.join(map(str, values))}); leave it out."
                )
