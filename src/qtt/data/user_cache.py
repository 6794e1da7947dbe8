"""Where files are kept that can be made again."""

import logging
import os
import stat
import tempfile
from functools import cache
from pathlib import Path

from qtt.errors import ConfigError

logger = logging.getLogger("qtt")

VARIABLE = "QTT_CACHE"
"""Environment variable that names the folder."""

REMEDY = f"Name a folder that can be written to: {VARIABLE}=DIR"


def user_cache() -> Path:
    """`$QTT_CACHE`, else `$XDG_CACHE_HOME/qtt`, else `~/.cache/qtt`; it may not exist yet.

    Where neither of the latter two can be written to, because the user has no home or may not write to it, it
    is a folder of the user's in the temporary directory, and that is said once.

    Raises:
        ConfigError: that cannot be written to either.
    """
    folder, why = find_cache()
    if why:
        _say(f"{why}: what can be made again is kept in {folder}. {REMEDY}")
    return folder


def in_user_cache(name: str) -> Path:
    """A file or folder of the cache: where it lies, if only to be read there, else where it is to be made.

    Raises:
        ConfigError: as `user_cache`.
    """
    usual = None if os.environ.get(VARIABLE) else _usual()
    if usual is not None and os.access(usual / name, os.R_OK):
        return usual / name
    return user_cache() / name


def find_cache() -> tuple[Path, str]:
    """The folder of `user_cache`, and why it is none of the usual ones; empty where it is.

    Raises:
        ConfigError: as `user_cache`.
    """
    if named := os.environ.get(VARIABLE):
        return Path(named).expanduser(), ""
    usual = _usual()
    if usual is not None and writable(usual):
        return usual, ""
    why = "You have no home folder" if usual is None else f"{usual} cannot be written to"
    return _temporary(why), why


def _usual() -> Path | None:
    """Where caches of this user lie by custom; None: the user has no home."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if Path(base).is_absolute():  # the specification has any other ignored
        return Path(base) / "qtt"
    try:
        return Path.home() / ".cache" / "qtt"
    except RuntimeError:
        return None


def writable(folder: Path) -> bool:
    """Whether a folder, which may not exist yet, can be written to."""
    try:
        nearest = next(place for place in (folder, *folder.parents) if place.exists())
    except OSError:  # it lies where the user may not even look
        return False
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)


def _temporary(why: str) -> Path:
    """The user's own folder in the temporary directory, made if need be; others must not write to it."""
    user = os.getuid() if hasattr(os, "getuid") else None
    try:
        folder = Path(tempfile.gettempdir()) / ("qtt" if user is None else f"qtt-{user}")
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise ConfigError(f"{why}, and neither can the temporary directory ({error}). {REMEDY}") from error
    if user is not None and not (stat.S_ISDIR(found.st_mode) and found.st_uid == user):
        raise ConfigError(f"{why}, and {folder} is not a folder of yours. {REMEDY}")
    if user is not None and found.st_mode & 0o022:
        raise ConfigError(f"{why}, and {folder} can be written to by others. {REMEDY}")
    return folder


@cache
def _say(line: str) -> None:
    """Warn, once in a process."""
    logger.warning(line)
