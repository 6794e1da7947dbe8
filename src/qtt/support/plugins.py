"""What other packages add to qtt: entry points, found by name and imported when they are asked for.

A package announces what it has in its pyproject.toml, for instance

    [project.entry-points."qtt.optimizers"]
    mine = "my_package.optimizer:MyOptimizer"
"""

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from qtt.errors import ConfigError, unknown

GROUPS = {
    "qtt.tasks": "task",
    "qtt.optimizers": "optimizer",
    "qtt.trackers": "tracker",
    "qtt.hubs": "model hub",
    "qtt.datasets": "dataset",
    "qtt.regularizers": "regularizer",
}
"""Groups of entry points, and what one of each is called."""


def installed(group: str) -> Mapping[str, EntryPoint]:
    """Entry points of one of `GROUPS` by name, sorted; nothing is imported.

    Raises:
        ConfigError: two packages use the same name for different things.
    """
    found: dict[str, EntryPoint] = {}
    for point in sorted(entry_points(group=group), key=lambda point: (point.name, point.value)):
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise ConfigError(
                f"Two packages install the {GROUPS[group]} '{point.name}': {other.value} and {point.value}. "
                "Uninstall one of them."
            )
    return found


def load(group: str, name: str) -> Any:
    """What an installed package announces under a name.

    Raises:
        ConfigError: nothing is announced under it (close matches are named), or it cannot be imported.
    """
    known = installed(group)
    if name not in known:
        raise ConfigError(unknown(GROUPS[group], name, known))
    try:
        return known[name].load()
    except Exception as error:
        raise ConfigError(
            f"The {GROUPS[group]} '{name}' ({known[name].value}) cannot be imported: "
            f"{type(error).__name__}: {error}"
        ) from error
