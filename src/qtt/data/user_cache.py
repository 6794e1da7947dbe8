"""Where files are kept that can be made again."""

import os
from pathlib import Path


def user_cache() -> Path:
    """`$QTT_CACHE`, else `~/.cache/qtt`; it may not exist yet.

    Raises:
        RuntimeError: the user has no home.
    """
    return Path(os.environ.get("QTT_CACHE") or Path.home() / ".cache" / "qtt").expanduser()
