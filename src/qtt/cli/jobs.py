"""Sweeps whose searches are jobs of a cluster, submitted by one of submitit's launchers (`hydra/launcher=…`).

Hydra hands its callbacks to the jobs as they were when the sweep began: so each job knows where to leave its
outcome, and the process that submitted it waits and tells of all.
"""

import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.text import Text

from qtt.cli.messages import fail
from qtt.cli.sweeps import this_sweep
from qtt.support.console_tables import wide_console

GROUP = "hydra/launcher"
LIBRARY = "submitit"
"""What the names of launchers begin with that come with submitit's plugin."""

SLURM = ".SlurmLauncher"
"""How the class ends of the one that needs Slurm."""


class Jobs(Callback):
    """Lets jobs know where to leave their outcomes, and the process that submits them where to find them."""

    def __init__(self) -> None:
        self._outcomes: Path | None = None

    def on_multirun_start(self, config: DictConfig, **more: Any) -> None:
        """The sweep begins in this process; are its searches jobs, it says where their output goes.

        Raises:
            Failure: they are to be jobs of Slurm, and there is none here.
        """
        folder = config.hydra.launcher.get("submitit_folder")
        if folder is None:
            return
        if config.hydra.launcher._target_.endswith(SLURM) and shutil.which("srun") is None:
            launcher = config.hydra.runtime.choices[GROUP]
            fail(f"{GROUP}={launcher} submits jobs to Slurm, and there is no srun on this machine.")
        logs = Path(str(folder)).parent.absolute()
        self._outcomes = logs / f"outcomes-{secrets.token_hex(8)}"
        this_sweep().expect_outcomes_in(self._outcomes)
        line = f"Each search is a job; what it prints goes to {logs}/JOB."
        wide_console().print(Text(line), soft_wrap=True)

    def on_job_start(self, config: DictConfig, **more: Any) -> None:
        """A search begins, in this process or in that of its job."""
        if self._outcomes is not None:
            this_sweep().leave_outcome_in(self._outcomes / f"{config.hydra.job.num:06d}.json")


def misused(overrides: Sequence[str], multirun: bool) -> str | None:
    """Why a launcher that the overrides name would do nothing; None: it does something, or none is named."""
    named = [override for override in overrides if override.lstrip("+").startswith(f"{GROUP}=")]
    modes = any(override.lstrip("+").startswith("hydra.mode=") for override in overrides)
    if named and not multirun and not modes:
        return f"{named[0]} launches the searches of a sweep: add -m, also for one search."
    return None


def missing(launcher: str) -> str | None:
    """What to install for a launcher that was not found; None: it is none that an extra would bring."""
    if not launcher.startswith(LIBRARY):
        return None
    return f"{GROUP}={launcher}, and what builds on it, needs the extra slurm: pip install 'qtt[slurm]'."
