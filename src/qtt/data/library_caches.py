"""Caches of the libraries that qtt uses, where the user's home is none or cannot be written to."""

import os
from collections.abc import Mapping
from pathlib import Path

from qtt.data.user_cache import find_cache, writable
from qtt.errors import ConfigError

KEPT = ("HF_HOME", "TORCH_HOME")
"""Variables of caches of downloads: one that is there is of use, if only to be read."""


def keep_library_caches() -> None:
    """Have libraries that are imported from here on keep their caches below qtt's, where they cannot at home.

    Without a cache Matplotlib warns and makes a new one in every process, W&B logs no tables, and the Hugging
    Face hub downloads nothing.
    """
    os.environ.update(library_caches())


def library_caches() -> Mapping[str, str]:
    """The environment variables that name such caches, as far as they are needed and the user sets none."""
    needed = [
        name
        for name, folders in _usual().items()
        if not os.environ.get(name) and not all(_of_use(name, folder) for folder in folders)
    ]
    try:
        folder = find_cache()[0].absolute() / "libraries"
    except ConfigError:  # they will do without, and say so
        return {}
    return {name: str(folder / name.lower()) for name in needed}


def _usual() -> dict[str, tuple[Path | None, ...]]:
    """Where libraries keep their caches unless a variable names another place; None: they find none."""
    config = _base("XDG_CONFIG_HOME", ".config")
    cache = _base("XDG_CACHE_HOME", ".cache")
    data = _base("", ".local", "share")
    return {
        "HF_HOME": (cache and cache / "huggingface",),
        "MPLCONFIGDIR": (config and config / "matplotlib", cache and cache / "matplotlib"),
        "TORCH_HOME": (cache and cache / "torch",),
        "WANDB_CACHE_DIR": (cache and cache / "wandb",),
        "WANDB_CONFIG_DIR": (config and config / "wandb",),
        "WANDB_DATA_DIR": (data and data / "wandb",),
    }


def _base(variable: str, *below_home: str) -> Path | None:
    if named := os.environ.get(variable):
        return Path(named)
    try:
        return Path.home().joinpath(*below_home)
    except RuntimeError:
        return None


def _of_use(name: str, folder: Path | None) -> bool:
    if folder is None:
        return False
    return writable(folder) or (name in KEPT and os.access(folder, os.R_OK))
