"""Datasets that are made on this machine: written once into the cache folder, whole or not at all."""

import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from qtt.data.user_cache import VARIABLE, in_user_cache
from qtt.errors import ConfigError


def cached_folder(name: str, write: Callable[[Path], None], cache_dir: Path | str | None = None) -> Path:
    """The folder `name` of the cache, made by `write` at the first call; concurrent calls are safe.

    name: may lie in a folder of the cache, `datasets/cats` for instance.
    cache_dir: where to keep it; None: the user's cache, see `qtt.data.user_cache`.

    Raises:
        ConfigError: the cache cannot be written to, or has no room.
    """
    folder = Path(cache_dir).expanduser() / name if cache_dir else in_user_cache(name)
    if folder.is_dir():
        return folder
    temporary = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
    try:
        temporary.mkdir(parents=True)
        write(temporary)
        temporary.rename(folder)
    except OSError as error:
        if not folder.is_dir():  # else another process was faster, and wrote the same
            raise ConfigError(
                f"Images cannot be written to {folder} ({error.strerror or error}). Name a folder that "
                f"can be written to and has room: {VARIABLE}=DIR"
            ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder
