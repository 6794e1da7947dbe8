"""The search space of Quick-Tune: strategy, regularisation, augmentation, optimizer, schedule and model.

Options and conditions are those of the papers (Quick-Tune, ICLR 2024, appendix; Quick-Tune-Tool, AutoML 2024,
Table 3). "None" is Python's None; a hyperparameter that is not active is absent from a config.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ConfigSpace import (
    CategoricalHyperparameter,
    ConfigurationSpace,
    InCondition,
    OrdinalHyperparameter,
    UniformFloatHyperparameter,
    UniformIntegerHyperparameter,
)

from qtt.errors import ConfigError, unknown
from qtt.hub.model_hub import ModelHub
from qtt.space.domains import Options, Range, match_option
from qtt.space.hyperparameters import CONDITIONS, FULL, Hyperparameter, registered

_TOOL_PAPER = (
    *("pct_to_freeze", "layer_decay", "linear_probing", "stoch_norm"),
    *("mixup", "mixup_prob", "cutmix", "drop", "data_augmentation", "auto_augment"),
    *("opt", "lr", "batch_size"),
)

_QUICKSTART: Mapping[str, tuple[Any, ...]] = {
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

_PHOTOS: Mapping[str, tuple[Any, ...]] = {
    "head_init": ("probe",),
    "freeze_norms": (True,),
    "schedule_epochs": (3, 5, 10, 20, 50),
    "hflip": (0.0, 0.5),
    "pct_to_freeze": (0.0, 0.2, 0.4, 0.6),
    "layer_decay": (None, 0.65, 0.75),
    "mixup": (0.0, 0.2),
    "mixup_prob": (1.0,),
    "smoothing": (0.0, 0.1),
    "data_augmentation": (None, "trivial_augment"),
    "opt": ("adamw",),
    "lr": (3e-5, 1e-4, 2e-4, 5e-4, 1e-3),
    "weight_decay": (0.0, 1e-2, 1e-1),
    "batch_size": (16, 32, 64),
    "sched": ("cosine",),
    "warmup_epochs": (0,),
}

VARIANTS: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "full": FULL,
    "tool_paper": {name: FULL[name] for name in _TOOL_PAPER},
    "quickstart": _QUICKSTART,
    "photos": _PHOTOS,
}
"""full: all of the papers' space, and what other packages registered. tool_paper: the subset of Table 3.
quickstart: narrow, for small models and short searches on CPU cores. photos: what can win on photos of one's
own within minutes to hours: linear probes, finetuning from there, schedules of several lengths."""


def build_space(
    variant: str,
    models: ModelHub | Iterable[str],
    narrow: Mapping[str, Options] | None = None,
    *,
    extras: bool = True,
) -> ConfigurationSpace:
    """The conditional space of one variant over a hub's models.

    variant: one of `VARIANTS`.
    models: the hub, or the names of its models to keep: the options of `model`.
    narrow: hyperparameter to the options to keep of it; "none" may stand for None. A hyperparameter whose
        condition no longer can hold leaves the space, narrowed or not.
    extras: whether what other packages registered (`qtt.space.hyperparameters`) is part of `full`. Whatever
        `narrow` names is part of any variant.

    Raises:
        ConfigError: an unknown variant, hyperparameter or option (close matches are named), or none left.
    """
    if variant not in VARIANTS:
        raise ConfigError(unknown("search space", variant, VARIANTS))
    names = models.names if isinstance(models, ModelHub) else models
    options: dict[str, Options] = {"model": tuple(names), **VARIANTS[variant]}
    if not options["model"]:
        raise ConfigError("The search space needs at least one model; the hub gave none.")
    joined = _joined(variant, narrow or {}, extras)
    options |= {name: item.options for name, item in joined.items()}
    for name, keep in (narrow or {}).items():
        if name not in options:
            known = [*options, *registered()]
            raise ConfigError(unknown(f"hyperparameter of space '{variant}'", str(name), known))
        options[name] = _keep(name, options[name], keep)
    conditions = {**CONDITIONS, **{n: item.condition for n, item in joined.items() if item.condition}}
    space = ConfigurationSpace(name=variant)
    for name, values in options.items():
        if name not in conditions:
            space.add(_hyperparameter(name, values))
    for child in _parents_first(conditions):
        parent, active = conditions[child]
        holds = _holding(options[parent], active) if parent in space else []
        if child in options and holds:
            space.add(_hyperparameter(child, options[child]))
            space.add(InCondition(space[child], space[parent], holds))
    return space


def _joined(variant: str, narrow: Mapping[str, Any], extras: bool) -> dict[str, Hyperparameter]:
    """The registered hyperparameters that are part of a space; entry points are read where they matter."""
    named = set(narrow) - FULL.keys() - VARIANTS[variant].keys() - {"model"}
    everything = extras and variant == "full"
    found = registered() if everything or named else {}
    return {name: item for name, item in found.items() if everything or name in named}


def _parents_first(conditions: Mapping[str, tuple[str, tuple[Any, ...]]]) -> list[str]:
    """Children in their order, each behind its parent where that is a child, too."""
    order: list[str] = []

    def add(child: str, *waiting: str) -> None:
        if child in waiting:
            raise ConfigError(f"The condition of '{child}' leads back to itself.")
        parent = conditions[child][0]
        if parent in conditions and parent not in order:
            add(parent, child, *waiting)
        if child not in order:
            order.append(child)

    for child in conditions:
        add(child)
    return order


def _holding(options: Options, active: tuple[Any, ...]) -> list[Any]:
    """The values of a parent that make a child active, those alone which the parent can have."""
    if isinstance(options, Range):
        return [options.match(value) for value in active if options.holds(value)]
    return [value for value in options if value in active]


def _keep(name: str, options: Options, keep: Options) -> Options:
    """The options to keep, in the order of the space; of a range itself, or any of its numbers."""
    if keep == options:
        return options
    if isinstance(keep, str | Range) or not isinstance(keep, Iterable):
        raise ConfigError(f"narrow.{name} must be a list of options, not {keep!r}.")
    kept = [_match(name, options, value) for value in keep]
    if not kept:
        every = options if isinstance(options, Range) else list(options)
        raise ConfigError(f"narrow.{name} keeps no option; leave it out to keep all of {every}.")
    if isinstance(options, Range):
        return tuple(sorted(set(kept)))
    return tuple(option for option in options if option in kept)


def _match(name: str, options: Options, value: Any) -> Any:
    try:
        return options.match(value) if isinstance(options, Range) else match_option(value, options)
    except LookupError:
        pass
    if isinstance(options, Range):
        raise ConfigError(f"narrow.{name} has {value!r}; it may have {options}.")
    known = [str(option) for option in options]
    raise ConfigError(unknown(f"option of {name}", str(value), known) + f" Options: {', '.join(known)}.")


def _hyperparameter(name: str, options: Options) -> Any:
    """ConfigSpace's hyperparameter: a range, a scale of numbers, or a choice."""
    if isinstance(options, Range):
        kind = UniformIntegerHyperparameter if options.integer else UniformFloatHyperparameter
        return kind(name, options.lower, options.upper, log=options.log, default_value=options.default)
    ordered = all(isinstance(option, int | float) and not isinstance(option, bool) for option in options)
    if ordered and len(options) > 1:
        return OrdinalHyperparameter(name, list(options))
    return CategoricalHyperparameter(name, list(options))
