"""`python -m qtt.metatrain`: fit predictors to recorded learning curves, and write them as an artifact.

python -m qtt.metatrain artifact=extended
"""

import hashlib
import json
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import hydra
from filelock import FileLock, Timeout
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from qtt.artifacts.files import FACTS, Artifact, Facts, TableFacts, read_artifact, write_artifact
from qtt.cli.configuration import config_directory, configured_errors_for_people, plain, prepare
from qtt.cli.interrupts import INTERRUPTED, TO_GO_ON, interruptible
from qtt.cli.invocation import command_for
from qtt.cli.values import settled
from qtt.curves.manifest import ALL_EPOCHS
from qtt.errors import ArtifactError, ConfigError
from qtt.hub.model_hub import ModelHub
from qtt.metatraining.runs import Runs
from qtt.metatraining.sources import Choice, Source, TableChoice, read_sources
from qtt.metatraining.stages import Arrays, Stages
from qtt.space.config_manager import ConfigManager
from qtt.space.portfolio import build_portfolio

if TYPE_CHECKING:
    from qtt.metatraining.fit import Fitted

PACKAGES = ("qtt", "numpy", "scikit-learn", "scipy", "torch")
"""Whose versions decide about the fit."""


@interruptible(TO_GO_ON)
def main() -> None:
    """Entry point of `python -m qtt.metatrain`."""
    prepare("metatrain")
    _app()


@hydra.main(config_path=config_directory(), config_name="metatrain", version_base="1.3")
def _app(config: DictConfig) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    with configured_errors_for_people():
        config = settled("metatrain", config)
        try:
            facts, out = metatrain(config, console)
        except KeyboardInterrupt:
            console.print("Interrupted; finished stages are kept, and the same command goes on.")
            sys.exit(INTERRUPTED)
    console.print(figures(facts))
    for line in (facts.summary, f"The artifact is in {out}", _next_command(config, facts, out)):
        console.print(Text(line), soft_wrap=True)


def metatrain(config: DictConfig, console: Console) -> tuple[Facts, Path]:
    """Fit what `config` asks for, unless `out` holds exactly that already.

    Raises:
        ConfigError: tables, datasets, models or settings that cannot be used.
        ArtifactError: `out` holds an artifact that was made from something else.
    """
    if "variant" not in config.search_space:
        raise ConfigError(
            "metatrain fits to a variant of qtt's search space: full, tool_paper or quickstart."
        )
    sources = read_sources(_tables(config), _choice(config))
    hub = ModelHub.load(str(config.hub))
    space = ConfigManager(instantiate(config.search_space, models=list(hub.names)), hub).to_json()
    identity = _identity(config, sources, space)
    out = Path(config.out or Path("runs") / f"metatrain-{config.artifact.name}")
    kept = None if config.fresh else _kept(out, identity)
    if kept is not None:
        console.print(Text(f"{out} holds this artifact already; fresh=true fits it again."), soft_wrap=True)
        return kept, out
    work = out.with_name(f".{out.name}.stages")
    if config.fresh:
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(work / ".lock", timeout=0), StageBar() as bar:
            artifact = _fitted(config, sources, space, Stages(work, identity, bar))
            write_artifact(out, artifact)
    except Timeout as error:
        raise ConfigError(f"Another command fits {out}. Wait for it, or name another out.") from error
    shutil.rmtree(work)
    return artifact.facts, out


def _tables(config: DictConfig) -> list[TableChoice]:
    return [
        TableChoice.of(entry, str(config.hub)) for entry in plain(config.tables or config.artifact.tables)
    ]


def _choice(config: DictConfig) -> Choice:
    datasets = plain(config.datasets)
    return Choice(
        None if datasets is None else tuple(datasets),
        tuple(plain(config.exclude)),
        tuple(plain(config.exclude_models)),
    )


def _fitted(config: DictConfig, sources: Sequence[Source], space: str, stages: Stages) -> Artifact:
    from qtt.metatraining.fit import fit

    runs = [part for source in sources for part in source.runs]
    fitted = fit(runs, seed=int(config.seed), stages=stages)
    portfolio = build_portfolio(runs, int(config.portfolio)) if config.portfolio else None
    paper = _paper(runs, fitted, config, stages) if config.paper_steps else None
    choice = _choice(config)
    facts = Facts(
        name=str(config.artifact.name),
        identity=stages.identity,
        tables=tuple(_table_facts(source) for source in sources),
        counts={
            "datasets": len({part.dataset for part in runs}),
            "runs": sum(len(part) for part in runs),
            "failed": sum(int(part.failed.sum()) for part in runs),
            "epochs": sum(int((part.scores == part.scores).sum()) for part in runs),
        },
        excluded={"datasets": choice.exclude, "models": choice.exclude_models},
        search_space=str(config.search_space.variant),
        seed=int(config.seed),
        settings={**fitted.settings, "portfolio": config.portfolio, "paper_steps": config.paper_steps},
        validation=fitted.validation,
        versions={name: version(name) for name in PACKAGES},
    )
    return Artifact(facts, fitted.spec, space, fitted.performance, fitted.cost, portfolio, paper)


def _paper(runs: Sequence[Runs], fitted: "Fitted", config: DictConfig, stages: Stages) -> Arrays:
    """The paper's own predictors; every fourth dataset decides which weights are kept."""
    from qtt.metatraining.paper import meta_train_paper

    names = sorted({part.dataset for part in runs})
    stages.plan(["paper"])
    return stages.run(
        "paper",
        lambda: meta_train_paper(
            runs, fitted.spec, seed=int(config.seed), steps=int(config.paper_steps), validation=names[::4]
        ),
    )


def _table_facts(source: Source) -> TableFacts:
    manifest = source.manifest
    return TableFacts(
        name=source.name,
        hub=source.hub.name,
        source=manifest.source,
        licence=manifest.licence,
        epochs=manifest.epochs,
        datasets=tuple(part.dataset for part in source.runs),
        runs=sum(len(part) for part in source.runs),
        sha256=manifest.sha256,
    )


def _identity(config: DictConfig, sources: Sequence[Source], space: str) -> str:
    """Equal for artifacts that must be equal, as long as the code is the same."""
    made_from = {
        "qtt": version("qtt"),
        "name": str(config.artifact.name),
        "tables": [(dict(source.manifest.sha256), source.hub.to_dict()) for source in sources],
        "runs": [[(part.dataset, len(part)) for part in source.runs] for source in sources],
        "choice": asdict(_choice(config)),
        "space": json.loads(space),
        "seed": int(config.seed),
        "portfolio": int(config.portfolio),
        "paper_steps": int(config.paper_steps),
    }
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()


def _kept(out: Path, identity: str) -> Facts | None:
    """The facts of a whole artifact with this identity in `out`; None where there is no artifact."""
    if not (out / FACTS).exists():
        return None
    facts = read_artifact(out).facts
    if facts.identity != identity:
        raise ArtifactError(
            f"{out} holds an artifact that was made from something else ({facts.summary}). "
            "Name another out, or let fresh=true replace it."
        )
    return facts


class StageBar:
    """A `Watcher` that shows the stage under way in terminals, and nothing elsewhere."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._total = 0
        self._task = self._progress.add_task("reading", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def planned(self, names: Sequence[str]) -> None:
        """See `Watcher`."""
        self._total += len(names)
        self._progress.update(self._task, total=self._total)

    def began(self, name: str) -> None:
        """See `Watcher`."""
        self._progress.update(self._task, description=name)

    def ended(self, name: str, kept: bool) -> None:
        """See `Watcher`."""
        self._progress.advance(self._task)


def figures(facts: Facts) -> Table:
    """The figures of an artifact on datasets left out in turn, one a row."""
    table = Table("figure", title="On datasets left out in turn", title_justify="left")
    table.add_column("value", justify="right")
    for name, value in facts.validation.items():
        table.add_row(name, f"{value:.4g}")
    return table


def _next_command(config: DictConfig, facts: Facts, out: Path) -> str:
    """What to type to replay searches with the artifact: on the datasets left out, where there are any."""
    with_curves = {table.name for table in facts.tables if table.epochs == ALL_EPOCHS}
    table = next(table.folder for table in _tables(config) if table.name in with_curves)
    left_out = ",".join(facts.excluded["datasets"])
    arguments = [
        f"table={table}",
        "policies=[quick,random]",
        f"weights={out}",
        *([f"datasets=[{left_out}]"] if left_out else []),
        *([f"hub={config.hub}"] if config.hub != "table4" else []),
    ]
    return f"To search with it on recorded curves: {command_for('benchmark')} {shlex.join(arguments)}"


if __name__ == "__main__":
    main()
