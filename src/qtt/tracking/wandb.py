"""The search as one run on a Weights & Biases dashboard."""

import os
import secrets
from importlib.util import find_spec
from typing import Any, Literal

from qtt.errors import ConfigError
from qtt.files import read_json, write_json
from qtt.history import History
from qtt.statistics import pipeline_table
from qtt.tracking.base import SearchInfo, Summary
from qtt.types import Result, Trial

Mode = Literal["online", "offline"]


class WandbTracker:
    """Logs every result, the incumbent's trajectory and the final table of pipelines.

    project, name: as W&B shows them; name defaults to the run folder's.
    mode: `online`, `offline` or None: what WANDB_MODE says, else online where there is a login. Offline runs
        lie in `<run folder>/wandb`, ready for `wandb sync`. A resumed search goes on in its own W&B run.

    Raises:
        ConfigError: the package wandb is not installed.
    """

    def __init__(self, project: str = "qtt", name: str | None = None, mode: Mode | None = None) -> None:
        if find_spec("wandb") is None:
            raise ConfigError("tracker=wandb needs the package wandb: pip install 'qtt[wandb]'.")
        self._project = project
        self._name = name
        self._mode = mode

    def start(self, search: SearchInfo) -> None:
        """Open the run, the same one when a search is resumed."""
        import wandb

        identity = search.run_dir / "wandb.json"
        if not identity.exists():
            write_json(identity, {"id": secrets.token_hex(4)})
        self._candidates = search.candidates
        self._steps = len(search.entries)
        self._run = wandb.init(
            project=self._project,
            name=self._name or search.run_dir.name,
            dir=search.run_dir,
            id=read_json(identity)["id"],
            resume="allow",
            mode=self._mode or _default_mode(wandb),
            config={
                "optimizer": search.optimizer,
                "dataset": search.task.path.name,
                "seed": search.task.seed,
                "budget_seconds": search.budget.seconds,
                "budget_evaluations": search.budget.evaluations,
                "candidates": len(search.candidates),
            },
            settings=wandb.Settings(silent=True, console="off"),
        )

    def asked(self, trial: Trial, elapsed: float) -> None:
        """Nothing to log before there is a result."""

    def told(self, result: Result, history: History, elapsed: float) -> None:
        """Log one result."""
        self._steps += 1
        values: dict[str, Any] = {
            "elapsed": elapsed,
            "config_id": result.config_id,
            "epoch": result.fidelity,
            "cost": result.cost,
            "failures": len(history.failed),
        }
        if result.succeeded:
            values["score"] = result.score
        if history.incumbent is not None:
            values["incumbent"] = history.incumbent.score
        self._run.log(values, step=self._steps)

    def finish(self, summary: Summary) -> None:
        """Log the table of pipelines and close the run."""
        import wandb

        table = pipeline_table(summary.history, summary.candidates)
        self._run.log({"pipelines": wandb.Table(dataframe=table.astype(object).where(table.notna(), None))})
        if summary.incumbent is not None:
            self._run.summary["incumbent"] = summary.incumbent.score
            self._run.summary["incumbent_config"] = dict(
                summary.candidates.configs[summary.incumbent.config_id]
            )
        self._run.finish()


def _default_mode(wandb: Any) -> Mode | None:
    if "WANDB_MODE" in os.environ:
        return None  # wandb reads it itself
    return "online" if wandb.api.api_key else "offline"
