"""Datasets that are made on this machine: written once into the cache folder, whole or not at all."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from qtt.data.user_cache import user_cache


def cached_folder(name: str, write: Callable[[Path], None], cache_dir: Path | str | None = None) -> Path:
    """The folder `name` of the cache, made by `write` at the first call; concurrent calls are safe.

    cache_dir: where to keep it; None: `$QTT_CACHE`, else `~/.cache/qtt`.
    """
    cache = Path(cache_dir).expanduser() if cache_dir else user_cache()
    folder = cache / name
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=cache))
    try:
        write(temporary)
        temporary.chmod(0o755)  # mkdtemp's own folders are private
        temporary.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was faster, and wrote the same
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder
