"""A search space of one's own: any `ConfigSpace.ConfigurationSpace`, from a file or from a function.

ConfigSpace writes spaces itself (`space.to_json(path)`, `space.to_yaml(path)`); a file is data, nothing in it
is run. A function is imported by name, and called with the names of the hub's models where it takes an
argument.
"""

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ConfigSpace import CategoricalHyperparameter, ConfigurationSpace, OrdinalHyperparameter

from qtt.errors import ConfigError
from qtt.support.files import parse_json
from qtt.support.functions import function_named

HOW = "ConfigSpace writes one with space.to_json(path) or space.to_yaml(path)."


def own_space(
    path: str | Path | None = None, function: str | None = None, models: Sequence[str] = ()
) -> ConfigurationSpace:
    """The space of a file or of a function, as `search_space=own` names it.

    path: file that ConfigSpace wrote, as JSON or YAML.
    function: `module.function` that returns a space. models: names of the hub's models, for the function.

    Raises:
        ConfigError: neither or both are given, or there is no space to be had.
    """
    if (path is None) == (function is None):
        raise ConfigError(
            "A search space of your own comes from a file or from a function: give either "
            "search_space.path=space.yaml or search_space.function=my_module.make_space."
        )
    return read_space(path) if path is not None else call_space(str(function), models)


def read_space(path: str | Path) -> ConfigurationSpace:
    """The space of a file that ConfigSpace wrote, as JSON or YAML.

    Raises:
        ConfigError: there is no such file, or no space in it.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"There is no search space {path.absolute()}. {HOW}")
    try:
        text = path.read_text(encoding="utf-8")
        return space_from_dict(parse_json(text) if path.suffix == ".json" else _read_yaml(text))
    except Exception as error:  # ConfigSpace raises whatever the contents lead to
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(f"{path} holds no search space ({what}). {HOW}") from error


def call_space(function: str, models: Sequence[str] = ()) -> ConfigurationSpace:
    """The space that a function returns.

    Raises:
        ConfigError: the function cannot be imported, cannot be called so, or returns something else.
    """
    make = function_named(function, "search_space.function")
    space = make(*([tuple(models)] if _takes_models(make) else []))
    if not isinstance(space, ConfigurationSpace):
        raise ConfigError(
            f"search_space.function={function} returned a {type(space).__name__}; it must return a "
            "ConfigSpace.ConfigurationSpace."
        )
    return space


def space_to_dict(space: ConfigurationSpace) -> dict[str, Any]:
    """JSON-able dict; inverse of `space_from_dict`."""
    data: dict[str, Any] = json.loads(json.dumps(space.to_serialized_dict(), default=_plain))
    return data


def space_from_dict(data: dict[str, Any]) -> ConfigurationSpace:
    """Read what `space_to_dict` or ConfigSpace wrote; lists among the options become tuples.

    Raises whatever ConfigSpace does where that is no space.
    """
    if not isinstance(data, dict) or "hyperparameters" not in data:
        raise ValueError("it has no hyperparameters")
    return ConfigurationSpace.from_serialized_dict(_with_tuples(data))


def with_hashable_options(space: ConfigurationSpace) -> ConfigurationSpace:
    """The space itself, or where options of it are lists the same with tuples."""
    for hyperparameter in space.values():
        if isinstance(hyperparameter, CategoricalHyperparameter):
            options = hyperparameter.choices
        elif isinstance(hyperparameter, OrdinalHyperparameter):
            options = hyperparameter.sequence
        else:
            continue
        if any(isinstance(option, list) for option in options):
            return space_from_dict(space_to_dict(space))
    return space


def _takes_models(make: Any) -> bool:
    """Whether a function needs, or can have, an argument."""
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        return any(p.kind in places for p in inspect.signature(make).parameters.values())
    except (TypeError, ValueError):  # some compiled functions do not say
        return False


def _read_yaml(text: str) -> Any:
    """YAML with the tuples that ConfigSpace writes into it, and no other object."""
    return yaml.load(text, _Loader)


class _Loader(yaml.SafeLoader):
    """Plain data, and tuples."""


def _tuple(loader: yaml.SafeLoader, node: yaml.SequenceNode) -> tuple[Any, ...]:
    return tuple(loader.construct_sequence(node, deep=True))


_Loader.add_constructor("tag:yaml.org,2002:python/tuple", _tuple)


def _with_tuples(value: Any) -> Any:
    """JSON's lists of options as tuples again, so that betas are hashable; lists of objects stay lists."""
    if isinstance(value, dict):
        return {key: _with_tuples(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_with_tuples(item) for item in value]
        return items if any(isinstance(item, dict) for item in items) else tuple(items)
    return value


def _plain(value: Any) -> Any:
    """Python's numbers for numpy's; of anything else, which only `meta` can hold, its text."""
    return value.item() if isinstance(value, np.generic) else str(value)
