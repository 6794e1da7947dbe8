"""Hubs that other packages announce by an entry point of the group `qtt.hubs`.

    [project.entry-points."qtt.hubs"]
    mine = "my_package:hub"

The entry point is a `ModelHub`, the path of a YAML file of cards or of a folder of weights, or a function
that gives one of these.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qtt.errors import ModelHubError
from qtt.hub.model_hub import ModelHub, hub_of_path
from qtt.support.plugins import installed, load

GROUP = "qtt.hubs"


def announced_hubs() -> tuple[str, ...]:
    """Names of the hubs that installed packages announce; nothing is imported."""
    return tuple(installed(GROUP))


def announced_hub(name: str, models: Sequence[str] | None = None, **settings: Any) -> ModelHub:
    """The hub that a package announces under a name, and under that name.

    Args:
        name: of the entry point.
        models: names to keep, in this order; None: all.
        settings: of the function, where it is one.

    Raises:
        ConfigError: no package announces it, or it cannot be imported.
        ModelHubError: what is announced is no hub, or has no such model.
    """
    made = load(GROUP, name)
    if callable(made):
        made = made(**settings)
    if isinstance(made, str | os.PathLike):
        made = hub_of_path(Path(made))
    if not isinstance(made, ModelHub):
        raise ModelHubError(
            f"The model hub '{name}' ({installed(GROUP)[name].value}) gives a {type(made).__name__}; it must "
            "give a ModelHub, or the path of a YAML file of cards or of a folder of weights."
        )
    hub = replace(made, name=name)
    return hub if models is None else hub.subset(models)
