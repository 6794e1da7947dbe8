"""Names of run folders: the same command finds its search again."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    "retry_failed",
    "trainer",
    "isolation",
    "weights_dir",
)
"""Overrides that do not change what is searched, and so do not change the name of the run folder."""


def run_directory(config: "DictConfig", overrides: Sequence[str], choices: Mapping[str, Any]) -> Path:
    """Where a run's results go: `runs_dir/<experiment or dataset>/<overrides that change the search>`.

    The name holds no time, so that the same command continues its run, and a larger budget does too.
    """
    if config.run_dir is not None:
        return Path(config.run_dir)
    naming = sorted(o.lstrip("+~") for o in overrides if not o.lstrip("+~").startswith(UNNAMED))
    name = ",".join(re.sub(r"[^\w=.,+-]+", "-", override) for override in naming)
    return Path(config.runs_dir) / str(choices.get("experiment") or choices["dataset"]) / (name or "default")
