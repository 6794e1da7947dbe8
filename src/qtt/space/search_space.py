"""The search space of Quick-Tune: strategy, regularisation, augmentation, optimizer, schedule and model.

Options and conditions are those of the papers (Quick-Tune, ICLR 2024, appendix; Quick-Tune-Tool, AutoML 2024,
Table 3). "None" is Python's None; a hyperparameter that is not active is absent from a config.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ConfigSpace import (
    CategoricalHyperparameter,
    ConfigurationSpace,
    InCondition,
    OrdinalHyperparameter,
)

from qtt.errors import ConfigError, unknown
from qtt.hub.model_hub import ModelHub
from qtt.space.domains import match_option
from qtt.space.hyperparameters import CONDITIONS, FULL, Options

_TOOL_PAPER = (
    *("pct_to_freeze", "layer_decay", "linear_probing", "stoch_norm"),
    *("mixup", "mixup_prob", "cutmix", "drop", "data_augmentation", "auto_augment"),
    *("opt", "lr", "batch_size"),
)

_QUICKSTART: Options = {
    "pct_to_freeze": (0.0, 0.2, 0.4, 0.6),
    "layer_decay": (None, 0.65, 0.75),
    "mixup": (0.0, 0.2, 0.4),
    "mixup_prob": (0.25, 0.5),
    "cutmix": (0.0, 0.1, 0.25),
    "drop": (0.0, 0.1, 0.2),
    "smoothing": (0.0, 0.05, 0.1),
    "clip_grad": (None, 1.0, 10.0),
    "data_augmentation": (None, "trivial_augment", "random_augment"),
    "ra_num_ops": (2,),
    "ra_magnitude": (9,),
    "opt": ("momentum", "adam", "adamw", "adamp"),
    "lr": (5e-4, 1e-3, 5e-3, 1e-2),
    "weight_decay": (0.0, 1e-5, 1e-4, 1e-3, 1e-2),
    "batch_size": (16, 32, 64, 128),
    "opt_betas": ((0.9, 0.999), (0.9, 0.99)),
    "momentum": (0.8, 0.9, 0.95),
    "sched": (None, "cosine"),
    "warmup_epochs": (0,),
}

VARIANTS: Mapping[str, Options] = {
    "full": FULL,
    "tool_paper": {name: FULL[name] for name in _TOOL_PAPER},
    "quickstart": _QUICKSTART,
}
"""full: all of the papers' space. tool_paper: the subset of Table 3. quickstart: narrow, for small models and
short searches on CPU cores."""


def build_space(
    variant: str, models: ModelHub | Iterable[str], narrow: Mapping[str, Sequence[Any]] | None = None
) -> ConfigurationSpace:
    """The conditional space of one variant over a hub's models.

    variant: one of `VARIANTS`.
    models: the hub, or the names of its models to keep: the options of `model`.
    narrow: hyperparameter to the options to keep of it; "none" may stand for None. A hyperparameter whose
        condition no longer can hold leaves the space, narrowed or not.

    Raises:
        ConfigError: an unknown variant, hyperparameter or option (close matches are named), or none left.
    """
    if variant not in VARIANTS:
        raise ConfigError(unknown("search space", variant, VARIANTS))
    names = models.names if isinstance(models, ModelHub) else models
    options = {"model": tuple(names), **VARIANTS[variant]}
    if not options["model"]:
        raise ConfigError("The search space needs at least one model; the hub gave none.")
    for name, keep in (narrow or {}).items():
        if name not in options:
            raise ConfigError(unknown(f"hyperparameter of space '{variant}'", str(name), options))
        options[name] = _keep(name, options[name], keep)
    space = ConfigurationSpace(name=variant)
    for name, values in options.items():
        if name not in CONDITIONS:
            space.add(_hyperparameter(name, values))
    for child, (parent, active) in CONDITIONS.items():
        holds = [value for value in options.get(parent, ()) if value in active]
        if child in options and holds:
            space.add(_hyperparameter(child, options[child]))
            space.add(InCondition(space[child], space[parent], holds))
    return space


def _keep(name: str, options: tuple[Any, ...], keep: Sequence[Any]) -> tuple[Any, ...]:
    """The options to keep, in the order of the space."""
    if isinstance(keep, str) or not isinstance(keep, Iterable):
        raise ConfigError(f"narrow.{name} must be a list of options, not {keep!r}.")
    kept = []
    for value in keep:
        try:
            kept.append(match_option(value, options))
        except LookupError:
            known = [str(option) for option in options]
            raise ConfigError(
                unknown(f"option of {name}", str(value), known) + f" Options: {', '.join(known)}."
            ) from None
    if not kept:
        raise ConfigError(f"narrow.{name} keeps no option; leave it out to keep all of {list(options)}.")
    return tuple(option for option in options if option in kept)


def _hyperparameter(name: str, options: tuple[Any, ...]) -> CategoricalHyperparameter | OrdinalHyperparameter:
    ordered = all(isinstance(option, int | float) and not isinstance(option, bool) for option in options)
    if ordered and len(options) > 1:
        return OrdinalHyperparameter(name, list(options))
    return CategoricalHyperparameter(name, list(options))
