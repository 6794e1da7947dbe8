"""Functions that a configuration names."""

import pkgutil
from collections.abc import Callable
from typing import Any

from qtt.errors import ConfigError


def function_named(name: str, key: str) -> Callable[..., Any]:
    """The function `module.function`.

    key: of the configuration, for messages.

    Raises:
        ConfigError: it cannot be imported, or is no function.
    """
    try:
        found: Any = pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{key}={name} cannot be imported: {error}. Name it module.function, where the module lies in "
            "the current folder or is installed."
        ) from error
    if not callable(found):
        raise ConfigError(f"{key}={name} is a {type(found).__name__}, and no function.")
    return found  # type: ignore[no-any-return]
