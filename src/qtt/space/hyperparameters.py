"""The hyperparameters of a pipeline: what each of them may be, and when it is active, in one place.

Those of the papers are declared here (Quick-Tune, ICLR 2024, appendix; Quick-Tune-Tool, AutoML 2024, Table
3). Another package adds its own with `register`, or a term of the training loss with
`qtt.finetune.cv.classification.register_regularizer`, in a module that is imported before the search, or that
an entry point of the group `qtt.regularizers` names:

    [project.entry-points."qtt.regularizers"]
    my_reg = "my_package.terms:MY_REG"

What is registered is part of the space variant `full`, and of others where `narrow` names it.
"""

import importlib.util
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from qtt.errors import ConfigError
from qtt.space.domains import Options, Range
from qtt.support import plugins

GROUP = "qtt.regularizers"


@dataclass(frozen=True)
class Hyperparameter:
    """One registration, which space, recipe, loss and predictors all go by.

    options: in the space; numbers in ascending order are a scale, and a `Range` holds all numbers.
    default: of a pipeline that leaves it out; neutral: as if it did not exist.
    condition: parent, and the options of it with which this one is active; elsewhere it is absent.
    check: whether the recipe takes a value; None: an option alone. hint: what to give instead.
    loss_weight: it weighs a term of the loss, on this scale.

    Raises:
        ConfigError: no name or options, or a default that `check` refuses.
    """

    name: str
    options: Options
    default: Any
    condition: tuple[str, tuple[Any, ...]] | None = None
    check: Callable[[Any], bool] | None = None
    hint: str = ""
    loss_weight: Literal["log", "linear"] | None = None

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ConfigError(f"A hyperparameter is named like a variable of Python; got {self.name!r}.")
        if not isinstance(self.options, Range):
            object.__setattr__(self, "options", tuple(self.options))
            if not self.options:
                raise ConfigError(f"The hyperparameter {self.name} has no options.")
        if not self.takes(self.default):
            raise ConfigError(f"The default {self.name}={self.default!r} is impossible: {self.advice}.")

    def takes(self, value: Any) -> bool:
        """Whether a pipeline may have this value, which need not be an option."""
        if self.check is not None:
            return bool(self.check(value))
        if isinstance(self.options, Range):
            return self.options.holds(value)
        return any(
            isinstance(option, bool) == isinstance(value, bool) and option == value for option in self.options
        )

    @property
    def advice(self) -> str:
        """What values there are, in words."""
        return self.hint or (
            f"give {self.options}" if isinstance(self.options, Range) else f"choose from {self.options}"
        )


def register(hyperparameter: Hyperparameter, module: str | None = None) -> Hyperparameter:
    """Make a hyperparameter known; returns it.

    module: that registers it, by default the caller's. Training processes import it, too.

    Raises:
        ConfigError: the name is taken by one of the papers', or by another module.
    """
    module = module or str(sys._getframe(1).f_globals.get("__name__", "__main__"))
    name = hyperparameter.name
    if name in OWN or name == "model":
        raise ConfigError(f"'{name}' is a hyperparameter of qtt itself; register yours by another name.")
    known = _registered.get(name)
    if known is not None and known[1] != module:
        raise ConfigError(f"'{name}' is registered by {known[1]} and by {module}; rename one of them.")
    _registered[name] = hyperparameter, module
    return hyperparameter


def registered() -> Mapping[str, Hyperparameter]:
    """What was registered beside the papers' hyperparameters, by name; entry points are imported first.

    Raises:
        ConfigError: an entry point cannot be imported, or names something else.
    """
    for name, point in plugins.installed(GROUP).items():
        if point.value in _loaded:
            continue
        loaded = plugins.load(GROUP, name)
        if not isinstance(getattr(loaded, "hyperparameter", loaded), Hyperparameter):
            raise ConfigError(
                f"The entry point {name} = {point.value} of {GROUP} names a {type(loaded).__name__}; it must "
                "name what register_regularizer, or register, returned."
            )
        _loaded.add(point.value)
    return {name: _registered[name][0] for name in sorted(_registered)}


def registering_modules() -> tuple[str, ...]:
    """The modules that have registered something, which a training process must import as well."""
    return tuple(dict.fromkeys(module for _, module in _registered.values()))


def nameless_modules() -> tuple[str, ...]:
    """Those of them that another process cannot import by name, as the script that is run."""
    return tuple(name for name in registering_modules() if name == "__main__" or not _importable(name))


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


_registered: dict[str, tuple[Hyperparameter, str]] = {}
"""By name, with the module that registered it."""

_loaded: set[str] = set()
"""Values of the entry points that were imported."""


def number(value: Any) -> bool:
    """A finite number; booleans are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def not_negative(value: Any) -> bool:
    """A number from 0."""
    return number(value) and value >= 0


def _integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _count(value: Any) -> bool:
    return _integer(value) and value >= 1


def _share(value: Any) -> bool:
    return number(value) and 0 <= value <= 1


def _below_one(value: Any) -> bool:
    return number(value) and 0 <= value < 1


def _positive(value: Any) -> bool:
    return number(value) and value > 0


def _factor(value: Any) -> bool:
    return _positive(value) and value < 1


def _boolean(value: Any) -> bool:
    return isinstance(value, bool)


def _layer_decay(value: Any) -> bool:
    return value is None or (_positive(value) and value <= 1)


def _clip_grad(value: Any) -> bool:
    return value is None or _positive(value)


def _magnitude(value: Any) -> bool:
    return _integer(value) and 0 <= value <= 30


def _epochs(value: Any) -> bool:
    return _integer(value) and value >= 0


def _schedule_epochs(value: Any) -> bool:
    return value is None or _count(value)


def _own_share(value: Any) -> bool:
    return value is None or _share(value)


def _betas(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(map(_below_one, value))


WEIGHT_HINT = "give a weight from 0, where 0 is off"
"""For weights of terms of the loss."""

_WEIGHTS = (0.0, 1e-4, 1e-3, 1e-2, 1e-1)
_RANDOM = ("data_augmentation", ("random_augment",))
_ADAPTIVE = ("opt", ("adam", "adamw", "adamp"))
_STEPS = ("sched", ("step", "multistep"))


def _switch(name: str) -> Hyperparameter:
    return Hyperparameter(name, (False, True), False, None, _boolean, "give True or False")


def _weight(
    name: str, options: tuple[float, ...] = _WEIGHTS, scale: Literal["log", "linear"] = "log"
) -> Hyperparameter:
    return Hyperparameter(name, options, 0.0, None, not_negative, WEIGHT_HINT, scale)


def _beta(name: str, options: tuple[float, ...]) -> Hyperparameter:
    hint = "give a Beta parameter from 0, where 0 is off"
    return Hyperparameter(name, options, 0.0, None, not_negative, hint)


BUILT_IN: tuple[Hyperparameter, ...] = (
    # finetuning strategy
    Hyperparameter(
        "pct_to_freeze", (0.0, 0.2, 0.4, 0.6, 0.8, 1.0), 0.0, None, _share, "give a share from 0 to 1"
    ),
    Hyperparameter(
        "layer_decay", (None, 0.65, 0.75), None, None, _layer_decay, "give a factor above 0 up to 1, or None"
    ),
    _switch("linear_probing"),
    _switch("stoch_norm"),
    _weight("sp_reg"),
    _weight("delta_reg"),
    _weight("bss_reg"),
    _weight("cotuning_reg", (0.0, 0.5, 1.0, 2.0, 4.0), "linear"),
    # regularisation
    _beta("mixup", (0.0, 0.2, 0.4, 1.0, 2.0, 4.0, 8.0)),
    Hyperparameter("mixup_prob", (0.0, 0.25, 0.5, 0.75, 1.0), 1.0, None, _share, "give a probability"),
    _beta("cutmix", (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)),
    Hyperparameter("drop", (0.0, 0.1, 0.2, 0.3, 0.4), 0.0, None, _below_one, "give a probability below 1"),
    Hyperparameter("smoothing", (0.0, 0.05, 0.1), 0.0, None, _below_one, "give a share below 1"),
    Hyperparameter(
        "clip_grad",
        (None, 1.0, 10.0),
        None,
        None,
        _clip_grad,
        "give the largest gradient norm, above 0, or None for off",
    ),
    # augmentation
    Hyperparameter("data_augmentation", (None, "trivial_augment", "random_augment", "auto_augment"), None),
    Hyperparameter("auto_augment", (None, "v0", "original"), None, ("data_augmentation", ("auto_augment",))),
    Hyperparameter("ra_num_ops", (2, 3), 2, _RANDOM, _count, "give a count from 1"),
    Hyperparameter("ra_magnitude", (9, 17), 9, _RANDOM, _magnitude, "give a magnitude from 0 to 30"),
    # optimizer
    Hyperparameter("opt", ("sgd", "momentum", "adam", "adamw", "adamp"), "adamw"),
    Hyperparameter(
        "lr",
        (1e-5, 5e-5, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 1e-1),
        1e-3,
        None,
        _positive,
        "give a positive number",
    ),
    Hyperparameter(
        "weight_decay", (0.0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1), 0.0, None, not_negative, "give a number from 0"
    ),
    Hyperparameter(
        "batch_size", (2, 4, 8, 16, 32, 64, 128, 256, 512), 32, None, _count, "give a count from 1"
    ),
    _switch("amp"),
    Hyperparameter(
        "opt_betas",
        ((0.9, 0.999), (0.0, 0.99), (0.9, 0.99), (0.0, 0.999)),
        (0.9, 0.999),
        _ADAPTIVE,
        _betas,
        "give two numbers from 0, below 1",
    ),
    Hyperparameter(
        "momentum",
        (0.0, 0.8, 0.9, 0.95, 0.99),
        0.9,
        ("opt", ("momentum",)),
        _below_one,
        "give a number from 0, below 1",
    ),
    # schedule
    Hyperparameter("sched", (None, "cosine", "step", "multistep", "plateau"), "cosine"),
    Hyperparameter("warmup_epochs", (0, 5, 10), 0, None, _epochs, "give a count from 0"),
    Hyperparameter("warmup_lr", (0.0, 1e-6, 1e-5), 0.0, None, not_negative, "give a number from 0"),
    Hyperparameter("decay_rate", (0.1, 0.5), 0.1, _STEPS, _factor, "give a factor between 0 and 1"),
    Hyperparameter("decay_epochs", (10, 20), 10, _STEPS, _count, "give a count from 1"),
    Hyperparameter("patience_epochs", (2, 5, 10), 5, ("sched", ("plateau",)), _epochs, "give a count from 0"),
)
"""The papers' hyperparameters, in their order."""

ADDED: tuple[Hyperparameter, ...] = (
    Hyperparameter(
        "schedule_epochs",
        (5, 10, 20, 50),
        None,
        None,
        _schedule_epochs,
        "give the epochs that the schedule spans, or None for those of the search",
    ),
    Hyperparameter("head_init", ("random", "probe"), "random"),
    _switch("freeze_norms"),
    Hyperparameter(
        "hflip", (0.0, 0.5), None, None, _own_share, "give a probability, or None for that of the settings"
    ),
)
"""What the papers' space does not have: an end of one's own for the schedule, a classifier that begins as a
linear probe (LP-FT: Kumar et al., ICLR 2022), batch norms that keep their statistics, and mirroring."""

OWN: Mapping[str, Hyperparameter] = {item.name: item for item in (*BUILT_IN, *ADDED)}
"""All that qtt itself has, by name; others are registered."""

FULL: Mapping[str, tuple[Any, ...]] = {
    item.name: item.options for item in BUILT_IN if isinstance(item.options, tuple)
}
"""Options of all of them; `model` has those of the hub."""

DEFAULTS: Mapping[str, Any] = {name: item.default for name, item in OWN.items()}
"""What a pipeline has that leaves one out."""

CONDITIONS: Mapping[str, tuple[str, tuple[Any, ...]]] = {
    item.name: item.condition for item in BUILT_IN if item.condition is not None
}
"""child: (parent, options of the parent that make the child active); elsewhere the child is absent."""
