"""Names of run folders: the same command finds its search again."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtt.cli.kinds import Number
from qtt.cli.values import KINDS

if TYPE_CHECKING:
    from omegaconf import DictConfig

UNNAMED = (
    "experiment",
    "budget.",
    "run_dir",
    "runs_dir",
    "tracker",
    "quiet=",
    "disk_quota_gb",
    "patience_s",
    "hang_",
    "retry_failed",
    "trainer",
    "executor",
    "weights_dir",
)
"""Overrides that do not change what is searched, and so do not change the name of the run folder."""


LONGEST = 120
"""Bytes of a name; file systems end at 255, and files within have names as well."""


def run_directory(config: "DictConfig", overrides: Sequence[str], choices: Mapping[str, Any]) -> Path:
    """Where a run's results go: `runs_dir/<experiment or dataset>/<overrides that change the search>`.

    The name holds no time, so that the same command continues its run, and a larger budget does too. A long
    one is cut, and ends with a hash of the whole.
    """
    if config.run_dir is not None:
        return Path(config.run_dir)
    naming = sorted(o.lstrip("+~") for o in overrides if not o.lstrip("+~").startswith(UNNAMED))
    name = ",".join(re.sub(r"[^\w=.,+-]+", "-", _written(override)) for override in naming)
    parent = Path(config.runs_dir) / str(choices.get("experiment") or choices["dataset"])
    whole = parent / (name or "default")
    return whole if _fits(name) or _is_there(whole) else parent / _shortened(name)


def _written(override: str) -> str:
    """An override as it would be written without quotes and units."""
    key, equals, value = override.partition("=")
    if len(value) > 1 and value[0] in "'\"" and value[-1] == value[0]:
        value = re.sub(r"\\(['\"])", r"\1", value[1:-1])
    kind = KINDS["run"].get(key)
    if isinstance(kind, Number) and not re.fullmatch(r"[\d.e+-]+|null", value):
        with suppress(ValueError):
            value = f"{kind.read(value):g}"
    return f"{key}{equals}{value}"


def _fits(name: str) -> bool:
    return len(name.encode()) <= LONGEST


def _is_there(folder: Path) -> bool:
    """Whether an earlier version began a run there."""
    try:
        return folder.is_dir()
    except OSError:  # the name is too long
        return False


def _shortened(name: str) -> str:
    digest = hashlib.sha256(name.encode()).hexdigest()[:10]
    kept = name.encode()[: LONGEST - len(digest) - 1].decode(errors="ignore")
    return f"{kept}-{digest}"
