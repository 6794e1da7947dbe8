"""The search as one run on a Weights & Biases dashboard."""

import logging
import os
import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import yaml
from rich.console import Console
from rich.text import Text

from qtt.data.library_caches import keep_library_caches
from qtt.errors import ConfigError
from qtt.evaluation.pool import WORKER
from qtt.evaluation.timeline import Timeline
from qtt.runs.history import History
from qtt.runs.kept_models import FACTS, INCUMBENT, WEIGHTS
from qtt.statistics import pipeline_table
from qtt.statistics.certainty import Certainty
from qtt.tracking.background import BackgroundTracker
from qtt.tracking.base import SearchInfo, Summary
from qtt.tracking.wandb_state import WandbState
from qtt.types import Candidates, Config, Result, Trial

logger = logging.getLogger("qtt")

Mode = Literal["online", "offline"]

INIT_SECONDS = 30.0
"""How long W&B's server has to answer before the run is kept offline."""

FIRST_CHART, CHART_GROWTH = 8, 1.5
"""Results before tables and charts are logged first, and how many times as many before they are again."""

CURVE_COLUMNS = ("pipeline", "model", "epoch", "score", "seconds")


class WandbTracker(BackgroundTracker):
    """Logs the incumbent's trajectory, all learning curves, the pipelines, and the incumbent as an artifact.

    Learning curves come twice. One chart, `curves`, draws them all from one long table with a line for each
    pipeline: a series for each would give W&B one panel for each, and nobody compares fifty panels. The
    series are there as well, `curves/<config id> <model>` over their own epoch, hidden from automatic panels:
    for panels of one's own (metric `curves/.*`) and for the API. Where there are several workers, each result
    has the number of the one that made it, and `utilisation`: the share of their time so far in which they
    were busy.

    Everything happens in a thread of its own: the search does not wait for a network. Where the server does
    not answer, the run is kept offline.

    project, name: as W&B shows them; name defaults to the run folder's.
    mode: `online`, `offline` or None: what WANDB_MODE or `wandb disabled` say, else online where there is a
        login. Disabled, nothing is written. Offline runs lie in `<run folder>/wandb`, ready for `wandb sync`.
        A resumed search goes on in its own W&B run.
    patience: seconds to wait at the end for what is still to be uploaded; `wandb sync` uploads the rest.
    quiet: do not print where the run is.

    Raises:
        ConfigError: the package wandb is not installed.
    """

    def __init__(
        self,
        project: str = "qtt",
        name: str | None = None,
        mode: Mode | None = None,
        patience: float = 120.0,
        quiet: bool = False,
    ) -> None:
        if find_spec("wandb") is None:
            raise ConfigError("tracker=wandb needs the package wandb: pip install 'qtt[wandb]'.")
        self._run = _Run(project, name, mode, patience)
        self._quiet = quiet
        super().__init__(self._run, patience + 2 * INIT_SECONDS)

    def finish(self, summary: Summary) -> None:
        """See `Tracker.finish`; says where the run is."""
        super().finish(summary)
        if self.started and not self._quiet:
            Console(highlight=False).print(Text(self._run.where), soft_wrap=True)


class _Run:
    """What `WandbTracker` does in its thread."""

    def __init__(self, project: str, name: str | None, mode: Mode | None, patience: float) -> None:
        self._project = project
        self._name = name
        self._mode = mode
        self._patience = patience

    @property
    def where(self) -> str:
        """Where to look at the run, or how to upload it."""
        if self._run.disabled:
            return "Weights & Biases: disabled; nothing is kept"
        folder = self._state.open_folder
        return f"Weights & Biases: {self._url or f'offline; upload it with: wandb sync {folder}'}"

    def start(self, search: SearchInfo) -> None:
        """Open the run, the same one when a search is resumed, and log what it lacks."""
        self._state = WandbState.of(search.run_dir)
        self._state.drop_torn()
        self._run = self._open(search)
        self._url = None if self._run.offline else self._run.url
        if not self._run.disabled:
            self._state.open(Path(self._run.dir).parent)
        self._define_metrics()
        self._models = dict(enumerate(map(_model, search.candidates.configs)))
        self._candidates = search.candidates
        self._title = f"Learning curves: {search.task.metric}"
        self._next_chart = FIRST_CHART
        self._timeline = Timeline()
        self._steps = self._known = max(self._state.logged, self._run.step - 1 if self._run.resumed else 0)
        history = History()
        for number, entry in enumerate(search.entries, start=1):
            history.add(entry.result)
            self._timeline.add(entry.result, entry.elapsed)
            if number > self._known:
                self._steps = number
                self._run.log(self._row(entry.result, history, entry.elapsed), step=number)

    def asked(self, trial: Trial, elapsed: float) -> None:
        """Remember the model, for the pipeline may be one that was proposed after the start."""
        self._models[trial.config_id] = _model(trial.config)

    def told(self, result: Result, history: History, elapsed: float) -> None:
        """Log one result, and all curves now and then."""
        self._steps += 1
        self._timeline.add(result, elapsed)
        row = self._row(result, history, elapsed)
        if self._steps >= self._next_chart:
            self._next_chart = round(CHART_GROWTH * self._steps)
            row |= self._curves(history)
        self._run.log(row, step=self._steps)

    def finish(self, summary: Summary) -> None:
        """Log tables, summary and incumbent, and close the run."""
        if self._run.disabled:
            self._run.finish()
            return  # the next search in this folder that is not will log it all
        try:
            if self._steps > self._known:
                row = self._curves(summary.history) | _pipelines(summary.history, summary.candidates)
                self._run.log(row, step=self._steps)
            self._run.summary.update(_figures(summary))
            self._log_incumbent(summary)
        finally:
            self._run.finish()
            self._state.close(self._steps)

    def _open(self, search: SearchInfo) -> Any:
        """The W&B run; offline where the server cannot be reached."""
        keep_library_caches()
        import wandb

        wandb.setup(settings=wandb.Settings(silent=True))
        mode = self._mode or _default_mode(wandb)
        try:
            return self._init(search, mode)
        except wandb.Error as error:
            if mode == "offline":
                raise
            reason = str(error).partition("\n")[0]
            logger.warning("Weights & Biases cannot be reached: %s. The run is kept offline.", reason)
            if wandb.run is None:
                wandb.teardown()  # its service still holds the run that it could not open
            return self._init(search, "offline")

    def _init(self, search: SearchInfo, mode: Mode | Literal["disabled"] | None) -> Any:
        import wandb

        return wandb.init(
            project=self._project,
            name=self._name or search.run_dir.name,
            dir=search.run_dir,
            id=self._state.id,
            resume="allow",
            reinit="create_new",  # leaves a run of the caller's alone
            mode=mode,
            config=_config(search),
            allow_val_change=True,
            settings=wandb.Settings(
                silent=True, console="off", init_timeout=INIT_SECONDS, finish_timeout=self._patience
            ),
        )

    def _define_metrics(self) -> None:
        for name in ("elapsed", "epochs", "epoch", "config_id", "worker"):
            self._run.define_metric(name, hidden=True)
        for name in ("incumbent", "score", "cost", "failures", "utilisation"):
            self._run.define_metric(name, step_metric="elapsed")
        self._run.define_metric("incumbent_by_epochs", step_metric="epochs")
        self._run.define_metric("curves/*", step_metric="epoch", hidden=True, summary="none")

    def _row(self, result: Result, history: History, elapsed: float) -> dict[str, Any]:
        row: dict[str, Any] = {
            "elapsed": elapsed,
            "epochs": history.evaluations,
            "config_id": result.config_id,
            "epoch": result.fidelity,
            "cost": result.cost,
            "failures": len(history.failed),
        }
        if result.succeeded:
            row["score"] = row[f"curves/{self._pipeline(result.config_id)}"] = result.score
        if history.incumbent is not None:
            row["incumbent"] = row["incumbent_by_epochs"] = history.incumbent.score
        if WORKER in result.info:
            row |= {"worker": result.info[WORKER], "utilisation": self._timeline.utilisation}
        return row

    def _curves(self, history: History) -> dict[str, Any]:
        """All learning curves in one chart, a line each."""
        import wandb

        rows = [
            [self._pipeline(i), self._models[i], seen.fidelity, seen.score, seen.cost]
            for i in history.observed
            for seen in history.curve(i)
        ]
        if not rows:
            return {}
        table = wandb.Table(columns=list(CURVE_COLUMNS), data=rows)
        chart = wandb.plot.line(
            table, "epoch", "score", stroke="pipeline", title=self._title, split_table=True
        )
        return {"curves": chart}

    def _log_incumbent(self, summary: Summary) -> None:
        """The weights of the best network and what they are, where the objective leaves any."""
        import wandb

        best, folder = summary.incumbent, summary.run_dir / INCUMBENT
        if best is None or not (folder / WEIGHTS).is_file():
            return
        artifact = wandb.Artifact(f"incumbent-{self._state.id}", type="model", metadata=_figures(summary))
        kept = self._state.folder / INCUMBENT / f"{best.config_id:04d}-{best.fidelity:04d}"
        for file in (folder / WEIGHTS, folder / FACTS):
            if file.is_file():
                _keep(file, kept / file.name)
                artifact.add_file(str(kept / file.name), file.name, policy="immutable")
        self._run.log_artifact(artifact)

    def _pipeline(self, config_id: int) -> str:
        return f"{config_id:04d} {self._models[config_id]}".rstrip()


def _config(search: SearchInfo) -> dict[str, Any]:
    """The search in a few words, and all of its resolved configuration where the command line made it."""
    facts: dict[str, Any] = {
        "optimizer": search.optimizer,
        "dataset": search.task.path.name,
        "metric": search.task.metric,
        "seed": search.task.seed,
        "budget_seconds": search.budget.seconds,
        "budget_evaluations": search.budget.evaluations,
        "candidates": len(search.candidates),
    }
    path = search.run_dir / "config.yaml"
    return facts | ({"config": yaml.safe_load(path.read_text(encoding="utf-8"))} if path.is_file() else {})


def _figures(summary: Summary) -> dict[str, Any]:
    """The search in numbers, for lists of runs."""
    history, best = summary.history, summary.incumbent
    figures: dict[str, Any] = {
        "seconds": summary.elapsed,
        "evaluations": history.evaluations,
        "pipelines_tried": len(history.observed),
        "failures": len(history.failed),
        "reason": summary.reason,
        "interrupted": summary.interrupted,
    }
    if best is not None:
        config: Mapping[str, Any] = summary.candidates.configs[best.config_id]
        figures |= {"incumbent": best.score, "incumbent_id": best.config_id}
        known = Certainty.of(best)
        figures |= {"incumbent_stderr": known.stderr, "majority_baseline": known.baseline}
        figures |= {"incumbent_epoch": best.fidelity, "incumbent_config": dict(config)}
    return figures


def _pipelines(history: History, candidates: Candidates) -> dict[str, Any]:
    import wandb

    table = pipeline_table(history, candidates)
    return {"pipelines": wandb.Table(dataframe=table.astype(object).where(table.notna(), None))}


def _keep(source: Path, target: Path) -> None:
    """The file under another name for W&B to keep; it takes no room until a better one replaces it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _model(config: Config) -> str:
    return str(config.get("model", ""))


def _default_mode(wandb: Any) -> Mode | Literal["disabled"] | None:
    if "WANDB_MODE" in os.environ:
        return None  # wandb reads it itself
    if wandb.run is not None:
        disabled = wandb.run.disabled
        return "disabled" if disabled else "offline" if wandb.run.offline else "online"
    if wandb.setup().settings.mode == "disabled":
        return "disabled"
    return "online" if wandb.login(prompt=False, verify=False) else "offline"
