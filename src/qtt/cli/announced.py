"""What other packages announce, as options of the configuration's groups: `optimizer=NAME` for instance.

A package announces it by an entry point (see `qtt.support.plugins`):

    group         entry point     what it is
    optimizer     qtt.optimizers  class or function that takes `config_manager` and `seed`
    tracker       qtt.trackers    class of a `Tracker`; told beside console and trajectory.csv
    model_hub     qtt.hubs        what `qtt.hub.announced` reads
    dataset       qtt.datasets    function that gives the path of an image folder
    objective     qtt.tasks       a task

Its other parameters become keys of the option, with their defaults where these are plain values. `quiet`
and `weights_dir` follow those of the command. Names that `conf/` has already are qtt's own.
"""

import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint
from typing import Any

from qtt.errors import ConfigError
from qtt.support.plugins import installed, load

GROUPS = {
    "optimizer": "qtt.optimizers",
    "tracker": "qtt.trackers",
    "model_hub": "qtt.hubs",
    "dataset": "qtt.datasets",
    "objective": "qtt.tasks",
}
"""Groups of the configuration, and the entry points that add options to them."""

MISSING = "???"
FOLLOWED = {"quiet": "${quiet}", "weights_dir": "${weights_dir}"}
"""Parameters that follow a value of the command."""

Node = dict[str, Any]


def extensions() -> Mapping[str, Mapping[str, EntryPoint]]:
    """Entry points of other packages, by group of the configuration and name.

    Raises:
        ConfigError: two packages announce different things under one name.
    """
    return {
        group: {name: point for name, point in installed(announced).items() if not _ours(point)}
        for group, announced in GROUPS.items()
    }


def option(group: str, name: str) -> Node:
    """The configuration of an announced option.

    Raises:
        ConfigError: it cannot be imported, or cannot be used as what it is announced as.
    """
    return _OPTIONS[group](name)


def _ours(point: EntryPoint) -> bool:
    """Whether qtt itself announces it: its own options are files of `conf/`."""
    return point.dist is not None and point.dist.name == "qtt"


def _optimizer(name: str) -> Node:
    target, parameters = _callable("optimizer", name)
    given = ("config_manager", "seed")
    lacking = [word for word in given if word not in parameters and not _takes_any(parameters)]
    if lacking:
        raise ConfigError(
            f"The optimizer '{name}' ({target}) takes no {' and no '.join(lacking)}; an optimizer that a "
            "package announces is called with both. See qtt.optimizers.base."
        )
    return {"_target_": target, "_partial_": True, **_keys(parameters, without=given)}


def _tracker(name: str) -> Node:
    target, parameters = _callable("tracker", name)
    return {"defaults": ["default"], name: {"_target_": target, **_keys(parameters)}}


def _dataset(name: str) -> Node:
    target, parameters = _callable("dataset", name)
    return {"_target_": target, **_keys(parameters)}


def _model_hub(name: str) -> Node:
    announced = load(GROUPS["model_hub"], name)
    parameters = _parameters(announced) if callable(announced) else {}
    return {
        "_target_": "qtt.hub.announced.announced_hub",
        "_convert_": "all",
        "name": name,
        "models": None,
        **_keys(parameters, without=("name", "models")),
    }


def _objective(name: str) -> Node:
    return {"task": name, "function": None, "settings": {}}


_OPTIONS: Mapping[str, Callable[[str], Node]] = {
    "optimizer": _optimizer,
    "tracker": _tracker,
    "model_hub": _model_hub,
    "dataset": _dataset,
    "objective": _objective,
}


def _callable(group: str, name: str) -> tuple[str, Mapping[str, inspect.Parameter]]:
    """Dotted path of a class or function that a package announces, and its parameters."""
    made = load(GROUPS[group], name)
    point = installed(GROUPS[group])[name]
    if not (callable(made) and point.attr):
        raise ConfigError(f"The {group} '{name}' ({point.value}) is no class and no function: module:name.")
    return f"{point.module}.{point.attr}", _parameters(made)


def _parameters(made: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(made).parameters
    except (TypeError, ValueError):  # of what is not written in Python
        return {}


def _takes_any(parameters: Mapping[str, inspect.Parameter]) -> bool:
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())


def _keys(parameters: Mapping[str, inspect.Parameter], without: tuple[str, ...] = ()) -> Node:
    """Parameters that can be named, with their defaults; those without must be given."""
    keys: Node = {}
    for name, parameter in parameters.items():
        if name in without or parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            continue
        if name in FOLLOWED:
            keys[name] = FOLLOWED[name]
        elif parameter.default is parameter.empty:
            keys[name] = MISSING
        elif _is_plain(parameter.default):
            keys[name] = parameter.default
    return keys


def _is_plain(value: Any) -> bool:
    """Whether a YAML file could hold the value as it is."""
    if isinstance(value, str):
        return "${" not in value and value != MISSING
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    return value is None or isinstance(value, bool | int | float)
